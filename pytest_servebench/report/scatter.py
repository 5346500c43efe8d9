"""Requests as points of two of their times, for page and plots; thousands of them stay small.

Points are binned: those in the same small field of the drawing become one, at their mean, whose
shade shows about how many there are. Failed requests stand at the rim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pytest_servebench.load import quantities
from pytest_servebench.load.records import Records
from pytest_servebench.metrics import STALL, TPOT, TTFT, Times
from pytest_servebench.objectives.goodput import slo_clauses
from pytest_servebench.objectives.limits import of_each_request
from pytest_servebench.report import axes
from pytest_servebench.report.axes import Axis, Floats
from pytest_servebench.report.lost import Lost, lost
from pytest_servebench.report.near import Bound, near
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.numbers import significant
from pytest_servebench.text.safe import clean, counted, joined

LEVELS: Final = (
    (1, "1 or 2 requests"), (3, "3 to 9"), (10, "10 to 49"), (50, "50 or more"),
)  # fmt: skip
"""The least number of requests for each shade, and its meaning."""

BEGAN: Final = "when it began, seconds since the start"

_MOST: Final = 4800  # fields, smaller than a dot so that their lattice is not seen
_RATIO: Final = 1.3  # of columns to rows; the page's drawings are broader, panels of plots less


@dataclass(frozen=True)
class Scatter:
    """Two figures of each request.

    Attributes:
        title: the heading, with the units.
        described: what it shows, in words.
        x_label: what the horizontal axis is.
        y_label: what the vertical axis is.
        x: of the requests that have both; shape ``(n,)``.
        y: likewise, ms.
        lost: the requests at the upper rim.
        rims: where each of them stands on the horizontal axis, infinite at its end.
        x_bounds: of SLOs; those far from the figures are mentioned, and drawn only if there is
            room.
        y_bounds: likewise.
        note: what is not drawn, or easily missed.
        undefined: successes without both, as they have fewer than two tokens or reads.
        uncounted: others, whose number of tokens is unknown.
        lasts: seconds, if the horizontal axis is the time.
    """

    title: str
    described: str
    x_label: str
    y_label: str
    x: Floats
    y: Floats
    lost: tuple[Lost, ...]
    rims: tuple[Floats, ...]
    x_bounds: tuple[Bound, ...]
    y_bounds: tuple[Bound, ...]
    note: str
    undefined: int
    uncounted: int = 0
    lasts: float | None = None


@dataclass(frozen=True)
class Dots:
    """Points of one shade.

    Attributes:
        level: index of :data:`LEVELS`.
        x: places, as shares of the axis; shape ``(m,)``.
        y: likewise.
    """

    level: int
    x: Floats
    y: Floats


def first_and_further(case: CaseResult, records: Records) -> Scatter:
    """Return the time to the first token of each request, and that of each further one."""
    first, each = (1e3 * quantities.seconds(records, one.name) for one in (TTFT, TPOT))
    ok = records.ok
    known = ok & np.isfinite(first) & np.isfinite(each)
    bounds = {times: _bounds(case, times) for times in (TTFT, TPOT)}
    x, y = first[known], each[known]
    assert records.streams is not None
    missing = ok & ~known
    uncounted = int((missing & records.streams.uncounted()).sum())
    undefined = int(missing.sum()) - uncounted
    far = (_near(bounds[TTFT], x)[1], _near(bounds[TPOT], y)[1])
    middle = [float(np.median(values)) if len(values) else None for values in (x, y)]
    # A stream that broke off is placed where it began; one without output, at the end of the axis.
    began = records.first_token
    seen = np.where(began >= 0, (began - records.scheduled) / 1e6, np.inf)
    rim = lost(records)
    return Scatter(
        "TPOT against TTFT of each request, ms",
        f"Time to first token and time per output token of {counted(len(x), 'answer')}, medians "
        f"{significant(middle[0])} and {significant(middle[1])} ms, on logarithmic scales.",
        "time to first token, ms", "time per output token, ms",
        x, y, tuple(rim), tuple(seen[one.places] for one in rim),
        tuple(bounds[TTFT]), tuple(bounds[TPOT]),
        " ".join(filter(None, (_kept(case, records), left_out(undefined, uncounted), *far))),
        undefined, uncounted,
    )  # fmt: skip


def stalls(case: CaseResult, records: Records) -> Scatter:
    """Return the longest stall of each answer by when it began."""
    longest = 1e3 * quantities.seconds(records, STALL.name)
    known = records.ok & np.isfinite(longest)
    assert records.streams is not None
    place = records.streams.stalls()[known]
    began, y = records.streams.times[place] / 1e9, longest[known]
    missing = int((records.ok & ~known).sum())
    bounds = _bounds(case, STALL)
    rim = lost(records)
    worst = float(y.max()) if len(y) else None
    return Scatter(
        "Longest stall of each answer, ms",
        f"The longest time between neighbouring events with output of {counted(len(y), 'answer')} "
        f"by when it began, on a logarithmic scale; at worst {significant(worst)} ms.",
        BEGAN, "longest stall, ms",
        began, y, tuple(rim), tuple(records.scheduled[one.places] / 1e9 for one in rim),
        (), tuple(bounds),
        " ".join(filter(None, (left_out(missing), _near(bounds, y)[1]))), missing,
        lasts=max(case.duration, float(began.max()) if len(began) else 0.0),
    )  # fmt: skip


def axes_of(shown: Sequence[Scatter]) -> tuple[Axis, Axis]:
    """Return axes that hold all of some scatters, at least one."""
    y = axes.logarithmic(_ends([(one.y, one.y_bounds) for one in shown]))
    lasts = [one.lasts for one in shown if one.lasts is not None]
    if lasts:
        return axes.linear(0.0, max(lasts)), y
    return axes.logarithmic(_ends([(one.x, one.x_bounds) for one in shown])), y


def dots(one: Scatter, x: Axis, y: Axis, most: int = _MOST) -> list[Dots]:
    """Return the points of each shade that is there, the faintest first.

    Args:
        one: what to draw.
        x: horizontal axis.
        y: vertical axis.
        most: about how many points there may be.
    """
    columns = max(2, int((_RATIO * min(most, _MOST)) ** 0.5))
    rows = max(1, round(columns / _RATIO))
    across, up = x.place(one.x), y.place(one.y)
    column = np.minimum((across * columns).astype(np.int64), columns - 1)
    row = np.minimum((up * rows).astype(np.int64), rows - 1)
    _, field, number = np.unique(column * rows + row, return_inverse=True, return_counts=True)
    middle = [np.bincount(field, weights=places) / number for places in (across, up)]
    level = np.searchsorted([least for least, _ in LEVELS], number, side="right") - 1
    return [
        Dots(shade, middle[0][level == shade], middle[1][level == shade])
        for shade in np.unique(level).tolist()
    ]


def left_out(undefined: int, uncounted: int = 0) -> str:
    """Return how many answers are not drawn, and why; empty for none."""
    numbers = ((undefined, "fewer than two tokens or reads"),
               (uncounted, "an unknown number of tokens"))  # fmt: skip
    texts = [f"{counted(number, 'answer')} of {what}" for number, what in numbers if number]
    return f"Left out: {joined(texts)}." if texts else ""


def _ends(known: Sequence[tuple[Floats, Sequence[Bound]]]) -> list[float]:
    found = [end for values, _ in known if len(values) for end in (values.min(), values.max())]
    bounds = (bound for values, own in known for bound in _near(own, values)[0])
    return [*map(float, found), *(bound.value for bound in bounds)]


def _near(bounds: Sequence[Bound], values: Floats) -> tuple[list[Bound], str]:
    return near(bounds, float(values.min()), float(values.max())) if len(values) else ([], "")


def _bounds(case: CaseResult, times: Times) -> list[Bound]:
    """Return the bound that a single request must keep, if there is one."""
    return [
        Bound(1e3 * one.clause.bound, clean(str(one.clause)), one.clause.metric)
        for one in of_each_request(slo_clauses(case))
        if one.metric.times is times
    ]


def _kept(case: CaseResult, records: Records) -> str:
    limits = [one for one in of_each_request(slo_clauses(case)) if one.is_known(records)]
    if not limits:
        return ""
    broken = np.any([one.broken_by(records) for one in limits], axis=0)
    kept = len(records) - int(broken.sum())
    texts = joined(clean(str(one.clause)) for one in limits)
    at_once = " at once" if len(limits) > 1 else ""
    return f"{kept} of {counted(len(records), 'request')} kept {texts}{at_once}."
