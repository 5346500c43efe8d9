"""The whole run at a glance: each metric against the offered rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

import numpy as np

from pytest_servebench.metrics import standing_in
from pytest_servebench.report.facts import lag_p99
from pytest_servebench.report.page import axes
from pytest_servebench.report.page.chart import Chart, Key
from pytest_servebench.report.plot_series import Series
from pytest_servebench.report.plot_sweep import (
    CPU,
    MEMORY,
    SUCCESS,
    THROUGHPUT,
    Metric,
    Point,
    percentile_panel,
    scale_ends,
)
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.numbers import plain, significant
from pytest_servebench.text.safe import clean


def _p95_wait(case: CaseResult) -> Point | None:
    value = case.summary.queue_wait.percentiles.get("p95")
    return None if value is None else Point(1e3 * value)


def _lag(case: CaseResult) -> Point | None:
    value = lag_p99(case)
    return None if value is None else Point(1e3 * value)


METRICS: Final = (
    *map(percentile_panel, standing_in("charts")), THROUGHPUT, SUCCESS,
    Metric("Queue wait p95", "ms", _p95_wait, "wait", "linear", 1e3),
    CPU, MEMORY,
    Metric("Generator lag p99 (our own error)", "ms", _lag, "lag", "linear", 1e3),
)  # fmt: skip
_APART: Final = 14  # between curves at one rate, so that equal ones can be seen
_LINES: Final = 4  # dash patterns in the CSS
_SMALL: Final = 6  # a marker's size where curves crowd


def sweep_charts(series: Sequence[Series], classes: Mapping[tuple[str, int], str]) -> list[Chart]:
    """Return a drawing for each metric; none where no case is valid.

    Args:
        series: the curves.
        classes: kind and buffer size to the CSS class with the curve's colour.
    """
    if not any(one.cases for one in series):
        return []
    return [_sweep(metric, series, classes) for metric in METRICS]


def _sweep(
    metric: Metric, series: Sequence[Series], classes: Mapping[tuple[str, int], str]
) -> Chart:
    points = [
        [(case, point) for case in one.cases if (point := metric.point(case)) is not None]
        for one in series
    ]
    every = [point for pairs in points for _, point in pairs]
    rates = [case.rate for one in series for case in one.cases]
    unit = metric.unit.partition(" (")[0]
    chart = Chart(
        f"{metric.title}, {unit}", _described(metric, series, points), axes.rates(rates),
        _axis(metric, every, rates), "offered rate, requests/s",
    )  # fmt: skip
    if not every:
        chart.message = metric.absent
        return chart
    if metric is THROUGHPUT:
        # Many points: on a logarithmic axis a straight line would not be what is offered.
        space = np.geomspace if chart.x.logarithmic else np.linspace
        most = min(chart.x.last, chart.y.last)
        offered = space(max(chart.x.first, 0.0), most, 60 if chart.x.logarithmic else 2)
        chart.line(offered, offered, "ideal")
        chart.legend.append(Key("ideal", "all that is offered"))
    chart.bounds(_bounds(metric, series))
    sizes = sorted({one.buffer_size for one in series})
    room = (chart.right - chart.left) / (2 * max(len(set(rates)), 1))
    apart = min(_APART, room / max(len(series), 1))
    for index, (one, pairs) in enumerate(zip(series, points, strict=True)):
        aside = round(apart * (index - (len(series) - 1) / 2))
        css = classes[one.kind, one.buffer_size]
        line = sizes.index(one.buffer_size) % _LINES
        _draw(chart, one, pairs, aside, css, line)
    return chart


def _axis(metric: Metric, points: Sequence[Point], rates: Sequence[float]) -> axes.Axis:
    ends = scale_ends(metric, points)
    if metric.scale == "log":
        return axes.logarithmic(ends)
    if metric.scale == "percent":
        return axes.percents(min(ends, default=100.0))
    if metric is THROUGHPUT:
        return axes.from_zero([*ends, *rates])
    return axes.from_zero(ends)


def _draw(
    chart: Chart,
    series: Series,
    pairs: Sequence[tuple[CaseResult, Point]],
    aside: int,
    css: str,
    line: int,
) -> None:
    middles: dict[float, list[float]] = {}
    for case, point in pairs:
        if math.isfinite(point.value):
            middles.setdefault(case.rate, []).append(point.value)
    rates = sorted(middles)
    x = [place + aside for place in chart.px(rates).tolist()]
    y = chart.py([median(middles[rate]) for rate in rates]).tolist()
    chart.trace(list(zip(x, y, strict=True)), f"line d{line} {css}")
    size = _SMALL if len(rates) > 12 else 9
    for case, point in pairs:
        place = int(chart.px([case.rate])[0]) + aside
        if not math.isfinite(point.value):
            chart.marker(place, chart.top + 4, "^", f"mark {css}", size)
            continue
        height = int(chart.py([point.value])[0])
        if point.low is not None:
            end = point.value if point.high is None else point.high
            low, high = chart.py([point.low, end]).tolist()
            is_open = " open" if math.isinf(end) else ""
            chart.trace([(place, low), (place, high)], f"whisker{is_open} {css}")
        if point.peak is not None:
            top = int(chart.py([point.peak])[0])
            chart.trace([(place - size, top), (place + size, top)], f"whisker {css}")
        hollow = "" if point.resolved else " hollow"
        chart.marker(place, height, series.marker, f"mark{hollow} {css}", size)


def _bounds(metric: Metric, series: Sequence[Series]) -> list[tuple[float, str]]:
    """Return the bounds that are the same in all cases."""
    found: dict[str, set[float]] = {}
    for one in series:
        for case in one.cases:
            for clause in case.clauses:
                if clause.metric == metric.slo and not clause.is_gate:
                    found.setdefault(clean(clause.clause), set()).add(clause.bound * metric.bound)
    return [(known.pop(), text) for text, known in found.items() if len(known) == 1]


def _described(
    metric: Metric,
    series: Sequence[Series],
    points: Sequence[Sequence[tuple[CaseResult, Point]]],
) -> str:
    texts = []
    for one, pairs in zip(series, points, strict=True):
        values = [f"{significant(point.value)} at {plain(case.rate)}/s" for case, point in pairs]
        if values:
            texts.append(f"{one.label}: {', '.join(values)}")
    return f"{metric.title} in {metric.unit} against the offered rate. {'; '.join(texts)}."
