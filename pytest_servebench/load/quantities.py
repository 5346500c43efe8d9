"""Times of single requests by name: the input of percentiles, limits and comparisons.

A failed request is infinitely slow in each. *Tokens* come in events with output; an event may hold
several of them, or a part of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import NEVER, Records
from pytest_servebench.load.streams import Streams
from pytest_servebench.metrics import TIMES

Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.int64]
Cause = Literal["queue", "token", "stall"]


@dataclass(frozen=True)
class Sample:
    """The values of one quantity in the records of n requests.

    Attributes:
        values: seconds, infinite for failed requests; shape ``(m,)``.
        request: index of the request that each is of, ascending among successes; shape ``(m,)``.
        cause: what makes the longest of them long: waiting in a queue, single tokens, each for
            itself, or stalls, each of which all answers share that are under way.
    """

    values: Floats
    request: Indexes
    cause: Cause = "queue"


def seconds(records: Records, quantity: str) -> Floats:
    """Return a quantity of which each request has one value.

    Args:
        records: that have it.
        quantity: one of :data:`SINGLE`.

    Returns:
        Seconds, infinite for failed requests, NaN for those in which it is undefined; shape
        ``(n,)``.
    """
    return SINGLE[quantity](records)


def sample(records: Records, quantity: str) -> Sample | None:
    """Return the values of a quantity; ``None`` if the records have none, or hide some of them.

    ``itl`` has a value for each gap. A failed request counts as an answer of the usual length with
    infinite gaps, so that it has the same weight as in any other quantity.
    """
    if not records.arrivals_known and quantity in SINCE_ARRIVAL:
        return None
    if quantity == "itl":
        return _gaps(records)
    return None if _hidden(records, quantity).any() else _sample(records, quantity)


def knows(records: Records, quantity: str, which: npt.NDArray[np.bool_]) -> bool:
    """Return whether the records have a quantity of which each request has one value.

    Args:
        records: of all requests.
        quantity: one of :data:`SINGLE`.
        which: the requests none of whose values may be hidden; shape ``(n,)``.
    """
    if (_hidden(records, quantity) & which).any():
        return False
    return _sample(records, quantity) is not None


def _hidden(records: Records, quantity: str) -> npt.NDArray[np.bool_]:
    """Return which successes have the quantity without the records telling its value; ``(n,)``.

    Those that are known say nothing about them.
    """
    if quantity not in _BY_TOKENS or records.streams is None:
        return np.zeros(len(records), dtype=np.bool_)
    streams = records.streams
    return np.asarray(records.ok & streams.uncounted() & (streams.reads() >= 2))


def _sample(records: Records, quantity: str) -> Sample | None:
    column = _COLUMNS.get(quantity)
    told = records.streams is not None if column is None else records.knows(column)
    if not told:
        return None
    values = SINGLE[quantity](records)
    defined = ~np.isnan(values)
    if records.ok.any() and not (records.ok & defined).any():
        return None
    return Sample(values[defined], np.flatnonzero(defined), _CAUSES.get(quantity, "queue"))


# -- answers as a whole ---------------------------------------------------------------------------

_BY_TOKENS: Final = [one.name for one in TIMES if one.by_tokens]
_CAUSES: Final[Mapping[str, Cause]] = {"tpot": "token", "stall": "stall"}  # itl: "token"
_COLUMNS: Final = {one.name: one.column for one in TIMES if one.column}
SINCE_ARRIVAL: Final = frozenset({*_COLUMNS, "ttft"})


def _until(column: str) -> Callable[[Records], Floats]:
    return lambda records: records.until(column)


# -- streamed answers -----------------------------------------------------------------------------


def _of_successes(records: Records, values: Floats, defined: npt.NDArray[np.bool_]) -> Floats:
    return np.where(records.ok, np.where(defined, values, np.nan), np.inf)


def _streams(records: Records) -> Streams:
    assert records.streams is not None
    return records.streams


def _ttft(records: Records) -> Floats:
    first = records.first_token
    return _of_successes(records, (first - records.scheduled) / 1e9, first != NEVER)


def _ttft_sent(records: Records) -> Floats:
    first = _streams(records).first()
    took = _at_best(records, (first - records.sent) / 1e9)
    return _of_successes(records, took, first != NEVER)


def _tpot(records: Records) -> Floats:
    streams = _streams(records)
    # When the tokens of one read were generated is unknown.
    defined = (streams.tokens >= 2) & (streams.reads() >= 2)
    took = _at_best(records, (streams.last() - streams.first()) / 1e9)
    return _of_successes(records, took / np.maximum(streams.tokens - 1, 1), defined)


def _stall(records: Records) -> Floats:
    streams = _streams(records)
    place = streams.stalls()
    defined = (place >= 0) & streams.spaced()
    longest = np.full(len(records), np.nan)
    begins = place[defined]
    longest[defined] = (streams.times[begins + 1] - streams.times[begins]) / 1e9
    return _of_successes(records, _at_best(records, longest), defined)


def _gaps(records: Records) -> Sample | None:
    if records.streams is None:
        return None
    gaps, request = _known_gaps(records.streams)
    ok = records.ok
    kept = ok[request]
    gaps, request = gaps[kept], request[kept]
    failed = np.flatnonzero(~ok)
    if not len(gaps) and len(failed) < len(records):
        return None
    usual = max(1, round(len(gaps) / max(1, len(records) - len(failed))))
    return Sample(
        np.concatenate([_at_best(records, gaps, request), np.full(usual * len(failed), np.inf)]),
        np.concatenate([request, np.repeat(failed, usual)]),
        cause="token",
    )


def _known_gaps(streams: Streams) -> tuple[Floats, Indexes]:
    """Return the gaps of the answers that have them, and the request of each."""
    gaps, request = streams.gaps()
    spaced = streams.spaced()[request]
    return gaps[spaced], request[spaced]


def _at_best(records: Records, values: Floats, request: Indexes | None = None) -> Floats:
    """Subtract from the times what late reading may have added."""
    late = records.at_best.late if records.at_best else None
    if late is None:
        return values
    return np.maximum(values - (late if request is None else late[request]), 0.0)


SINGLE: Final[Mapping[str, Callable[[Records], Floats]]] = MappingProxyType(
    {
        **{name: _until(column) for name, column in _COLUMNS.items()},
        "ttft": _ttft, "ttft_sent": _ttft_sent, "tpot": _tpot, "stall": _stall,
    }
)  # fmt: skip
"""Quantities of which each request has one value."""
