"""What happened to every request: one record each, in columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.classes import Classes
from pytest_servebench.load.records_file import read_columns
from pytest_servebench.load.store import COLUMNS, NEVER, TIME_COLUMNS, Outcome, RecordStore
from pytest_servebench.load.streams import Streams
from pytest_servebench.load.turns import Turns
from pytest_servebench.system.files import whole_file

__all__ = ["NEVER", "TIME_COLUMNS", "Outcome", "Records", "copied", "new_store"]

_DTYPES: Final = {"q": np.int64, "I": np.uint32, "h": np.int16, "B": np.uint8}
_RECORDED: Final = [name for name in COLUMNS if name != "payload"]
_FILE_COLUMNS: Final = {
    **{name: (_DTYPES[COLUMNS[name]], 1) for name in _RECORDED}, "window": (np.int64, 0)
}  # fmt: skip

_SEED: Final = 19091021  # any: the same records give the same intervals


def _some(
    values: npt.NDArray[np.float64] | None, which: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64] | None:
    return None if values is None else values[which]


def _seconds(nanoseconds: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return nanoseconds.astype(np.float64) / 1e9


@dataclass(frozen=True)
class AtBest:
    """Streamed answers as a generator that is never late could have seen them.

    Attributes:
        first_token: earliest possible time of the first event with output, on the clock of the
            records; shape ``(n,)``.
        late: seconds by which times between sending and an event, or between two events, may have
            seemed longer than they were; shape ``(n,)``, or ``None`` if none did.
    """

    first_token: npt.NDArray[np.int64]
    late: npt.NDArray[np.float64] | None


@dataclass(frozen=True)
class Records:
    """The records of one run, as columns of equal length n.

    Attributes:
        scheduled: arrival, in ns since the clock's start; the other times are on the same clock,
            ``NEVER`` if they did not happen.
        enqueued: when the generator took the arrival up.
        dequeued: when a worker took the request.
        sent: when the request was written to the connection.
        first_byte: when the first byte of the answer arrived.
        done: when the answer was complete, or the request given up.
        outcome: one :class:`Outcome` per arrival.
        status: the transport's status, such as HTTP's; 0 if there was none.
        window: length of the arrival window in ns.
        unread: index of an arrival to the seconds for which its answer lay unread, according to the
            kernel; only if that was long. Not saved.
        turns: for sessions, which turn of which session each request is; otherwise ``None``.
        classes: for requests with classes, which is of which; otherwise ``None``.
        streams: for streamed answers, when their output arrived; otherwise ``None``.
        late_reading: seconds by which an event of each streamed answer may have been read late, at
            most; shape ``(n,)``, or ``None`` if none was. Not saved.
        at_best: for streamed answers, the result of :meth:`without_lag`; ``None`` as measured.
        arrivals_known: whether ``scheduled`` is when requests were due; otherwise it is when they
            were sent, and times from the arrival are unknown. Not saved.
        planned: whether the rate of the arrivals changed by a plan (steps or a ramp) and not by
            chance. Not saved.
        among: for the requests of one class, how many of all classes were in flight when each
            arrived; shape ``(n,)``. Not saved.
        reordered: the same for :meth:`in_flight_reordered`. Not saved.
        alike: for the requests of one class, how long those of all classes are alike, ns. Fewer
            requests show less of it. Not saved.
    """

    scheduled: npt.NDArray[np.int64]
    enqueued: npt.NDArray[np.int64]
    dequeued: npt.NDArray[np.int64]
    sent: npt.NDArray[np.int64]
    first_byte: npt.NDArray[np.int64]
    done: npt.NDArray[np.int64]
    outcome: npt.NDArray[np.uint8]
    status: npt.NDArray[np.int16]
    window: int
    unread: Mapping[int, float] = field(default_factory=dict, repr=False, compare=False)
    turns: Turns | None = field(default=None, repr=False)
    classes: Classes | None = field(default=None, repr=False)
    streams: Streams | None = field(default=None, repr=False)
    late_reading: npt.NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    at_best: AtBest | None = field(default=None, repr=False, compare=False)
    arrivals_known: bool = True
    planned: bool = False
    among: npt.NDArray[np.int64] | None = field(default=None, repr=False, compare=False)
    reordered: npt.NDArray[np.int64] | None = field(default=None, repr=False, compare=False)
    alike: float = 0.0

    def __len__(self) -> int:
        return len(self.scheduled)

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Return which requests succeeded; shape ``(n,)``."""
        return np.equal(self.outcome, Outcome.OK)

    @property
    def completed(self) -> npt.NDArray[np.bool_]:
        """Return which requests succeeded before the window ended; shape ``(n,)``."""
        return self.ok & (self.done <= self.window)

    @property
    def drawn(self) -> npt.NDArray[np.bool_]:
        """Return which requests the arrival process drew, without later turns; ``(n,)``."""
        return np.ones(len(self), dtype=np.bool_) if self.turns is None else ~self.turns.dependent

    @property
    def memory(self) -> float:
        """Return for how long requests are known to be alike, ns; 0 where that is not known.

        Those of a session are as long as it goes on (``Turns.span``).
        """
        return max(self.alike, 0.0 if self.turns is None else self.turns.span(self.scheduled))

    @property
    def first_token(self) -> npt.NDArray[np.int64]:
        """Return when each answer's first output was read, ns; ``NEVER`` without; ``(n,)``."""
        if self.at_best is not None:
            return self.at_best.first_token
        if self.streams is None:
            return np.full(len(self), NEVER, dtype=np.int64)
        return self.streams.first()

    def in_flight(self) -> npt.NDArray[np.int64]:
        """Return how many requests were waiting or under way when each arrived; shape ``(n,)``."""
        return self._in_flight(self.done) if self.among is None else self.among

    def in_flight_reordered(self) -> npt.NDArray[np.int64]:
        """Return the same with the requests' times in another order; shape ``(n,)``.

        It varies as much as if requests did not delay each other.
        """
        if self.reordered is not None:
            return self.reordered
        took = np.where(self.done == NEVER, 0, self.done - self.scheduled)
        return self._in_flight(self.scheduled + np.random.default_rng(_SEED).permutation(took))

    def _in_flight(self, done: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        ended = np.sort(done[done != NEVER])
        before = np.searchsorted(np.sort(self.scheduled), self.scheduled)
        return (before - np.searchsorted(ended, self.scheduled, "right")).astype(np.int64)

    def latency(self) -> npt.NDArray[np.float64]:
        """Return done - scheduled in seconds; infinite for failed requests; shape ``(n,)``."""
        return self.until("done")

    def until(self, column: str) -> npt.NDArray[np.float64]:
        """Return the time in ``column`` - scheduled, like :meth:`latency`."""
        return np.where(self.ok, _seconds(getattr(self, column) - self.scheduled), np.inf)

    def knows(self, column: str) -> bool:
        """Return whether every success has a time in ``column``."""
        return not (self.ok & (getattr(self, column) == NEVER)).any()

    def queue_wait(self) -> npt.NDArray[np.float64]:
        """Return dequeued - enqueued in seconds, for the requests that a worker took."""
        taken = (self.dequeued != NEVER) & (self.enqueued != NEVER)
        return _seconds(self.dequeued[taken] - self.enqueued[taken])

    def service_time(self) -> npt.NDArray[np.float64]:
        """Return done - sent in seconds, for the requests that succeeded."""
        return _seconds(self.done[self.ok] - self.sent[self.ok])

    def generator_lag(self) -> npt.NDArray[np.float64]:
        """Return enqueued - scheduled in seconds, for the arrivals that were taken up."""
        taken = self.enqueued != NEVER
        return _seconds(self.enqueued[taken] - self.scheduled[taken])

    def without_lag(self, tolerated: float) -> Records:
        """Return the best records that a generator without any lag could have seen.

        Each answer, and its first byte, is moved earlier by the seconds for which it lay
        ``unread``, but never before its request was sent; and by the largest lag among the request
        itself and those that it may have waited behind, but it is never faster than the fastest:
        if all arrivals at a queue come earlier by some time, each is done earlier by at most that.
        So is the first output of a streamed answer; times between its events are as they were, but
        for what reading them late may have added.

        Late arrivals come in bursts, which may also fill the buffer: each arrival that was more
        than ``tolerated`` seconds late can have caused at most one drop until a worker is idle
        again. That drop counts as answered at once.
        """
        lag = np.where(self.enqueued == NEVER, 0, self.enqueued - self.scheduled)
        lag_ahead = self._lag_ahead(lag)
        spared = self._dropped_by_bunches(lag > tolerated * 1e9)
        outcome = self.outcome.copy()
        outcome[spared] = Outcome.OK

        def earlier(
            came: npt.NDArray[np.int64], unread: Mapping[int, float]
        ) -> npt.NDArray[np.int64]:
            read = came.copy()
            for index, seconds in unread.items():
                read[index] = max(read[index] - int(seconds * 1e9), self.sent[index])
            answered = self.ok & (came != NEVER)
            fastest = (read - self.sent)[answered].min() if answered.any() else 0
            ahead = np.maximum(read - lag_ahead, self.scheduled + fastest)
            at_best = np.where(came == NEVER, NEVER, np.minimum(read - lag, ahead))
            at_best[spared] = self.scheduled[spared]
            return at_best

        first_byte, done = earlier(self.first_byte, self.unread), earlier(self.done, self.unread)
        at_best = None
        if self.streams is not None:
            first, late = self.first_token, self.late_reading
            if late is not None:
                read = np.maximum(first - (late * 1e9).astype(np.int64), self.sent)
                first = np.where(first == NEVER, NEVER, read)
            at_best = AtBest(earlier(first, {}), late)  # what lay unread is the answer's end
        return replace(
            self, first_byte=first_byte, done=done, outcome=outcome, unread={}, at_best=at_best
        )

    def _lag_ahead(self, lag: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the largest lag of the arrivals that a request may have waited behind.

        A burst is over when an arrival finds no more requests in flight than the median: from then
        on the server is as busy as usual.
        """
        if not len(self):
            return lag
        taken = self.enqueued != NEVER
        ended = np.sort(self.done[taken & (self.done != NEVER)])
        before = np.cumsum(taken) - taken
        under_way = before - np.searchsorted(ended, self.enqueued, "right")
        usual = under_way <= np.median(under_way[taken]) if taken.any() else taken
        # A running maximum that restarts at each: the steps are larger than any lag.
        steps = np.cumsum(usual) * (lag.max() + 1)
        largest: npt.NDArray[np.int64] = np.maximum.accumulate(steps + lag) - steps
        return largest

    def _dropped_by_bunches(self, late: npt.NDArray[np.bool_]) -> list[int]:
        dropped = np.equal(self.outcome, Outcome.DROPPED)
        if not late.any() or not dropped.any():
            return []
        idle = ~late & (self.enqueued != NEVER) & (self.enqueued == self.dequeued)
        spared, bunched = [], 0
        for index in np.flatnonzero(late | dropped | idle).tolist():
            if idle[index]:
                bunched = 0
            bunched += int(late[index])
            if dropped[index] and bunched:
                bunched -= 1
                spared.append(index)
        return spared

    def counts(self) -> dict[str, int]:
        """Return the number of arrivals for each outcome's label; they add up to n."""
        number = np.bincount(self.outcome, minlength=len(Outcome))
        return {outcome.label: int(number[outcome]) for outcome in Outcome}

    def save(self, path: Path) -> None:
        """Write the records to ``path`` (``.npz``), whole or not at all.

        Raises:
            OSError: they cannot be written; nothing is left behind.
        """
        columns = {name: getattr(self, name) for name in _RECORDED}
        for more in (self.streams, self.turns, self.classes):
            columns |= more.columns() if more is not None else {}
        with whole_file(path) as file:
            np.savez_compressed(file, window=np.int64(self.window), **columns)

    @classmethod
    def of(cls, store: RecordStore) -> Records:
        """Return a copy of the records of a load, which may be under way, as they are now."""
        columns: dict[str, Any] = {name: copied(store, name) for name in _RECORDED}
        return cls(**columns, window=store.window)

    def of_sessions(self, turns: Turns, order: npt.NDArray[np.int64]) -> Records:
        """Return some rows of a store with sessions, in that order; ``turns`` are of all rows."""
        return replace(self, turns=turns)._rows(order)

    def of_class(self, name: str, alike: float) -> Records:
        """Return the records of one class.

        Args:
            name: of the class.
            alike: for how long requests of all classes are alike, ns.
        """
        assert self.classes is not None
        which = self.classes.members(name)
        among, reordered = self.in_flight()[which], self.in_flight_reordered()[which]
        return replace(self._rows(which), among=among, reordered=reordered, alike=alike)

    def _rows(self, which: npt.NDArray[np.int64]) -> Records:
        columns: dict[str, Any] = {name: getattr(self, name)[which] for name in _RECORDED}
        places = {row: place for place, row in enumerate(which.tolist())} if self.unread else {}
        best = self.at_best
        return replace(
            self,
            **columns,
            unread={places[row]: seconds for row, seconds in self.unread.items() if row in places},
            turns=self.turns and self.turns.rows(which),
            classes=self.classes and self.classes.rows(which),
            streams=self.streams and self.streams.rows(which),
            late_reading=_some(self.late_reading, which),
            at_best=best and AtBest(best.first_token[which], _some(best.late, which)),
        )

    @classmethod
    def load(cls, path: Path, arrivals: int | None = None) -> Records:
        """Read records that :meth:`save` wrote.

        Args:
            path: the file.
            arrivals: the number of records that the file must have, if known.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is truncated, not a records file, or has a different number of records.
        """
        columns: dict[str, Any] = dict(read_columns(path, _FILE_COLUMNS, arrivals))
        window = int(columns.pop("window"))
        if (columns["outcome"] >= len(Outcome)).any():
            raise ValueError(f"{path}: not a records file: it has an unknown outcome")
        size = len(columns["outcome"])
        return cls(
            **columns,
            window=window,
            streams=Streams.read(path, size),
            turns=Turns.read(path, size),
            classes=Classes.read(path, size),
        )


def new_store(
    file: IO[bytes],
    scheduled: npt.NDArray[np.int64],
    payloads: npt.NDArray[np.uint32],
    window: int,
) -> RecordStore:
    """Fill an empty file for n arrivals, none of which has begun.

    Args:
        file: the file.
        scheduled: when they arrive, in ns; shape ``(n,)``.
        payloads: the index of each arrival's request; shape ``(n,)``.
        window: length of the arrival window in ns.

    Raises:
        OSError: there is not enough space.
    """
    store = RecordStore.allocate(file, len(scheduled), window)
    initial = {"scheduled": scheduled, "payload": payloads, "status": 0,
               "outcome": Outcome.UNFINISHED}  # fmt: skip
    for name in COLUMNS:
        _array(store, name)[:] = initial.get(name, NEVER)
    return store


def copied(store: RecordStore, name: str) -> npt.NDArray[Any]:
    """Return a copy of one of the store's columns; shape ``(n,)``."""
    return _array(store, name).copy()


def _array(store: RecordStore, name: str) -> npt.NDArray[Any]:
    return np.frombuffer(store.column(name), dtype=_DTYPES[COLUMNS[name]])
