"""What happened in one case, drawn over its time and by percentiles."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import Final

import numpy as np

from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.metrics import LATENCY, METRICS
from pytest_servebench.report import axes
from pytest_servebench.report.figures import NAMES, cpu_text, failed, percentile, share_of
from pytest_servebench.report.page.chart import Chart, Key
from pytest_servebench.report.page.thinning import in_flight, slice_means, thinned
from pytest_servebench.report.percentile_curves import percentile_curve
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import CaseResult, ClauseResult
from pytest_servebench.stats.estimates import Summary
from pytest_servebench.text.numbers import significant
from pytest_servebench.text.safe import clean, counted, joined

_SLICES: Final = 240  # of the window at most, for lines over time
_MEANS: Final = 48
_BINS: Final = 40
_LATENCIES: Final = frozenset(one.name for one in METRICS.values() if one.times is LATENCY)
_BOUND_REACH: Final = 10.0  # an SLO's bound so many times beyond the data would squeeze it
_STRIP: Final = 160  # height of a drawing without a vertical axis
_TIME: Final = "seconds since the start"


def case_charts(
    case: CaseResult, records: Records | None, cores: int | None, points: int
) -> list[Chart]:
    """Return the drawings of a case; without records, those that need none.

    Args:
        case: its figures.
        records: what happened to each request.
        cores: processors of the machine, if known.
        points: about how many requests a drawing may show one by one.
    """
    charts = []
    if records is not None and len(records):
        charts.append(_latency(case, records, points))
    charts.append(_percentiles(case, records, points))
    if records is not None and len(records):
        charts += [
            _histogram(case, records),
            _where_time_went(case, records),
            _in_flight(case, records, points),
            _flow(case, records),
        ]
    if not is_plain(case):
        charts += [_cpu(case, cores), _memory(case)]
    if records is not None and len(records):
        charts.append(_lag(case, records, points))
    return charts


def _window(case: CaseResult) -> axes.Axis:
    return axes.linear(0.0, case.duration, 6)


def _near(
    case: CaseResult, metrics: Container[str], lowest: float, highest: float
) -> tuple[list[ClauseResult], str]:
    """Return the SLOs whose bounds are near what was measured, and what to say of the others.

    Args:
        case: with its clauses.
        metrics: those that the drawing shows.
        lowest: of what was measured, ms.
        highest: of the same.
    """
    clauses = [one for one in case.clauses if not one.is_gate and one.metric in metrics]
    reach = lowest / _BOUND_REACH, highest * _BOUND_REACH
    near = [one for one in clauses if reach[0] <= 1e3 * one.bound <= reach[1]]
    above = [clean(one.clause) for one in clauses if 1e3 * one.bound > reach[1]]
    below = [clean(one.clause) for one in clauses if 1e3 * one.bound < reach[0]]
    notes = [
        f"Too far {side} to be drawn: {joined(texts)}."
        for side, texts in (("above", above), ("below", below))
        if texts
    ]
    return near, " ".join(notes)


def _latency(case: CaseResult, records: Records, points: int) -> Chart:
    ok = records.ok
    arrival = records.scheduled / 1e9
    latency = 1e3 * records.latency()
    dropped = np.equal(records.outcome, Outcome.DROPPED)
    lost = ~ok & ~dropped
    shown = np.flatnonzero(ok)[thinned(arrival[ok], latency[ok], points)]
    highest = float(latency[ok].max()) if ok.any() else 0.0
    ends = [float(latency[ok].min()), highest] if ok.any() else []
    near, far = _near(case, _LATENCIES, *ends) if ends else ([], "")
    bounds = [(1e3 * one.bound, clean(one.clause)) for one in near]
    kinds = [(dropped, "drop", "dropped: the buffer was full"), (lost, "error", "failed")]
    lanes = [(which, shape, text) for which, shape, text in kinds if which.any()]
    numbers = ", ".join(
        f"{number} {word}" for word, number in case.summary.outcomes.items() if number
    )
    chart = Chart(
        "Latency of each request, ms",
        f"Latency of {len(records)} requests by their arrival on a logarithmic scale: {numbers}"
        + (f"; the slowest success took {significant(highest)} ms." if ok.any() else "."),
        _window(case),
        axes.logarithmic([*ends, *(value for value, _ in bounds)]),
        f"arrival, {_TIME}",
        lanes=len(lanes),
    )
    chart.dots(arrival[shown], latency[shown], "dot")
    if ok.any():
        chart.legend.append(Key("dot", "success"))
    for lane, (which, shape, text) in enumerate(lanes):
        chart.glyphs(arrival[which], lane, shape, f"{shape}-mark")
        chart.legend.append(Key(shape, f"{text} ({int(which.sum())})"))
    chart.bounds(bounds)
    if len(shown) < int(ok.sum()):
        chart.note = (
            f"{len(shown)} of {int(ok.sum())} successes are drawn: the slowest and the fastest of "
            "each moment, and an even choice of the others"
        )
        chart.note += "; all that failed. " if lanes else ". "
    chart.note += far
    if not ok.any():
        chart.note = "No request succeeded."
        chart.y = axes.Axis(0.0, 1.0, ())
        chart.height = _STRIP
    return chart


def _percentiles(case: CaseResult, records: Records | None, points: int) -> Chart:
    summary = case.summary
    names = [name for name in NAMES if name in summary.estimates]
    known = {name: percentile(summary, name) for name in names}
    axis = axes.slower(summary.arrivals)
    band = [
        (1 - share_of(name), 1e3 * one.low, 1e3 * one.high)
        for name, one in known.items()
        if one.value is not None and one.low is not None and one.high is not None
        and axis.holds(1 - share_of(name))
    ]  # fmt: skip
    shares, latencies = percentile_curve(case, records, points)
    ends = latencies[[0, -1]].tolist() if len(latencies) else []
    near, far = _near(case, NAMES, *ends) if ends else ([], "")
    bounds = [(1 - share_of(one.metric), 1e3 * one.bound) for one in near]
    values = [
        *ends,
        *(value for _, value in bounds),
        *(end for _, low, high in band for end in (low, high) if 0 < end < math.inf),
    ]
    words = ", ".join(
        f"{NAMES[name]} {significant(1e3 * one.value)}"
        + ("" if one.resolved else " (too few independent requests to tell)")
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
    if len(band) > 1:  # one alone has no width
        chart.legend.append(Key("band", "95 % interval at p50 … p99.9, joined"))
    if bounds:
        chart.legend.append(Key("bound-mark", "bound of an SLO"))
    notes = []
    if len(band) > 1 and any(high == math.inf for _, _, high in band):
        notes.append("Where the band reaches the upper edge, nothing bounds the percentile.")
    if lost:
        text = "rank" if lost > 1 else "ranks"
        notes.append(f"{counted(lost, 'failed request')} {text} as infinitely slow: the curve "
                     "ends before.")  # fmt: skip
    chart.note = " ".join([*notes, far] if far else notes)
    return chart


def _no_curve(summary: Summary) -> str:
    if not summary.arrivals:
        return "No request came in."
    if failed(summary) == summary.arrivals:
        return "No request succeeded."
    return "So many requests failed that no percentile is known to be finite."


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


def _where_time_went(case: CaseResult, records: Records) -> Chart:
    ok = records.ok & (records.dequeued != NEVER) & (records.sent != NEVER)
    arrival = records.scheduled[ok] / 1e9
    wait = (records.dequeued[ok] - records.enqueued[ok]) / 1e6
    service = (records.done[ok] - records.sent[ok]) / 1e6
    slices = int(np.clip(len(arrival) // 3, 6, _MEANS))
    ends = np.linspace(0.0, case.duration, slices + 1)
    waited, served = slice_means(arrival, wait, ends), slice_means(arrival, service, ends)
    full = np.isfinite(served)
    start, end = ends[:-1][full], ends[1:][full]
    served, total = served[full], (served + waited)[full]
    mean_wait = float(wait.mean()) if len(wait) else None
    mean_service = float(service.mean()) if len(service) else None
    chart = Chart(
        "Queue wait and service time, ms",
        f"Means over time of successes: {significant(mean_service)} ms at the server, "
        f"{significant(mean_wait)} ms in the buffer before.",
        _window(case),
        axes.from_zero(total.tolist()),
        f"arrival, {_TIME}; means of {significant(case.duration / slices)} s",
    )
    if not len(arrival):
        chart.message = "No request succeeded."
        return chart
    gap = 0.12 * (case.duration / slices)
    chart.bars(start + gap, end - gap, np.zeros(len(served)), served, "bar")
    chart.bars(start + gap, end - gap, served, total, "bar-wait")
    chart.legend = [
        Key("bar", f"at the server (mean {significant(mean_service)} ms)"),
        Key("bar-wait", f"waiting in the buffer (mean {significant(mean_wait)} ms)"),
    ]
    return chart


def _in_flight(case: CaseResult, records: Records, points: int) -> Chart:
    time, inside, worked = in_flight(records, min(_SLICES, points // 2))
    most = int(inside.max())
    capacity = case.workers + case.buffer_size
    chart = Chart(
        "Requests in flight",
        f"Requests that waited or were worked on at once, over time: at most {most}; "
        f"{case.workers} connections and {case.buffer_size} places in the buffer.",
        _window(case),
        axes.from_zero([most], least=1.0, whole=True),
        _TIME,
    )
    chart.steps(time, inside, "line-wait")
    chart.steps(time, worked, "line")
    limits = [(float(case.workers), f"{case.workers} connections"),
              (float(capacity), f"buffer full at {capacity}")]  # fmt: skip
    chart.bounds([(value, text) for value, text in limits if value <= 1.3 * most], "limit")
    chart.legend = [
        Key("line", "at the server"), Key("line-wait", "and waiting in the buffer"),
    ]  # fmt: skip
    return chart


def _flow(case: CaseResult, records: Records) -> Chart:
    ok = records.ok
    slices = int(np.clip(len(records) // 8, 5, _MEANS))
    ends = np.linspace(0.0, case.duration, slices + 1)
    width = case.duration / slices
    came = np.histogram(records.scheduled / 1e9, ends)[0] / width
    went = np.histogram(records.done[ok] / 1e9, ends)[0] / width
    chart = Chart(
        "Arrivals and successes, 1/s",
        f"Arrivals a second and successes a second over time: in all "
        f"{significant(case.summary.achieved_rate)} arrivals/s and "
        f"{significant(case.summary.throughput)} successes/s.",
        _window(case),
        axes.from_zero([*came.tolist(), *went.tolist()]),
        f"{_TIME}; means of {significant(width)} s",
    )
    chart.steps(ends[:-1], went, "line")
    chart.steps(ends[:-1], came, "line-host")  # its gaps show what is below
    chart.legend = [Key("line-host", "arrivals"), Key("line", "successes")]
    return chart


def _no_samples(mean: float | None, samples: Sequence[float], described: str) -> str:
    """Return why there is nothing to draw of a resource; empty if there is."""
    if mean is None:
        return "Not visible: the server's processes are not ours."
    return "" if samples else f"No samples were kept; {described}."


def _cpu(case: CaseResult, cores: int | None) -> Chart:
    series, known = case.resources.series, case.resources
    time, used = series.get("time", []), series.get("cpu", [])
    host = series.get("host_cpu", [])
    machine = [value * cores for value in host] if cores and len(host) == len(time) else []
    described = cpu_text(case) if known.cpu_mean is not None else "not visible"
    chart = Chart(
        "CPU, % of one processor",
        f"CPU of the server's processes over time: {described}.",
        _window(case),
        axes.from_zero([*used, *machine, known.cpu_peak or 0.0], least=1.0),
        _TIME,
    )
    chart.message = _no_samples(known.cpu_mean, used, described)
    if not chart.message:
        if machine:
            chart.line(time, machine, "line-host")
        chart.line(time, used, "line")
        chart.note = f"{described[:1].upper()}{described[1:]}."
        chart.legend = [Key("line", "server")]
        if machine:
            chart.legend.append(Key("line-host", "whole machine"))
    return chart


def _memory(case: CaseResult) -> Chart:
    series, known = case.resources.series, case.resources
    time = series.get("time", [])
    used = [value / 1e6 for value in series.get("memory", [])]
    described = (
        f"mean {significant(known.memory_mean / 1e6)} MB, "
        f"peak {significant((known.memory_peak or 0.0) / 1e6)} MB"
        if known.memory_mean is not None else "not visible"
    )  # fmt: skip
    chart = Chart(
        "Memory, MB resident",
        f"Resident memory of the server's processes over time: {described}.",
        _window(case),
        axes.from_zero(used, least=1.0),
        _TIME,
    )
    chart.message = _no_samples(known.memory_mean, used, described)
    if not chart.message:
        chart.area(time, [0.0] * len(time), used, "band")
        chart.note = f"{described[:1].upper()}{described[1:]}."
        chart.line(time, used, "line")
        chart.legend = [Key("line", "server")]
    return chart


def _lag(case: CaseResult, records: Records, points: int) -> Chart:
    taken = records.enqueued != NEVER
    arrival = records.scheduled[taken] / 1e9
    lag = np.maximum((records.enqueued[taken] - records.scheduled[taken]) / 1e6, 1e-3)
    shown = thinned(arrival, lag, points // 2)
    p99 = case.summary.generator_lag.percentiles.get("p99")
    worst = float(lag.max()) if len(lag) else 0.0
    chart = Chart(
        "Lag of the load generator, ms",
        f"How late the generator took arrivals up, over time: p99 "
        f"{significant(None if p99 is None else 1e3 * p99)} ms, at worst {significant(worst)} ms.",
        _window(case),
        axes.logarithmic(_ends(lag)),
        f"arrival, {_TIME}",
        css="of-generator",
    )
    chart.dots(arrival[shown], lag[shown], "dot")
    chart.legend = [Key("dot", "taken up late by so much: our own error, not the server's")]
    return chart


def _ends(values: axes.Floats) -> Sequence[float]:
    return [float(values.min()), float(values.max())] if len(values) else []
