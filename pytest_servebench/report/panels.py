"""What is drawn of each case against the offered rate, metric by metric, for page and plots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pytest_servebench import metrics
from pytest_servebench.metrics import METRICS, has_streams, standing_in
from pytest_servebench.report.facts import lag_p99
from pytest_servebench.report.figures import interval, known_times, percentile
from pytest_servebench.runs.results import CaseResult, ClauseResult
from pytest_servebench.stats.estimates import Summary
from pytest_servebench.text.numbers import milliseconds
from pytest_servebench.text.safe import clean

_MOST_CLASSES: Final = 4  # with drawings


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
        request_class: the class of requests that it is about; empty for all of them.
    """

    title: str
    unit: str
    point: Callable[[CaseResult], Point | None]
    metric: str
    scale: Literal["log", "linear", "percent", "rate"]
    bound: float = 1.0
    absent: str = "no requests"
    request_class: str = ""

    @property
    def of_offered(self) -> bool:
        """Return whether its values are shares of the offered rate, which is its ideal."""
        return self.scale == "rate"

    def is_broken(self, case: CaseResult) -> bool:
        """Return whether a case breaks an SLO or a gate of the metric: its marker is outlined."""
        return any(self.is_about(one) and one.verdict == "failed" for one in case.clauses)

    def is_about(self, clause: ClauseResult) -> bool:
        """Return whether a clause is about what is drawn: the metric, of these requests."""
        return (clause.metric, clause.request_class) == (self.metric, self.request_class)


def percentile_panel(metric: metrics.Metric, request_class: str = "") -> Panel:
    """Return the panel of a percentile, of all requests or of one class."""
    assert metric.times is not None
    title = f"{metric.times.title} {metric.written.removeprefix(metric.times.prefix)}"
    title = f"{title[:1].upper()}{title[1:]}"
    if request_class:
        title += f", {clean(request_class)}"

    def point(case: CaseResult) -> Point | None:
        summary = _summary(case, request_class)
        found = None if summary is None else percentile(summary, metric.name)
        if found is None or found.value is None:
            return None
        return Point(found.value * 1e3, milliseconds(found.low), milliseconds(found.high),
                     found.resolved)  # fmt: skip

    return Panel(
        title, "ms", point, metric.name, "log", 1e3, request_class=request_class,
        absent="no requests" if not request_class else "no such times of this class",
    )  # fmt: skip


def _summary(case: CaseResult, request_class: str) -> Summary | None:
    if not request_class:
        return case.summary
    return next((one.summary for one in case.classes if one.name == request_class), None)


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


def class_panels(cases: Sequence[CaseResult]) -> list[tuple[Panel, ...]]:
    """Return for each percentile that is drawn of classes a panel for each class; none without.

    Percentiles of the table of cases, or that an SLO on a class names; of classes, those with most
    requests.
    """
    number: dict[str, int] = {}
    for case in cases:
        for one in case.classes:
            number[one.name] = number.get(one.name, 0) + one.summary.arrivals
    most = sorted(number, key=lambda name: -number[name])[:_MOST_CLASSES]
    wanted = {one.metric for case in cases for one in case.clauses if one.request_class}
    wanted |= {one.name for one in (*standing_in("table"), *standing_in("table", streamed=True))}
    return [
        tuple(percentile_panel(metric, name) for name in number if name in most)
        for metric in shown_percentiles(cases)
        if number and metric.name in wanted
    ]


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
