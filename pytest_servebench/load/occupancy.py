"""Were there enough workers? Requests may wait for a worker although the server could take them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import NEVER, Outcome, Records

_MOSTLY: Final = 0.5  # share of the time
_NOTABLE: Final = 0.1  # of the time that the server takes
_GROWTH: Final = 0.25  # a saturated server takes n times as long for n times as many


@dataclass(frozen=True)
class Occupancy:
    """How busy the workers of one run were.

    Attributes:
        all_busy: share of the arrival window in which all workers were busy.
        too_few: whether requests waited or were dropped although the server could have answered
            more at once: it was as fast with many as with few.
    """

    all_busy: float
    too_few: bool


def occupancy(records: Records, workers: int) -> Occupancy:
    """Return how busy ``workers`` workers were."""
    all_busy = _all_busy(records, workers)
    if all_busy < _MOSTLY or not _waited(records):
        return Occupancy(all_busy, too_few=False)
    return Occupancy(all_busy, too_few=workers == 1 or _takes_more(records, workers))


def _all_busy(records: Records, workers: int) -> float:
    taken = records.dequeued != NEVER
    begin = records.dequeued[taken]
    done = records.done[taken]
    end = np.where(done == NEVER, records.window, done)
    times = np.concatenate([begin, end])
    steps = np.concatenate([np.ones(len(begin), np.int64), np.full(len(end), -1, np.int64)])
    # At equal times, ends come before begins.
    order = np.lexsort((steps, times))
    times = np.clip(times[order], 0, records.window)
    busy = np.cumsum(steps[order])[:-1] >= workers
    return float(np.diff(times)[busy].sum() / records.window)


def _waited(records: Records) -> bool:
    if (records.outcome == Outcome.DROPPED).any():
        return True
    service = records.service_time()
    return len(service) > 0 and bool(records.queue_wait().mean() > _NOTABLE * service.mean())


def _takes_more(records: Records, workers: int) -> bool:
    """Return whether the server answers as fast with all workers busy as with few."""
    under_way = _under_way(records)
    ok = records.ok
    few, all_ask = ok & (under_way <= workers / 2), ok & (under_way >= workers)
    if not few.any() or not all_ask.any():
        return False  # unknown
    took = records.done - records.sent
    growth = np.median(took[all_ask]) / np.median(took[few])
    more = under_way[all_ask].mean() / under_way[few].mean()
    return bool(growth < more**_GROWTH)


def _under_way(records: Records) -> npt.NDArray[np.int64]:
    """Return how many requests were in flight when each was sent, itself included."""
    sent = records.sent != NEVER
    begun = np.sort(records.sent[sent])
    done = records.done[sent]
    ended = np.sort(done[done != NEVER])
    return np.searchsorted(begun, records.sent, "right") - np.searchsorted(
        ended, records.sent, "right"
    )
