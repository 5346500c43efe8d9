"""The charts of one case whose answers were streamed."""

import numpy as np

from pytest_servebench.load import quantities
from pytest_servebench.load.records import Records
from pytest_servebench.metrics import ITL, TPOT, TTFT
from pytest_servebench.report import axes
from pytest_servebench.report.page import time_charts
from pytest_servebench.report.page.chart import Chart, Key
from pytest_servebench.report.page.thinning import thinned
from pytest_servebench.report.percentile_curves import curve
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.numbers import significant

_LOOKS = {TTFT: "", TPOT: "d1", ITL: "d2"}


def stream_charts(case: CaseResult, records: Records, points: int) -> list[Chart]:
    """Return them; none if no answer was streamed.

    Args:
        case: its figures.
        records: what happened to each request.
        points: about how many requests a chart may show one by one.
    """
    if records.streams is None:
        return []
    return [_first_output(case, records, points), _by_percentile(records, points)]


def _first_output(case: CaseResult, records: Records, points: int) -> Chart:
    took = 1e3 * quantities.seconds(records, TTFT.name)
    known = np.isfinite(took)
    arrival, took = records.scheduled[known] / 1e9, took[known]
    highest = float(took.max()) if len(took) else None
    chart = Chart(
        "Time to first token of each request, ms",
        f"Time to first token of {len(took)} successes by their arrival on a logarithmic scale; "
        f"the slowest took {significant(highest)} ms.",
        time_charts.window(case),
        axes.logarithmic([float(took.min()), float(took.max())] if len(took) else []),
        f"arrival, {time_charts.TIME}",
    )
    shown = thinned(arrival, took, points // 2)
    chart.dots(arrival[shown], took[shown], "dot")
    chart.legend = [Key("dot", "success with output")]
    if not len(took):
        chart.message = "No answer with output succeeded."
    return chart


def _by_percentile(records: Records, points: int) -> Chart:
    axis = axes.slower(len(records))
    curves = {}
    for times in _LOOKS:
        found = quantities.sample(records, times.name)
        if found is not None:
            shares, values = curve(1e3 * found.values, points // 2)
            inside = np.array([axis.holds(share) for share in shares.tolist()], dtype=np.bool_)
            # Two events of one read are 0 apart, which a logarithmic axis has no place for.
            inside &= values > 0
            curves[times] = shares[inside], values[inside]
    ends = [end for _, values in curves.values() if len(values) for end in values[[0, -1]].tolist()]
    chart = Chart(
        "Streamed answers by percentile, ms",
        "Percentiles of the time to first token and the time per output token of requests, and of "
        "the time between neighbouring events with output of all answers.",
        axis,
        axes.logarithmic(ends),
        axes.PERCENTILE,
    )
    for times, (shares, values) in curves.items():
        look = f"line {_LOOKS[times]}".strip()
        chart.line(shares, values, look)
        chart.legend.append(Key(look, times.title))
    if not ends:
        chart.message = "No answer with output succeeded."
    elif np.isinf(quantities.seconds(records, TTFT.name)).any():
        chart.note = "Failed requests rank as infinitely slow: the curves end before."
    return chart
