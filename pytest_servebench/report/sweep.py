"""A metric against the offered rate, for page and plots: curves, bounds and scales."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from pytest_servebench.report import axes
from pytest_servebench.report.panels import Panel, Point
from pytest_servebench.report.series import Series
from pytest_servebench.report.sessions import unit_of
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.safe import clean

X_LABEL: Final = "offered rate, requests/s"
"""If no request is a turn of a session; see :func:`x_label`."""

_NEAR: Final = 2.0  # how many times beyond the figures a bound may be and still be drawn
_COLUMN: Final = 0.06  # part of the horizontal axis within which letters stand in one column
_LOWEST: Final = 3.0  # part of its value down to which an interval is shown on a logarithmic axis


def x_label(series: Iterable[Series]) -> str:
    """Return the label of the horizontal axis."""
    return f"offered rate, {unit_of(case for one in series for case in one.cases)}/s"


@dataclass(frozen=True)
class Curve:
    """One server with one buffer size and number of rows.

    Attributes:
        series: how it looks.
        aside: horizontal offset from the rates, as a share of the axis.
        points: of each case.
    """

    series: Series
    aside: float
    points: tuple[tuple[CaseResult, Point], ...]

    def medians(self) -> tuple[list[float], list[float]]:
        """Return rates, ascending, and the median of the finite values at each: the line."""
        values: dict[float, list[float]] = {}
        for case, point in self.points:
            if math.isfinite(point.value):
                values.setdefault(case.rate, []).append(point.value)
        rates = sorted(values)
        return rates, [median(values[rate]) for rate in rates]


@dataclass(frozen=True)
class Sweep:
    """A chart of one metric, for page and plots.

    Attributes:
        panel: what is drawn.
        x: the offered rates.
        y: the panel.
        step: horizontal offset between neighbouring curves, as a share of the axis.
        curves: what is drawn.
        bounds: of SLOs, in the axis' unit, with the clause; ascending.
        message: shown instead of a drawing.
    """

    panel: Panel
    x: axes.Axis
    y: axes.Axis
    step: float
    curves: tuple[Curve, ...]
    bounds: tuple[tuple[float, str], ...]
    message: str


def sweep(
    panel: Panel,
    series: Sequence[Series],
    *,
    apart: float,
    marker: float,
    letter: float = axes.LETTER,
    alike: Sequence[Panel] = (),
) -> Sweep:
    """Return what to draw for a panel.

    Args:
        panel: what to draw.
        series: the curves, of which at least one has a case.
        apart: horizontal offset between curves, so that equal ones stay visible, as a share of the
            axis; less if rates are close together.
        marker: half a marker's size, as a share of the horizontal axis.
        letter: share of the horizontal axis that a digit of a label takes.
        alike: panels that have the same vertical axis.
    """
    cases = [case for one in series for case in one.cases]
    rates = [case.rate for case in cases]
    step = min(apart, 0.5 * axes.rates(rates).closest(rates) / len(series))
    first = -step * (len(series) - 1) / 2
    curves = tuple(
        Curve(
            one,
            first + step * place,
            tuple((case, point) for case in one.cases if (point := panel.point(case)) is not None),
        )
        for place, one in enumerate(series)
    )
    return Sweep(
        panel,
        axes.rates(rates, min(max(axes.MARGIN, marker - first), 0.4), letter),
        _value_axis(panel, alike or (panel,), cases),
        step,
        curves,
        _bounds(panel, cases),
        "" if any(curve.points for curve in curves) else panel.absent,
    )


@dataclass(frozen=True)
class Ending:
    """Where the letter of a server stands: beside the end of its first curve.

    Attributes:
        series: the curve.
        rate: its highest rate with a finite value.
        height: as a share of the vertical axis.
    """

    series: Series
    rate: float
    height: float


def endings(what: Sweep, gap: float) -> list[Ending]:
    """Return where to write the curves' letters; those at one rate are ``gap`` apart at least."""
    first: dict[str, tuple[Series, float, float]] = {}
    for curve in what.curves:
        rates, values = curve.medians()
        if curve.series.letter and rates and curve.series.kind not in first:
            height = min(max(float(what.y.place(values[-1:])[0]), 0.0), 1.0)
            first[curve.series.kind] = (curve.series, rates[-1], height)
    columns: list[list[tuple[Series, float, float]]] = []
    for one in sorted(first.values(), key=lambda one: one[1]):
        left, right = what.x.place([columns[-1][0][1] if columns else one[1], one[1]])
        if not columns or right - left > _COLUMN:
            columns.append([])
        columns[-1].append(one)
    found = []
    for column in columns:
        column.sort(key=lambda one: one[2])
        places = spread([height for _, _, height in column], gap)
        last = max(rate for _, rate, _ in column)
        found += [Ending(one[0], last, place) for one, place in zip(column, places, strict=True)]
    return found


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending heights moved as little as possible, and ``gap`` or more apart.

    Least squares by pooling adjacent violators, of heights less the gaps below them.
    """
    blocks: list[tuple[float, int]] = []  # mean and number of heights
    for index, height in enumerate(heights):
        mean, number = height - gap * index, 1
        while blocks and blocks[-1][0] > mean:
            other, more = blocks.pop()
            mean = (mean * number + other * more) / (number + more)
            number += more
        blocks.append((mean, number))
    level = [mean for mean, number in blocks for _ in range(number)]
    moved = [mean + gap * index for index, mean in enumerate(level)]
    if not moved:
        return []
    # Into the axes: at their lower end if there is no room for all.
    aside = -moved[0] if moved[0] < 0 else min(0.0, max(1.0 - moved[-1], -moved[0]))
    return [height + aside for height in moved]


def _value_axis(panel: Panel, alike: Sequence[Panel], cases: Sequence[CaseResult]) -> axes.Axis:
    ends = [
        end
        for one in alike
        for case in cases
        if (point := one.point(case)) is not None
        for end in (point.value, point.low, point.high, point.peak)
        if end is not None
        and math.isfinite(end)
        # On a logarithmic axis, an interval that begins near zero would take all the space.
        and not (panel.scale == "log" and end < point.value / _LOWEST)
    ]
    rates = [case.rate for case in cases]
    if panel.scale == "percent":
        return axes.percents(min(ends, default=100.0))
    if panel.scale == "rate":
        # The offered rate has its line, unless it is of sessions, which make more requests.
        ends += [case.request_rate for case in cases]
        if axes.rates(rates).logarithmic:
            return axes.logarithmic(ends)
    if panel.scale != "log":
        return axes.from_zero(ends)
    bounds = [bound for one in alike for bound, _ in _bounds(one, cases)]
    reach = min(ends, default=0.0) / _NEAR, max(ends, default=0.0) * _NEAR
    return axes.logarithmic([*ends, *(bound for bound in bounds if reach[0] <= bound <= reach[1])])


def _bounds(panel: Panel, cases: Iterable[CaseResult]) -> tuple[tuple[float, str], ...]:
    """Return the SLOs' bounds that are the same in all cases, unlike a share of the rate."""
    clauses: dict[str, set[float]] = {}
    for case in cases:
        for clause in case.clauses:
            if panel.is_about(clause) and not clause.is_gate:
                clauses.setdefault(clean(clause.clause), set()).add(clause.bound * panel.bound)
    return tuple(sorted((min(ends), text) for text, ends in clauses.items() if len(ends) == 1))
