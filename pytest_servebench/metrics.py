"""What is measured of a case: one entry for each metric.

SLOs, gates, ``compare``, ``plan``, points, tables, plots, the page, other tools' formats and the
reference iterate over these entries, so that a new one stands in all of them. Outside this module
it needs nothing if its values come from a column of the records (:class:`Times`), from outcomes
that are counted, or from figures that a case has; other times of a request are computed in
``load/quantities.py``.

An entry is plain facts and a reader for a case (:mod:`pytest_servebench.values.reading`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal

from pytest_servebench.text.quantity import Kind
from pytest_servebench.values import reading

Place = Literal["table", "overview", "charts", "plan", "junit", "unscheduled"]
"""Places that show only some metrics: the table of cases, the overview's panels, the charts against
the rate, the changes that a plan always shows, the properties of a test in JUnit XML, and the table
of cases without known arrivals. Those of streamed answers stand there only where there are any."""


@dataclass(frozen=True)
class Times:
    """A quantity in seconds that each request has, such as the time until some event.

    Each yields the metrics :data:`STATISTICS`, in which a failed request ranks as infinitely slow.

    Attributes:
        name: of the quantity in the records (``load/quantities.py``), in narrow tables and file
            names.
        title: in words.
        meaning: title and definition, for the reference.
        prefix: of its metrics' names.
        alias: another prefix that its metrics may be written with.
        streamed: whether only streamed answers have it.
        several: whether a request has several values, so that it limits no single request.
        by_tokens: whether it is known only with the number of an answer's tokens.
        column: of the records, with the end of a time that begins with the scheduled arrival; empty
            for other times.
    """

    name: str
    title: str
    meaning: str
    prefix: str = ""
    alias: str = ""
    column: str = ""
    streamed: bool = False
    several: bool = False
    by_tokens: bool = False


@dataclass(frozen=True)
class Point:
    """How servers are compared by a metric, cell by cell.

    Attributes:
        heading: of the table of points. Of metrics that share one, the first that is known of
            every server, from enough requests, gives the point.
        statistic: name of the statistic in a sentence, if the title does not include it.
        short: name of the metric in an enumeration, if that is not its title.
    """

    heading: str
    statistic: str = ""
    short: str = ""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: in results, such as ``p999``.
        written: in SLOs, gates and reports, such as ``p99.9``.
        title: in a sentence, such as ``success rate``.
        meaning: definition, for the reference.
        kind: of its values, which determines the units.
        read: reads value and interval from a case.
        aliases: other ways to write it.
        larger_is_better: of two values.
        times: which times it is a statistic of; ``None`` for other quantities.
        permille: of a percentile, in thousandths, so that ranks are exact integers.
        enough: requests needed for it: MLPerf LoadGen's minima for 99 % confidence; 0 if any
            number is enough.
        outcomes: for a share of the arrivals, the outcomes it counts.
        of_server: whether it comes from the server's processes, not from its requests.
        given_arrivals: whether its interval holds for the same arrivals only.
        same: margin within which two runs are the same, a relative change or, for shares, a
            difference, unless a gate gives another; ``None`` if runs are not compared by it: the
            longest of two runs has the longest maximum.
        of_run: whether it describes this run only, and is judged without an interval.
        share_of_load: the estimate that gives it as a share of the arrivals, free of the luck of
            the schedule; empty if there is none.
        given_limits: whether it depends on the limits that SLOs set for single requests: known only
            where there are some, and compared only where they are the same.
        of_streams: whether only loads with streamed answers have it.
        of_search: whether a search over several rates finds it: no single case has it.
        of_window: whether it is a rate over the window, which each tool ends in its own way.
        complement: name of the rest to 100 %, for formats in which smaller must be better.
        point: how servers are compared by it; ``None`` if they are not.
        places: where it appears besides the places that show every metric.
    """

    name: str
    written: str
    title: str
    meaning: str
    kind: Kind
    read: Callable[[reading.Case], reading.Reading] = field(repr=False, compare=False)
    aliases: tuple[str, ...] = ()
    larger_is_better: bool = False
    times: Times | None = None
    permille: int | None = None
    enough: int = 0
    outcomes: tuple[str, ...] = ()
    of_server: bool = False
    given_arrivals: bool = False
    same: float | None = None
    of_run: bool = False
    share_of_load: str = ""
    given_limits: bool = False
    of_streams: bool = False
    of_search: bool = False
    of_window: bool = False
    complement: str = ""
    point: Point | None = None
    places: frozenset[Place] = frozenset()

    @property
    def is_share(self) -> bool:
        """Return whether its changes are differences in percentage points, not ratios."""
        return self.kind == "share"

    @property
    def is_mean(self) -> bool:
        """Return whether it is a mean of times: a single failed request makes it infinite."""
        return self.times is not None and self.permille is None and not self.of_run


@dataclass(frozen=True)
class _Statistic:
    name: str
    written: str
    permille: int | None
    enough: int
    same: float
    places: tuple[Place, ...] = ()


STATISTICS: Final = (
    _Statistic("p50", "p50", 500, 20, 0.05, ("charts",)),
    _Statistic("p90", "p90", 900, 64, 0.10),
    _Statistic("p95", "p95", 950, 130, 0.10, ("charts",)),
    _Statistic("p99", "p99", 990, 662, 0.10, ("charts",)),
    _Statistic("p999", "p99.9", 999, 6636, 0.10),
    _Statistic("mean", "mean", None, 0, 0.05),
)


def _statistics(
    times: Times,
    places: Mapping[str, Sequence[Place]] = MappingProxyType({}),
    points: Mapping[str, Point] = MappingProxyType({}),
) -> tuple[Metric, ...]:
    """Return the metrics of times, with the places (of streamed answers all) and points of some."""
    return tuple(
        Metric(
            name := times.prefix + one.name,
            times.prefix + one.written,
            times.prefix + one.written,
            f"{one.written} of the {times.meaning}",
            "time",
            reading.of_streams(name, by_tokens=times.by_tokens) if times.streamed
            else reading.estimate(name),
            aliases=(times.alias + one.written,) if times.alias else (),
            times=times,
            permille=one.permille,
            enough=0 if times.several else one.enough,
            of_streams=times.streamed,
            same=one.same,
            places=frozenset((*(() if times.streamed else one.places), *places.get(one.name, ()))),
            point=points.get(one.name),
        )
        for one in STATISTICS
    )  # fmt: skip


LATENCY: Final = Times(
    "latency", "latency", "latency: from the scheduled arrival to the whole answer", alias="e2e.",
    column="done",
)  # fmt: skip
TTFB: Final = Times(
    "ttfb", "time to first byte",
    "time to the first byte: from the scheduled arrival to the first byte of the answer",
    prefix="ttfb.", column="first_byte",
)  # fmt: skip


def _streamed(name: str, title: str, meaning: str) -> Times:
    return Times(name, title, f"{title}: {meaning}", f"{name}.", streamed=True)


TTFT: Final = _streamed(
    "ttft", "time to first token",
    "from the scheduled arrival to the first event of the answer with output",
)  # fmt: skip
TTFT_SENT: Final = _streamed(
    "ttft_sent", "time to first token from sending",
    "without the wait for a worker, to compare with tools that measure it so",
)  # fmt: skip
ITL: Final = replace(_streamed(
    "itl", "inter-token latency",
    "between neighbouring events with output of one answer, of all answers together",
), several=True)  # fmt: skip
TPOT: Final = replace(_streamed(
    "tpot", "time per output token",
    "from the first event with output to the last / (output tokens - 1); answers with fewer than "
    "two tokens or events have none",
), by_tokens=True)  # fmt: skip
STALL: Final = _streamed(
    "stall", "longest stall",
    "longest time between neighbouring events with output of an answer; answers with fewer than "
    "two have none",
)  # fmt: skip
TIMES: Final = (LATENCY, TTFB, TTFT, TTFT_SENT, ITL, TPOT, STALL)
"""The times that are summarized, latency first."""

_ALL: Final = (
    *_statistics(
        LATENCY,
        {
            "p50": ("table", "overview", "plan", "junit"), "p90": ("plan",), "p95": ("table",),
            "p99": ("table", "overview", "plan", "junit"), "mean": ("plan",),
        },
        {"p50": Point("p50"), "p99": Point("tail"), "p95": Point("tail")},
    ),
    Metric(
        "max", "max", "max", "longest latency", "time", reading.longest, times=LATENCY, of_run=True,
    ),
    *_statistics(TTFB),
    *_statistics(
        TTFT,
        {"p50": ("table", "charts", "junit"), "p99": ("table", "overview", "charts", "junit")},
        {"p50": Point("ttft.p50"), "p99": Point("ttft tail"), "p95": Point("ttft tail")},
    ),
    *_statistics(TTFT_SENT, {"p50": ("unscheduled",), "p99": ("unscheduled",)}),
    *_statistics(ITL, {"p50": ("charts",), "p99": ("charts", "junit")}),
    *_statistics(
        TPOT,
        {"p50": ("table", "overview", "charts", "junit"), "p99": ("charts",)},
        {"p50": Point("tpot.p50")},
    ),
    *_statistics(STALL, {"p99": ("charts",)}),
    Metric(
        "output_rate", "output_rate", "output rate",
        "output tokens of successes read inside the window / length of the window", "token_rate",
        reading.of_tokens("output_rate"), larger_is_better=True, same=0.05, of_streams=True,
        of_window=True, places=frozenset({"junit"}),
    ),
    Metric(
        "output_tokens", "output_tokens", "output tokens", "mean output tokens of a success",
        "tokens", reading.of_tokens("output_tokens"), of_streams=True,
    ),
    Metric(
        "input_tokens", "input_tokens", "input tokens", "mean input tokens of a success",
        "tokens", reading.of_tokens("input_tokens"), of_streams=True,
    ),
    Metric(
        "throughput", "throughput", "throughput",
        "successes per second inside the window", "throughput",
        reading.estimate("throughput", of_requests=False), larger_is_better=True, same=0.05,
        share_of_load="throughput_share", of_window=True, places=frozenset({"plan", "junit"}),
        point=Point("ok/s"),
    ),
    Metric(
        "goodput", "goodput", "goodput",
        "requests per second that succeeded inside the window and within the latencies that the "
        "SLO's other clauses allow (of several percentiles, that of the highest); without such "
        "clauses, the throughput",
        "throughput", reading.goodput, larger_is_better=True, same=0.05,
        share_of_load="goodput_share", given_limits=True, places=frozenset({"junit"}),
    ),
    Metric(
        "capacity", "capacity", "capacity",
        "highest rate of arrivals that keeps the SLO's other clauses, as `find_capacity` finds it",
        "throughput", reading.capacity, larger_is_better=True, same=0.05, of_search=True,
    ),
    Metric(
        "success_rate", "success_rate", "success rate", "share of arrivals that succeeded", "share",
        reading.estimate("success_rate"), larger_is_better=True, same=0.01, outcomes=("ok",),
        complement="failed", places=frozenset({"plan", "junit"}),
        point=Point("ok %"),
    ),
    Metric(
        "drop_rate", "drop_rate", "drop rate",
        "share of arrivals dropped by a full buffer", "share",
        reading.estimate("drop_rate"), same=0.01, outcomes=("dropped",),
    ),
    Metric(
        "error_rate", "error_rate", "error rate",
        "share of arrivals that failed, drops excluded", "share",
        reading.estimate("error_rate"), same=0.01,
        outcomes=("timeout", "connect_error", "error_status", "bad_response", "unfinished"),
    ),
    Metric(
        "cpu", "cpu", "CPU", "mean CPU of the server's processes over the window", "cpu",
        reading.seen(lambda one: one.cpu_mean, "cpu"), of_run=True, aliases=("cpu_mean",),
        same=0.05, of_server=True, given_arrivals=True,
    ),
    Metric(
        "cpu_peak", "cpu_peak", "peak CPU", "highest CPU between two samples", "cpu",
        reading.seen(lambda one: one.cpu_peak), of_run=True, of_server=True,
    ),
    Metric(
        "cpu_per_request", "cpu_per_request", "CPU per request",
        "CPU time of the server's processes / successes, both inside the window", "time",
        reading.cpu_per_request, same=0.05, of_server=True, given_arrivals=True,
        point=Point("CPU", short="CPU"),
    ),
    Metric(
        "memory_pss", "memory_pss", "memory (PSS)",
        "memory of the server's processes before or after the load, whichever is more; pages that "
        "they share count once", "memory",
        reading.pss, of_run=True, of_server=True, same=0.05, point=Point("memory", short="memory"),
    ),
    Metric(
        "memory", "memory", "memory",
        "peak resident memory (RSS) of the server's processes, shared pages counted for each",
        "memory",
        reading.seen(lambda one: one.memory_peak), of_run=True, aliases=("memory_peak",), same=0.05,
        of_server=True,
        point=Point("memory", "peak"),
    ),
    Metric(
        "memory_mean", "memory_mean", "mean memory", "mean resident memory (RSS)", "memory",
        reading.seen(lambda one: one.memory_mean), of_run=True, of_server=True,
    ),
)  # fmt: skip

METRICS: Final[Mapping[str, Metric]] = MappingProxyType({one.name: one for one in _ALL})
"""Metrics by their names in results, in the order of reports."""

COMPARED: Final[Mapping[str, Metric]] = MappingProxyType(
    {one.name: one for one in _ALL if one.same is not None}
)
"""The metrics by which runs are compared, and that a gate may name."""


def _points(metrics: Sequence[Metric]) -> Mapping[str, tuple[Metric, ...]]:
    found: dict[str, list[Metric]] = {}
    for one in sorted(metrics, key=lambda one: -(one.permille or 0)):
        if one.point:
            found.setdefault(one.point.heading, []).append(one)
    headings = dict.fromkeys(one.point.heading for one in metrics if one.point)
    return MappingProxyType({heading: tuple(found[heading]) for heading in headings})


POINTS: Final = _points([one for one in _ALL if not one.of_streams])
"""Heading of the table of points to its metrics, the highest percentile first."""

STREAMED_POINTS: Final = _points(sorted(_ALL, key=lambda one: not one.of_streams))
"""The same for streamed answers, whose own metrics come first."""

SUCCESS_RATE: Final = METRICS["success_rate"]
ERROR_RATE: Final = METRICS["error_rate"]


def statistics_of(times: Times) -> tuple[Metric, ...]:
    """Return percentiles and mean of the times: the metrics with an interval."""
    return tuple(one for one in _ALL if one.times is times and not one.of_run)


def percentiles_of(times: Times) -> tuple[Metric, ...]:
    """Return the percentiles of the times, in ascending order."""
    return tuple(one for one in _ALL if one.times is times and one.permille is not None)


def standing_in(place: Place, *, streamed: bool = False) -> tuple[Metric, ...]:
    """Return the metrics that a place shows: those of all loads, or of ``streamed`` answers."""
    return tuple(one for one in _ALL if place in one.places and one.of_streams is streamed)


def has_streams(cases: Iterable[reading.Case]) -> bool:
    """Return whether answers of some case were streamed."""
    names = [one.name for one in standing_in("table", streamed=True)]
    return any(name in case.summary.estimates for case in cases for name in names)
