"""The whole run at a glance: each metric against the offered rate."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from pytest_servebench.report.page.chart import Chart, Key, Label
from pytest_servebench.report.panels import Panel, class_panels, panels
from pytest_servebench.report.series import Series
from pytest_servebench.report.sessions import of_sessions
from pytest_servebench.report.sweep import Curve, Sweep, endings, sweep, x_label
from pytest_servebench.runs.results import Sizes
from pytest_servebench.text.numbers import plain, significant

_APART: Final = 0.02  # of the width, between curves at one rate
_MARKER: Final = 0.014  # half a marker, of the width
_LINES: Final = 4  # dash patterns in the CSS
_LETTER_HEIGHT: Final = 19  # between the letters of two servers
_SMALL: Final = 6  # a marker's size where curves crowd


Classes = Mapping[tuple[str, Sizes], str]
"""Kind and sizes to the CSS class with the curve's colour."""


def sweep_charts(series: Sequence[Series], classes: Classes) -> list[Chart]:
    """Return a chart for each panel; none if no case is valid.

    Args:
        series: the curves.
        classes: of the curves.
    """
    if not any(one.cases for one in series):
        return []
    shown = panels(case for one in series for case in one.cases)
    return [_sweep(panel, series, classes) for panel in shown]


def class_charts(series: Sequence[Series], classes: Classes) -> list[list[Chart]]:
    """Return for each percentile charts of each class of requests, alike in scale.

    Args:
        series: the curves.
        classes: of the curves, in the CSS.
    """
    rows = class_panels([case for one in series for case in one.cases])
    return [[_sweep(panel, series, classes, row) for panel in row] for row in rows]


def _sweep(
    panel: Panel, series: Sequence[Series], classes: Classes, alike: Sequence[Panel] = ()
) -> Chart:
    what = sweep(panel, series, apart=_APART, marker=_MARKER, alike=alike)
    chart = Chart(f"{panel.title}, {panel.unit}", _described(what), what.x, what.y,
                  x_label(series), message=what.message)  # fmt: skip
    if what.message:
        return chart
    if panel.of_offered and not of_sessions(series):
        ends = max(what.x.first, what.y.first), min(what.x.last, what.y.last)
        chart.line(ends, ends, "ideal")
        chart.legend.append(Key("ideal", "all that is offered"))
    chart.bounds(what.bounds, left=bool(series[0].letter))
    sizes = sorted({one.sizes for one in series})
    for curve in what.curves:
        own = curve.series.sizes
        _draw(chart, panel, curve, classes[curve.series.kind, own], sizes.index(own) % _LINES)
    broad = round(what.step * (len(what.curves) - 1) / 2 * (chart.right - chart.left))
    for one in endings(what, _LETTER_HEIGHT / (chart.bottom - chart.top)):
        x = min(int(chart.px([one.rate])[0]) + broad + 12, chart.width - 16)
        y = round(chart.bottom - one.height * (chart.bottom - chart.top)) + 7
        css = f"letter {classes[one.series.kind, one.series.sizes]}"
        chart.labels.append(Label(x, y, one.series.letter, css))
    return chart


def _draw(chart: Chart, panel: Panel, curve: Curve, css: str, line: int) -> None:
    aside = round(curve.aside * (chart.right - chart.left))
    rates, values = curve.medians()
    x, y = (chart.px(rates) + aside).tolist(), chart.py(values).tolist()
    chart.trace(list(zip(x, y, strict=True)), f"line d{line} {css}")
    size = _SMALL if len(rates) > 12 else 9
    for case, point in curve.points:
        place = int(chart.px([case.rate])[0]) + aside
        look = f"mark {css}" + (" broken" if panel.is_broken(case) else "")
        if not math.isfinite(point.value):
            chart.marker(place, chart.top + 4, "^", look, size)
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
        chart.marker(place, height, curve.series.marker, f"{look}{hollow}", size)


def _described(what: Sweep) -> str:
    texts = []
    for curve in what.curves:
        if curve.points:
            values = (f"{significant(point.value)} at {plain(case.rate)}/s"
                      for case, point in curve.points)  # fmt: skip
            texts.append(f"{curve.series.label}: {', '.join(values)}")
    unit = what.y.labelled(what.panel.unit)
    return f"{what.panel.title} in {unit} against the offered rate. {'; '.join(texts)}."
