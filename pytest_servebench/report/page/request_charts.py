"""One of the times of a case's requests, one by one."""

from typing import Final

import numpy as np

from pytest_servebench.load import quantities
from pytest_servebench.load.records import Records
from pytest_servebench.metrics import Times
from pytest_servebench.report import axes
from pytest_servebench.report.lost import lost
from pytest_servebench.report.near import bounds_of, near
from pytest_servebench.report.page import time_charts
from pytest_servebench.report.page.chart import Chart, Key
from pytest_servebench.report.page.thinning import thinned
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.numbers import significant
from pytest_servebench.text.safe import counted

_STRIP: Final = 160  # height of a drawing without a vertical axis


def each_request(case: CaseResult, records: Records, times: Times, points: int) -> Chart:
    """Return a time of each request by its arrival, with the failed ones in lanes above.

    Args:
        case: its figures.
        records: what happened to each request.
        times: one of which each request has one value.
        points: about how many requests may be shown one by one.
    """
    arrival = records.scheduled / 1e9
    took = 1e3 * quantities.seconds(records, times.name)
    ok = records.ok & np.isfinite(took)
    shown = np.flatnonzero(ok)[thinned(arrival[ok], took[ok], points)]
    highest = float(took[ok].max()) if ok.any() else 0.0
    ends = [float(took[ok].min()), highest] if ok.any() else []
    drawn, far = near(bounds_of(case, times), *ends) if ends else ([], "")
    bounds = [(one.value, one.clause) for one in drawn]
    lanes = lost(records)
    numbers = ", ".join(
        f"{number} {word}" for word, number in case.summary.outcomes.items() if number
    )
    title = f"{times.title[:1].upper()}{times.title[1:]}"
    chart = Chart(
        f"{title} of each request, ms",
        f"{title} of {len(records)} requests by their arrival on a logarithmic scale: {numbers}"
        + (f"; the slowest success took {significant(highest)} ms." if ok.any() else "."),
        time_charts.window(case),
        axes.logarithmic([*ends, *(value for value, _ in bounds)]),
        f"arrival, {time_charts.TIME}",
        lanes=len(lanes),
    )
    chart.dots(arrival[shown], took[shown], "dot")
    if ok.any():
        chart.legend.append(Key("dot", "success"))
    chart.lost([(one, arrival[one.places]) for one in lanes])
    chart.bounds(bounds)
    if len(shown) < int(ok.sum()):
        chart.note = (
            f"{len(shown)} of {int(ok.sum())} successes are drawn: the slowest and the fastest at "
            "each moment, and an even sample of the others"
        )
        chart.note += "; all that failed. " if lanes else ". "
    chart.note += far
    if silent := int((records.ok & ~ok).sum()):
        chart.note = f"{chart.note} Left out: {counted(silent, 'answer')} without output.".lstrip()
    if not ok.any():
        chart.note = "No success had output." if records.ok.any() else "No request succeeded."
        chart.y = axes.Axis(0.0, 1.0, ())
        chart.height = _STRIP
    return chart
