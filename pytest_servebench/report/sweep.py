"""A metric against the offered rate, for page and plots: points, intervals and scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from pytest_servebench import metrics
from pytest_servebench.metrics import METRICS, has_streams, standing_in
from pytest_servebench.report import axes
from pytest_servebench.report.facts import lag_p99
from pytest_servebench.report.figures import interval, known_times, percentile
from pytest_servebench.report.series import Series
from pytest_servebench.report.sessions import unit_of
from pytest_servebench.runs.results import CaseResult, ClauseResult
from pytest_servebench.text.numbers import milliseconds
from pytest_servebench.text.safe import clean

X_LABEL: Final = "offered rate, requests/s"
"""If no request is a turn of a session; see :func:`x_label`."""

_NEAR: Final = 2.0  # how many times beyond the figures a bound may be and still be drawn
_COLUMN: Final = 0.06  # part of the horizontal axis within which letters stand in one column
_LOWEST: Final = 3.0  # part of its value down to which an interval is shown on a logarithmic axis


@dataclass(frozen=True)
class Point:
    """What is drawn for one case.

    Attributes:
        value: in the axis' unit; may be infinite.
        low: lower end of the bar, if there is one.
        high: upper end; infinite if open.
        resolved: whether there were enough requests; otherwise the marker is hollow.
        peak: the highest sample, marked by a dash.
    """

    value: float
    low: float | None = None
    high: float | None = None
    resolved: bool = True
    peak: float | None = None


@dataclass(frozen=True)
class Panel:
    """A metric plotted against the rate.

    Attributes:
        title: the chart's heading.
        unit: of its values.
        point: what to draw for a case, ``None`` if nothing.
        metric: its name in SLO clauses; empty where there can be none.
        scale: of the vertical axis; ``"rate"`` is like that of the offered rates.
        bound: factor from the unit of an SLO's bound to that of the axis.
        absent: what to say if there is nothing to draw.
    """

    title: str
    unit: str
    point: Callable[[CaseResult], Point | None]
    metric: str
    scale: Literal["log", "linear", "percent", "rate"]
    bound: float = 1.0
    absent: str = "no requests"

    @property
    def of_offered(self) -> bool:
        """Return whether its values are shares of the offered rate, which is its ideal."""
        return self.scale == "rate"

    def is_broken(self, case: CaseResult) -> bool:
        """Return whether a case breaks an SLO or a gate of the metric: its marker is outlined."""
        return any(self.is_about(one) and one.verdict == "failed" for one in case.clauses)

    def is_about(self, clause: ClauseResult) -> bool:
        """Return whether a clause is about what is drawn: the metric of all requests."""
        return clause.metric == self.metric and not clause.request_class


def x_label(series: Iterable[Series]) -> str:
    """Return the label of the horizontal axis."""
    return f"offered rate, {unit_of(case for one in series for case in one.cases)}/s"


def percentile_panel(metric: metrics.Metric) -> Panel:
    """Return the panel of a percentile."""
    assert metric.times is not None
    title = f"{metric.times.title} {metric.written.removeprefix(metric.times.prefix)}"

    def point(case: CaseResult) -> Point | None:
        found = percentile(case.summary, metric.name)
        if found.value is None:
            return None
        return Point(found.value * 1e3, milliseconds(found.low), milliseconds(found.high),
                     found.resolved)  # fmt: skip

    return Panel(f"{title[:1].upper()}{title[1:]}", "ms", point, metric.name, "log", 1e3)


def _throughput(case: CaseResult) -> Point:
    low, high = interval(case.summary.estimates.get("throughput")) or (None, None)
    return Point(case.summary.throughput, low, high)


def _goodput(case: CaseResult) -> Point | None:
    known = case.summary.estimates.get("goodput")
    if known is None or known.value is None:
        return None
    low, high = interval(known) or (None, None)
    return Point(known.value, low, high)


def _success(case: CaseResult) -> Point | None:
    if not case.summary.arrivals:
        return None
    ends = interval(case.summary.estimates.get("success_rate"))
    low, high = (None, None) if ends is None else (100 * ends[0], 100 * ends[1])
    return Point(100 * case.summary.success_rate, low, high)


def _wait(case: CaseResult) -> Point | None:
    value = case.summary.queue_wait.percentiles.get("p95")
    return None if value is None else Point(1e3 * value)


def _cpu(case: CaseResult) -> Point | None:
    mean, peak = case.resources.cpu_mean, case.resources.cpu_peak
    low, high = interval(case.summary.estimates.get("cpu")) or (None, None)
    return None if mean is None else Point(mean, low, high, peak=peak)


def _cpu_per_request(case: CaseResult) -> Point | None:
    found = METRICS["cpu_per_request"].read(case)
    if found.value is None:
        return None
    return Point(found.value * 1e3, milliseconds(found.low), milliseconds(found.high))


def _memory(case: CaseResult) -> Point | None:
    mean, peak = case.resources.memory_mean, case.resources.memory_peak
    if mean is None:
        return None
    return Point(mean / 1e6, peak=None if peak is None else peak / 1e6)


def _pss(case: CaseResult) -> Point | None:
    size = case.resources.pss
    return None if size is None else Point(size / 1e6)


def _lag(case: CaseResult) -> Point | None:
    value = lag_p99(case)
    return None if value is None else Point(1e3 * value)


_UNSEEN = "not visible: the server was attached"
THROUGHPUT: Final = Panel("Throughput", "successes/s", _throughput, "throughput", "rate")
GOODPUT: Final = Panel(
    "Goodput",
    "good requests/s",
    _goodput,
    "goodput",
    "rate",
    absent="no SLO limits single requests",
)
SUCCESS: Final = Panel("Success rate", "% of arrivals", _success, "success_rate", "percent", 100.0)
WAIT: Final = Panel("Queue wait p95", "ms", _wait, "", "linear")
# Peaks are many times the mean: on a linear axis they would flatten the means.
CPU: Final = Panel("CPU, mean and peak", "% of one processor", _cpu, "cpu", "log", absent=_UNSEEN)
CPU_PER_REQUEST: Final = Panel(
    "CPU per request", "ms", _cpu_per_request, "cpu_per_request", "log", 1e3, _UNSEEN
)
MEMORY: Final = Panel(
    "Memory, mean and peak", "MB, RSS", _memory, "memory", "linear", 1e-6, _UNSEEN
)
PSS: Final = Panel(
    "Memory", "MB, PSS", _pss, "memory_pss", "linear", 1e-6,
    "the system does not report it",
)  # fmt: skip
LAG: Final = Panel("Generator lag p99 (our own error)", "ms", _lag, "", "linear")


def panels(cases: Iterable[CaseResult]) -> list[Panel]:
    """Return all panels that may have data."""
    known = list(cases)
    percentiles = [percentile_panel(one) for one in shown_percentiles(known)]
    memory = [PSS, MEMORY] if any(_pss(case) for case in known) else [MEMORY]
    good = [GOODPUT] if shows_goodput(known) else []
    return [*percentiles, THROUGHPUT, *good, SUCCESS, WAIT, CPU, CPU_PER_REQUEST, *memory, LAG]


def shown_percentiles(cases: Sequence[CaseResult]) -> list[metrics.Metric]:
    """Return the percentiles with a panel: of streamed answers, also those that an SLO names."""
    shown = {one.name for one in (*standing_in("charts"), *standing_in("charts", streamed=True))}
    named = {one.metric for case in cases for one in case.clauses}
    times = known_times(cases)
    return [
        one for one in METRICS.values()
        if one.times in times and one.permille is not None
        and (one.name in shown or (one.of_streams and one.name in named))
    ]  # fmt: skip


def shows_goodput(cases: Iterable[CaseResult]) -> bool:
    """Return whether there is a panel of the goodput: of streamed answers under limits of time."""
    known = list(cases)
    return has_streams(known) and any(_goodput(case) for case in known)


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
