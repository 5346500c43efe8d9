"""The charts of one case: which there are, and those of its latency."""

import math
from typing import Final

import numpy as np

from pytest_servebench.analysis.precision import tail_of
from pytest_servebench.load.records import Records
from pytest_servebench.metrics import LATENCY
from pytest_servebench.report import axes
from pytest_servebench.report.figures import NAMES, failed, percentile
from pytest_servebench.report.near import bounds_of, near
from pytest_servebench.report.page import time_charts
from pytest_servebench.report.page.chart import Chart, Key
from pytest_servebench.report.page.request_charts import each_request
from pytest_servebench.report.page.stream_charts import stream_charts
from pytest_servebench.report.percentile_curves import percentile_curve
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.stats.estimates import Summary
from pytest_servebench.text.numbers import significant
from pytest_servebench.text.safe import counted

_BINS: Final = 40


def case_charts(
    case: CaseResult, records: Records | None, cores: int | None, points: int
) -> list[Chart]:
    """Return the charts of a case; without records, only those that do not need them.

    Args:
        case: its figures.
        records: what happened to each request.
        cores: processors of the machine, if known.
        points: about how many requests a chart may show one by one.
    """
    charts = []
    if records is not None and len(records):
        charts.append(each_request(case, records, LATENCY, points))
    charts.append(_percentiles(case, records, points))
    if case.probe:
        return charts  # a search has many: the section on its capacity shows them together
    if records is not None and len(records):
        charts += [
            *stream_charts(case, records, points),
            _histogram(case, records),
            time_charts.where_time_went(case, records),
            time_charts.requests_in_flight(case, records, points),
            time_charts.flow(case, records),
        ]
    if not is_plain(case):
        charts += [time_charts.cpu(case, cores), time_charts.memory(case)]
    if records is not None and len(records):
        charts.append(time_charts.lag(case, records, points))
    return charts


def _percentiles(case: CaseResult, records: Records | None, points: int) -> Chart:
    summary = case.summary
    names = [name for name in NAMES if name in summary.estimates]
    known = {name: percentile(summary, name) for name in names}
    axis = axes.slower(summary.arrivals)
    band = [
        (tail_of(name), 1e3 * one.low, 1e3 * one.high)
        for name, one in known.items()
        if one.value is not None and one.low is not None and one.high is not None
        and axis.holds(tail_of(name))
    ]  # fmt: skip
    shares, latencies = percentile_curve(case, records, points)
    ends = latencies[[0, -1]].tolist() if len(latencies) else []
    found = [one for one in bounds_of(case, LATENCY) if one.metric in NAMES]
    drawn, far = near(found, *ends) if ends else ([], "")
    bounds = [(tail_of(one.metric), one.value) for one in drawn]
    values = [
        *ends,
        *(value for _, value in bounds),
        *(end for _, low, high in band for end in (low, high) if 0 < end < math.inf),
    ]
    words = ", ".join(
        f"{NAMES[name]} {significant(1e3 * one.value)}"
        + ("" if one.resolved else " (too few independent requests)")
        for name, one in known.items()
        if one.value is not None
    )
    lost = failed(summary)
    ranks = ", failed requests ranking as infinitely slow" if lost else ""
    chart = Chart(
        "Latency by percentile, ms",
        f"Percentiles of the latency in ms{ranks}: {words}.",
        axis,
        axes.logarithmic(values),
        axes.PERCENTILE,
    )
    if not len(latencies) and not band:
        chart.message = _no_curve(summary)
        return chart
    chart.area(
        [share for share, _, _ in band],
        [low for _, low, _ in band],
        [min(high, chart.y.last) for _, _, high in band],
        "band",
    )
    chart.line(shares, latencies, "line")
    if records is None:
        for a, b in zip(chart.px(shares).tolist(), chart.py(latencies).tolist(), strict=True):
            chart.marker(a, b, "o", "mark", 7)
    for share, value in bounds:
        if chart.x.holds(share) and chart.y.holds(value):
            place, height = int(chart.px([share])[0]), int(chart.py([value])[0])
            chart.marker(place, height, "v", "bound-mark", 10)
    if len(latencies):
        chart.legend.append(Key("line", "measured"))
    if len(band) > 1:  # a single one has no width
        chart.legend.append(Key("band", "95 % interval at p50 … p99.9, joined"))
    if bounds:
        chart.legend.append(Key("bound-mark", "bound of an SLO"))
    notes = []
    if len(band) > 1 and any(high == math.inf for _, _, high in band):
        notes.append("Where the band reaches the upper edge, the percentile has no upper limit.")
    if lost:
        text = "rank" if lost > 1 else "ranks"
        notes.append(f"{counted(lost, 'failed request')} {text} as infinitely slow: the curve "
                     "ends before.")  # fmt: skip
    chart.note = " ".join([*notes, far] if far else notes)
    return chart


def _no_curve(summary: Summary) -> str:
    if not summary.arrivals:
        return "No request arrived."
    if failed(summary) == summary.arrivals:
        return "No request succeeded."
    return "So many requests failed that no percentile is certainly finite."


def _histogram(case: CaseResult, records: Records) -> Chart:
    latency = 1e3 * records.latency()[records.ok]
    latency = latency[latency > 0]
    known = case.summary.latency
    middle = None if known.mean is None else 1e3 * known.mean
    x = axes.logarithmic([float(latency.min()), float(latency.max())] if len(latency) else [])
    edges = np.geomspace(x.first, x.last, _BINS + 1)
    share = 100 * np.histogram(latency, edges)[0] / max(len(latency), 1)
    chart = Chart(
        "Distribution of latency, % of successes",
        f"Histogram of {len(latency)} successes on a logarithmic scale; mean "
        f"{significant(middle)} ms.",
        x,
        axes.from_zero(share.tolist()),
        "latency, ms",
    )
    some = share > 0
    chart.bars(edges[:-1][some], edges[1:][some], np.zeros(int(some.sum())), share[some], "bar")
    if not len(latency):
        chart.message = "No request succeeded."
    return chart
