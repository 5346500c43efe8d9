"""The charts of one case whose answers were streamed."""

from typing import Final

import numpy as np

from pytest_servebench.load import quantities
from pytest_servebench.load.records import Records
from pytest_servebench.metrics import ITL, STALL, TPOT, TTFT
from pytest_servebench.report import axes, scatter, timelines
from pytest_servebench.report.page.chart import Chart, Key, Label
from pytest_servebench.report.page.request_charts import each_request
from pytest_servebench.report.percentile_curves import curve
from pytest_servebench.report.scatter import Scatter
from pytest_servebench.report.timelines import Timeline
from pytest_servebench.runs.results import CaseResult

_LOOKS: Final = {TTFT: "", TPOT: "d1", ITL: "d2", STALL: "d3"}
_NOTHING: Final = "No answer with output succeeded."
_ROW: Final = 104  # height of a request's row
_EDGES: Final = 84  # of the drawing above and below the rows
_FINEST: Final = 2500  # points of a chart, with which events are drawn half a pixel apart


def stream_charts(case: CaseResult, records: Records, points: int) -> list[Chart]:
    """Return them; none if no answer was streamed.

    Args:
        case: its figures.
        records: what happened to each request.
        points: about how many requests a chart may show one by one.
    """
    if records.streams is None:
        return []
    return [
        each_request(case, records, TTFT, points // 2),
        _by_percentile(records, points),
        _scatter(scatter.first_and_further(case, records), points),
        _scatter(scatter.stalls(case, records), points),
        _timelines(timelines.timelines(records), points),
    ]


def _by_percentile(records: Records, points: int) -> Chart:
    axis = axes.slower(len(records))
    curves = {}
    for times in _LOOKS:
        found = quantities.sample(records, times.name)
        if found is not None:
            shares, values = curve(1e3 * found.values, points // 2)
            inside = np.array([axis.holds(share) for share in shares.tolist()], dtype=np.bool_)
            # Two events of one read have a gap of 0, which a logarithmic axis cannot show.
            inside &= values > 0
            curves[times] = shares[inside], values[inside]
    ends = [end for _, values in curves.values() if len(values) for end in values[[0, -1]].tolist()]
    chart = Chart(
        "Streamed answers by percentile, ms",
        "Percentiles of the time to first token, the time per output token and the longest stall "
        "of requests, and of the time between neighbouring events with output of all answers.",
        axis,
        axes.logarithmic(ends),
        axes.PERCENTILE,
    )
    for times, (shares, values) in curves.items():
        look = f"line {_LOOKS[times]}".strip()
        chart.line(shares, values, look)
        chart.legend.append(Key(look, times.title))
    if not ends:
        chart.message = _NOTHING
    elif np.isinf(quantities.seconds(records, TTFT.name)).any():
        chart.note = "Failed requests rank as infinitely slow: the curves end before."
    return chart


def _scatter(one: Scatter, points: int) -> Chart:
    x, y = scatter.axes_of([one])
    label = x.labelled(one.x_label)
    chart = Chart(one.title, one.described, x, y, label, lanes=len(one.lost), note=one.note)
    if not len(one.x):
        chart.message = scatter.left_out(one.undefined, one.uncounted) or _NOTHING
        return chart
    for found in scatter.dots(one, x, y, 2 * points):
        chart.dots_at(found.x, found.y, f"dot n{found.level}")
        chart.legend.append(Key("dot", scatter.LEVELS[found.level][1], f"n{found.level}"))
    chart.lost(list(zip(one.lost, one.rims, strict=True)))
    chart.bounds([(bound.value, bound.clause) for bound in one.y_bounds], left=True)
    chart.bounds_across([(bound.value, bound.clause) for bound in one.x_bounds])
    return chart


def _timelines(shown: list[Timeline], points: int) -> Chart:
    rows = len(shown)
    told = "; ".join(one.label for one in shown)
    chart = Chart(
        timelines.TITLE, f"Arrival of the tokens of {rows} requests: {told}.",
        timelines.axis_of(shown) if shown else axes.linear(0.0, 1.0),
        axes.Axis(0.0, float(max(rows, 1)), ()), timelines.X_LABEL, height=_EDGES + _ROW * rows,
    )  # fmt: skip
    if not shown:
        chart.message = _NOTHING
        return chart
    step = max(1, round(_FINEST / max(points, 1)))
    for row, one in enumerate(shown):
        low, high = timelines.bar_of(row, rows)
        ends = np.array([0.0, max(0.0, one.sent), one.events[0]])
        chart.bars(ends[:1], ends[1:2], np.array([low]), np.array([high]), "bar-wait")
        chart.bars(ends[1:2], ends[2:], np.array([low]), np.array([high]), "band")
        if one.stall is not None:
            begin, end = (np.array([edge]) for edge in one.stall)
            chart.bars(begin, end, np.array([low]), np.array([high]), "stall")
        chart.strokes(one.events, low, high, "tick", step)
        middle = (low + high) / 2
        chart.line([one.events[-1], one.end], [middle, middle], "ideal")
        x, y = int(chart.px([one.end])[0]), int(chart.py([middle])[0])
        if one.failed:
            chart.cross(x, y, "error-mark")
        else:
            chart.marker(x, y, "D", "end-mark", 7)
        height = int(chart.py([timelines.text_of(row, rows)])[0])
        chart.labels.append(Label(chart.left, height, one.label, "halo"))
    chart.legend = [
        Key("bar-wait", "waits to be sent"), Key("band", "sent, no token yet"),
        Key("tick", "event with output"), Key("end-mark", "end of the answer"),
    ]  # fmt: skip
    if any(one.stall for one in shown):
        chart.legend.insert(3, Key("stall", "its longest stall"))
    if any(one.failed for one in shown):
        chart.legend.append(Key("error", "failed"))
    return chart
