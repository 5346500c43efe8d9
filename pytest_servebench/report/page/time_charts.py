"""One case over time."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from pytest_servebench.load.records import NEVER, Records
from pytest_servebench.report import axes
from pytest_servebench.report.figures import cpu_text
from pytest_servebench.report.page.chart import Chart, Key
from pytest_servebench.report.page.thinning import in_flight, slice_means, thinned
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.numbers import significant
from pytest_servebench.text.safe import counted

_SLICES: Final = 240  # of the window at most, for lines over time
_MEANS: Final = 48
TIME: Final = "seconds since the start"


def window(case: CaseResult) -> axes.Axis:
    """Return the axis of time."""
    return axes.linear(0.0, case.duration, 6)


def where_time_went(case: CaseResult, records: Records) -> Chart:
    """Return queue wait and service time over the window."""
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
        window(case),
        axes.from_zero(total.tolist()),
        f"arrival, {TIME}; means of {significant(case.duration / slices)} s",
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


def requests_in_flight(case: CaseResult, records: Records, points: int) -> Chart:
    """Return how many requests waited or were worked on at once."""
    time, inside, worked = in_flight(records, min(_SLICES, points // 2))
    most = int(inside.max())
    capacity = case.workers + case.buffer_size
    chart = Chart(
        "Requests in flight",
        f"Requests waiting or being served at once, over time: at most {most}; "
        f"{counted(case.workers, 'worker')} and {case.buffer_size} places in the buffer.",
        window(case),
        axes.from_zero([most], least=1.0, whole=True),
        TIME,
    )
    chart.steps(time, inside, "line-wait")
    chart.steps(time, worked, "line")
    limits = [(float(case.workers), counted(case.workers, "worker")),
              (float(capacity), f"buffer full at {capacity}")]  # fmt: skip
    chart.bounds([(value, text) for value, text in limits if value <= 1.3 * most], "limit")
    chart.legend = [
        Key("line", "at the server"), Key("line-wait", "plus waiting in the buffer"),
    ]  # fmt: skip
    return chart


def flow(case: CaseResult, records: Records) -> Chart:
    """Return arrivals and successes a second."""
    ok = records.ok
    slices = int(np.clip(len(records) // 8, 5, _MEANS))
    ends = np.linspace(0.0, case.duration, slices + 1)
    width = case.duration / slices
    came = np.histogram(records.scheduled / 1e9, ends)[0] / width
    went = np.histogram(records.done[ok] / 1e9, ends)[0] / width
    chart = Chart(
        "Arrivals and successes, 1/s",
        f"Arrivals per second and successes per second over time: overall "
        f"{significant(case.summary.achieved_rate)} arrivals/s and "
        f"{significant(case.summary.throughput)} successes/s.",
        window(case),
        axes.from_zero([*came.tolist(), *went.tolist()]),
        f"{TIME}; means of {significant(width)} s",
    )
    chart.steps(ends[:-1], went, "line")
    chart.steps(ends[:-1], came, "line-host")  # its gaps show what is below
    chart.legend = [Key("line-host", "arrivals"), Key("line", "successes")]
    return chart


def _no_samples(mean: float | None, samples: Sequence[float], described: str) -> str:
    """Return why there is nothing to draw of a resource; empty if there is."""
    if mean is None:
        return "Not visible: the server was attached."
    return "" if samples else f"No samples were kept; {described}."


def cpu(case: CaseResult, cores: int | None) -> Chart:
    """Return the server's CPU, and the machine's where ``cores`` are known."""
    series, known = case.resources.series, case.resources
    time, used = series.get("time", []), series.get("cpu", [])
    host = series.get("host_cpu", [])
    machine = [value * cores for value in host] if cores and len(host) == len(time) else []
    described = cpu_text(case) if known.cpu_mean is not None else "not visible"
    chart = Chart(
        "CPU, % of one processor",
        f"CPU of the server's processes over time: {described}.",
        window(case),
        axes.from_zero([*used, *machine, known.cpu_peak or 0.0], least=1.0),
        TIME,
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


def memory(case: CaseResult) -> Chart:
    """Return the server's resident memory."""
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
        window(case),
        axes.from_zero(used, least=1.0),
        TIME,
    )
    chart.message = _no_samples(known.memory_mean, used, described)
    if not chart.message:
        chart.area(time, [0.0] * len(time), used, "band")
        chart.note = f"{described[:1].upper()}{described[1:]}."
        chart.line(time, used, "line")
        chart.legend = [Key("line", "server")]
    return chart


def lag(case: CaseResult, records: Records, points: int) -> Chart:
    """Return how late the generator took arrivals up."""
    taken = records.enqueued != NEVER
    arrival = records.scheduled[taken] / 1e9
    late = np.maximum((records.enqueued[taken] - records.scheduled[taken]) / 1e6, 1e-3)
    shown = thinned(arrival, late, points // 2)
    p99 = case.summary.generator_lag.percentiles.get("p99")
    worst = float(late.max()) if len(late) else 0.0
    chart = Chart(
        "Lag of the load generator, ms",
        f"How late the generator handled arrivals, over time: p99 "
        f"{significant(None if p99 is None else 1e3 * p99)} ms, at worst {significant(worst)} ms.",
        window(case),
        axes.logarithmic(_ends(late)),
        f"arrival, {TIME}",
        css="of-generator",
    )
    chart.dots(arrival[shown], late[shown], "dot")
    chart.legend = [
        Key("dot", "delay before the generator handled it: our own error, not the server's")
    ]
    return chart


def _ends(values: axes.Floats) -> Sequence[float]:
    return [float(values.min()), float(values.max())] if len(values) else []
