"""One panel: a metric against the offered rate, a curve for each server and buffer size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.path import Path as Outline
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

from pytest_servebench import metrics
from pytest_servebench.report.figures import interval, percentile
from pytest_servebench.report.plot_frame import GREY, shown
from pytest_servebench.report.plot_scales import (
    closest,
    logarithmic_rates,
    scale_linear,
    scale_logarithmic,
    scale_percent,
    scale_rates,
)
from pytest_servebench.report.plot_series import Series
from pytest_servebench.runs.results import CaseResult

_APART: Final = 7.0  # points between curves at one rate, so that equal ones can both be seen
_MARKER: Final = 5.5  # points: a marker's size
_SMALLEST: Final = 0.45  # of the markers' usual size, where curves and rates crowd
_LABEL_ROOM: Final = 11.0  # points that an SLO's label needs above its line
_LOWEST: Final = 3.0  # part of its value down to which an interval is shown on a logarithmic axis
_TOP: Final = 0.965  # height of what has no number, in parts of the axis
_UP = Outline(
    [(0, 0), (0, 1), (-0.16, 0.72), (0, 1), (0.16, 0.72)],
    [Outline.MOVETO, Outline.LINETO, Outline.MOVETO, Outline.LINETO, Outline.LINETO],
)


@dataclass(frozen=True)
class Point:
    """What is drawn of one case.

    Attributes:
        value: in the axis' unit; infinite where it has no number.
        low: lower end of the bar, if there is one.
        high: upper end; infinite where it is open.
        resolved: whether there were enough requests; otherwise the marker is hollow.
        peak: the highest value of a moment, marked by a dash.
    """

    value: float
    low: float | None = None
    high: float | None = None
    resolved: bool = True
    peak: float | None = None


@dataclass(frozen=True)
class Metric:
    """What a panel shows.

    Attributes:
        title: the panel's heading.
        unit: the y axis' label.
        point: what to draw of a case, ``None`` where there is nothing to see.
        slo: name of the metric in SLO clauses.
        scale: ``"log"``, ``"linear"`` or ``"percent"``.
        bound: factor from the unit of an SLO's bound to that of the axis.
        absent: what to say where there is nothing to see.
    """

    title: str
    unit: str
    point: Callable[[CaseResult], Point | None]
    slo: str
    scale: str
    bound: float
    absent: str = "no requests"


def percentile_panel(metric: metrics.Metric) -> Metric:
    """Return the panel of a percentile."""
    assert metric.times is not None
    title = f"{metric.times.title} {metric.written.removeprefix(metric.times.prefix)}"

    def point(case: CaseResult) -> Point | None:
        known = percentile(case.summary, metric.name)
        if known.value is None:
            return None
        low, high = (None if end is None else end * 1e3 for end in (known.low, known.high))
        return Point(known.value * 1e3, low, high, known.resolved)

    return Metric(
        f"{title[:1].upper()}{title[1:]}", "ms (log scale)", point, metric.name, "log", 1e3
    )


def _throughput(case: CaseResult) -> Point:
    low, high = interval(case.summary.estimates.get("throughput")) or (None, None)
    return Point(case.summary.throughput, low, high)


def _success(case: CaseResult) -> Point | None:
    if not case.summary.arrivals:
        return None
    ends = interval(case.summary.estimates.get("success_rate"))
    low, high = (None, None) if ends is None else (100 * ends[0], 100 * ends[1])
    return Point(100 * case.summary.success_rate, low, high)


def _cpu(case: CaseResult) -> Point | None:
    mean, peak = case.resources.cpu_mean, case.resources.cpu_peak
    low, high = interval(case.summary.estimates.get("cpu")) or (None, None)
    return None if mean is None else Point(mean, low, high, peak=peak)


def _memory(case: CaseResult) -> Point | None:
    mean, peak = case.resources.memory_mean, case.resources.memory_peak
    if mean is None:
        return None
    return Point(mean / 1e6, peak=None if peak is None else peak / 1e6)


_UNSEEN = "not visible: the server was attached"
THROUGHPUT: Final = Metric("Throughput", "successes/s", _throughput, "throughput", "linear", 1.0)
SUCCESS: Final = Metric("Success rate", "% of arrivals", _success, "success_rate", "percent", 100.0)
# Peaks of a moment are many times the mean: on a linear axis they would press the means flat.
CPU: Final = Metric(
    "CPU, mean and peak", "% of one processor (log scale)", _cpu, "cpu", "log", 1.0, _UNSEEN
)
MEMORY: Final = Metric(
    "Memory, mean and peak", "MB resident", _memory, "memory", "linear", 1e-6, _UNSEEN
)


def draw_sweep(
    ax: Axes,
    metric: Metric,
    series: Sequence[Series],
    width: float,
    alike: Sequence[Metric] = (),
) -> None:
    """Draw one metric of all curves into axes that are ``width`` inches wide.

    Args:
        ax: where to draw.
        metric: what to draw.
        series: the curves.
        width: of the axes, in inches.
        alike: metrics whose panels have the same y axis.
    """
    rates = [case.rate for one in series for case in one.cases]
    ax.set_title(shown(metric.title))
    ax.set_ylabel(metric.unit)
    if not rates:
        _nothing(ax, "no valid case")
        return
    # Beside the ideal line, a step to the side looks like a step upwards.
    apart = _APART / 2 if metric is THROUGHPUT else _APART
    step = min(apart, 0.5 * 72 * closest(rates, width) / len(series))
    size = min(1.0, max(_SMALLEST, 0.3 + step / 4))
    broad = step * (len(series) - 1)
    scale_rates(ax, rates, width, (broad / 2 + _MARKER) / 72)
    points = [
        (one, [(case, point) for case in one.cases if (point := metric.point(case)) is not None])
        for one in series
    ]
    drawn = [point for _, pairs in points for _, point in pairs]
    if not drawn:
        _nothing(ax, metric.absent)
        return
    if metric is THROUGHPUT:
        _ideal(ax, series, rates, broad)
    cases = [case for one in series for case in one.cases]
    every = [point for one in alike or (metric,) for case in cases if (point := one.point(case))]
    _scale(ax, metric, every, rates)
    for index, (one, pairs) in enumerate(points):
        _Pen(ax, metric, one, step * index - broad / 2, size).draw(pairs)
    _bounds(ax, metric, cases)


def scale_ends(metric: Metric, points: Iterable[Point]) -> list[float]:
    """Return the finite values that a metric's axis must hold."""
    return [
        end
        for point in points
        for end in (point.value, point.low, point.high, point.peak)
        if end is not None
        and math.isfinite(end)
        # On a logarithmic axis, an interval that begins near zero would take all of the room.
        and not (metric.scale == "log" and end < point.value / _LOWEST)
    ]


def _scale(ax: Axes, metric: Metric, points: Iterable[Point], rates: Sequence[float]) -> None:
    ends = scale_ends(metric, points)
    if metric.scale == "log":
        scale_logarithmic(ax, ends, (1.0, 1000.0))
    elif metric.scale == "percent":
        scale_percent(ax, min(ends, default=100.0))
    elif metric is THROUGHPUT and logarithmic_rates(rates):
        positive = [end for end in ends if end > 0]
        scale_logarithmic(ax, [*positive, *rates], (min(rates), max(rates)))
        ax.set_ylabel(f"{metric.unit} (log scale)")
    else:
        scale_linear(ax, [*ends, *(rates if metric is THROUGHPUT else ())])


class _Pen:
    """Draws one curve, a little beside the rates."""

    def __init__(self, ax: Axes, metric: Metric, one: Series, aside: float, size: float) -> None:
        """Draw ``aside`` points to the right, with markers of ``size`` times their usual size."""
        assert ax.figure is not None
        self._ax = ax
        self._metric = metric
        self._series = one
        self._size = size
        shift = ScaledTranslation(aside / 72, 0, ax.figure.dpi_scale_trans)
        self._data = ax.transData + shift
        self._edge = blended_transform_factory(ax.transData, ax.transAxes) + shift
        self._lowest, self._highest = ax.get_ylim()

    def draw(self, pairs: Sequence[tuple[CaseResult, Point]]) -> None:
        """Draw a line through the medians of each rate, and a marker for each case."""
        middles: dict[float, list[float]] = {}
        for case, point in pairs:
            if math.isfinite(point.value):
                middles.setdefault(case.rate, []).append(max(point.value, self._lowest))
        rates = sorted(middles)
        values = [median(middles[rate]) for rate in rates]
        self._ax.plot(rates, values, linestyle=self._series.line, color=self._series.colour,
                      transform=self._data)  # fmt: skip
        for case, point in pairs:
            slos = [one for one in case.clauses if one.metric == self._metric.slo]
            failed = any(one.verdict == "failed" for one in slos)
            outline = "black" if failed else self._series.colour
            if math.isfinite(point.value):
                self._bar(case.rate, point)
                self._mark(case.rate, max(point.value, self._lowest), self._series.marker, outline,
                           hollow=not point.resolved)  # fmt: skip
            else:
                self._mark(case.rate, _TOP, "^", outline, infinite=True)

    def _mark(
        self,
        x: float,
        y: float,
        marker: str,
        outline: str,
        *,
        hollow: bool = False,
        infinite: bool = False,
    ) -> None:
        self._ax.plot(
            [x],
            [y],
            linestyle="",
            marker=marker,
            markersize=(7 if infinite else _MARKER) * self._size,
            markerfacecolor="white" if hollow else self._series.colour,
            markeredgecolor=outline,
            markeredgewidth=1.2 * self._size,
            transform=self._edge if infinite else self._data,
            clip_on=False,  # a marker on the axis is shown whole
            zorder=4 if infinite else 3,
        )

    def _bar(self, x: float, point: Point) -> None:
        look: dict[str, Any] = {
            "color": self._series.colour,
            "transform": self._data,
            "zorder": 2.5,
        }
        if point.peak is not None:
            self._ax.plot([x], [point.peak], linestyle="", marker="_", markeredgewidth=1.6,
                          markersize=6 * self._size, **look)  # fmt: skip
        if point.low is None:
            return
        value = max(point.value, self._lowest)
        high = value if point.high is None else min(point.high, self._highest)
        if point.high == math.inf:
            # Open upwards: an arrow says so with less ink than a bar through the panel.
            high = value
            self._ax.plot([x], [value], marker=_UP, markersize=17 * self._size, linestyle="",
                          markerfacecolor="none", markeredgewidth=self._size, **look)  # fmt: skip
        self._ax.plot([x, x], [max(point.low, self._lowest), high], linewidth=self._size,
                      marker="_", markersize=4 * self._size, **look)  # fmt: skip


def _ideal(ax: Axes, series: Sequence[Series], rates: Sequence[float], broad: float) -> None:
    ends = ax.get_xlim()
    ax.plot(ends, ends, color="#9a9a9a", linewidth=1.0, linestyle="-", zorder=1.5)
    achieved = {case.rate: case.summary.achieved_rate for one in series for case in one.cases}
    known = sorted(set(rates))
    # Broad enough to be seen behind the markers.
    ax.plot(known, [achieved[rate] for rate in known], linestyle="", marker="_",
            markersize=broad + 16, markeredgewidth=1.4, color="#9a9a9a", zorder=1.6)  # fmt: skip


def ideal_handles() -> list[tuple[Line2D, str]]:
    """Return legend entries for what a perfect server would do."""
    return [
        (Line2D([], [], color="#9a9a9a", linewidth=1.0), "ideal: all that is offered"),
        (
            Line2D([], [], color="#9a9a9a", linestyle="", marker="_", markersize=14,
                   markeredgewidth=1.4),
            "arrivals in the schedule",
        ),
    ]  # fmt: skip


def _bounds(ax: Axes, metric: Metric, cases: Iterable[CaseResult]) -> None:
    """Draw the SLO's bounds that lie inside the panel."""
    clauses: dict[str, set[float]] = {}
    for case in cases:
        for clause in case.clauses:
            if clause.metric == metric.slo and not clause.is_gate:
                clauses.setdefault(clause.clause, set()).add(clause.bound * metric.bound)
    low, high = ax.get_ylim()
    # A bound that differs from case to case, such as a share of the rate, is no line.
    bounds = {text: known.pop() for text, known in clauses.items() if len(known) == 1}
    inside = {text: bound for text, bound in bounds.items() if low < bound < high}
    if len(inside) > 2:
        return  # so many lines would hide the curves
    top = ax.transAxes.transform((0, 1))[1]
    for text, bound in sorted(inside.items(), key=lambda one: -one[1]):
        ax.axhline(bound, color=GREY, linewidth=0.9, linestyle=(0, (6, 3)), zorder=1.7)
        height = ax.transData.transform((1, bound))[1]
        above = (top - height) * 72 / ax.figure.dpi > _LABEL_ROOM
        top = height
        # At the left: there, latencies are low and the bound is seldom reached. Over the curves,
        # which may pass here all the same.
        ax.annotate(f"SLO {shown(text, 40)}", (0.01, bound), xycoords=ax.get_yaxis_transform(),
                    xytext=(0, 2 if above else -2), textcoords="offset points", size=7, color=GREY,
                    va="bottom" if above else "top", zorder=5,
                    bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
                    )  # fmt: skip


def _nothing(ax: Axes, why: str) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", color=GREY)
    ax.set_xlabel("offered rate, requests/s")
