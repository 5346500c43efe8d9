"""A few requests of a case, token by token: a typical one, a slow one, and failed ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pytest_servebench.load import quantities
from pytest_servebench.load.records import NEVER, Records
from pytest_servebench.metrics import STALL, TTFT
from pytest_servebench.report.axes import Axis, Floats, linear
from pytest_servebench.text.numbers import significant
from pytest_servebench.text.quantity import quantity
from pytest_servebench.text.safe import counted

TITLE: Final = "Token by token: a few requests"
X_LABEL: Final = "seconds since the scheduled arrival"

_SHARES: Final = ((0.5, "median"), (0.99, "p99"))
_BAR: Final = (0.1, 0.52)  # lower and upper end of a row's bar, as shares of the row
_TEXT: Final = 0.64  # height of its label


@dataclass(frozen=True)
class Timeline:
    """One request; times in seconds since its scheduled arrival.

    Attributes:
        label: why it was chosen, and when it arrived.
        sent: when it was written to the connection.
        events: when each event with output was read, ascending; shape ``(m,)``.
        stall: the longest gap between two of them, if there are two reads.
        end: when the answer was complete, or the request given up.
        failed: whether it did not succeed.
    """

    label: str
    sent: float
    events: Floats
    stall: tuple[float, float] | None
    end: float
    failed: bool


def timelines(records: Records) -> list[Timeline]:
    """Return a few requests with output, each once; none if no answer had any.

    Those of the median and the 99th percentile of the time to first token, the one with the longest
    stall, and of those that failed, the one with most events.
    """
    if records.streams is None:
        return []
    return [_timeline(records, index, told) for index, told in _chosen(records).items()]


def axis_of(shown: Sequence[Timeline]) -> Axis:
    """Return an axis for some timelines, at least one."""
    ends = (end for one in shown for end in (one.end, *one.events[-1:].tolist()))
    return linear(0.0, 1.02 * max(ends))


def bar_of(row: int, rows: int) -> tuple[float, float]:
    """Return the lower and upper end of a row's bar, on an axis from 0 to the number of rows."""
    return rows - 1 - row + _BAR[0], rows - 1 - row + _BAR[1]


def text_of(row: int, rows: int) -> float:
    """Return the height of a row's label on the same axis."""
    return rows - 1 - row + _TEXT


def _chosen(records: Records) -> dict[int, list[str]]:
    """Return the indexes of requests, each with why it was chosen."""
    found: dict[int, list[str]] = {}
    first = quantities.seconds(records, TTFT.name)
    order = np.argsort(first, kind="stable")
    order = order[~np.isnan(first[order])]
    answered = int(np.isfinite(first).sum())
    for share, word in _SHARES:
        rank = math.ceil(share * len(order)) - 1  # failed requests are the slowest
        if answered:
            last = answered - 1
            name, rank = (word, rank) if rank < last else ("slowest", last)
            text = f"{name} TTFT {quantity('time', float(first[order[rank]]))}"
            told = found.setdefault(int(order[rank]), [])
            told += [] if text in told else [text]
    longest = quantities.seconds(records, STALL.name)
    if np.isfinite(longest).any():
        index = int(np.argmax(np.where(np.isfinite(longest), longest, -1.0)))
        text = f"longest stall {quantity('time', float(longest[index]))}"
        found.setdefault(index, []).append(text)
    assert records.streams is not None
    events = np.where(records.ok, 0, np.diff(records.streams.offsets))
    if events.any():
        index = int(np.argmax(events))
        found[index] = [f"failed after {counted(int(events[index]), 'event')}"]
    return found


def _timeline(records: Records, index: int, told: list[str]) -> Timeline:
    streams = records.streams
    assert streams is not None
    arrival = int(records.scheduled[index])
    begin, end = streams.offsets[index : index + 2].tolist()
    events = (streams.times[begin:end] - arrival) / 1e9
    gaps = np.diff(events)
    stall = None
    if len(gaps) and gaps.max() > 0:
        place = int(gaps.argmax())
        stall = float(events[place]), float(events[place + 1])
    done = int(records.done[index])
    ended = (done - arrival) / 1e9 if done != NEVER else float(events[-1])
    return Timeline(
        f"{', '.join(told)}; arrived at {significant(arrival / 1e9)} s",
        (int(records.sent[index]) - arrival) / 1e9,
        events, stall, ended, not bool(records.ok[index]),
    )  # fmt: skip
