"""What is measured of a case: one entry for each metric.

SLOs, gates, ``compare``, ``plan``, points, tables, plots, the page, other tools' formats and the
reference iterate over these entries, and none of them refers to a metric by name. Outside this
module a metric only needs a source of its values: a column of the records (:class:`Times`),
outcomes that are counted, or the monitor's samples.

An entry is plain facts and a reader for a case (:mod:`pytest_servebench.values.reading`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from pytest_servebench.text.quantity import Kind
from pytest_servebench.values import reading

Place = Literal["table", "overview", "charts", "plan", "junit"]
"""Places that show only some metrics: the table of cases, the overview's panels, the charts against
the rate, the changes that a plan always shows, and the properties of a test in JUnit XML."""


@dataclass(frozen=True)
class Times:
    """Times from the scheduled arrival of a request until some event.

    Each yields the metrics :data:`STATISTICS`, in which a failed request ranks as infinitely slow.

    Attributes:
        name: of the quantity, in narrow tables and file names.
        title: in words.
        meaning: title and definition, for the reference.
        until: column of the records with the instant of the event.
        prefix: of its metrics' names.
    """

    name: str
    title: str
    meaning: str
    until: str
    prefix: str = ""


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
        of_search: whether a search over several rates finds it: no single case has it.
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
    of_search: bool = False
    complement: str = ""
    point: Point | None = None
    places: frozenset[Place] = frozenset()

    @property
    def is_share(self) -> bool:
        """Return whether its changes are differences in percentage points, not ratios."""
        return self.kind == "share"

    @property
    def goes_with_the_machine(self) -> bool:
        """Return whether a slower machine changes it, whatever the server does."""
        return self.kind in ("time", "cpu")

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
    """Return the metrics of times, with the extra places and points of some."""
    return tuple(
        Metric(
            name := times.prefix + one.name,
            times.prefix + one.written,
            times.prefix + one.written,
            f"{one.written} of the {times.meaning}",
            "time",
            reading.estimate(name),
            times=times,
            permille=one.permille,
            enough=one.enough,
            same=one.same,
            places=frozenset((*one.places, *places.get(one.name, ()))),
            point=points.get(one.name),
        )
        for one in STATISTICS
    )


LATENCY: Final = Times(
    "latency", "latency", "latency: from the scheduled arrival to the whole answer", "done"
)
TTFB: Final = Times(
    "ttfb",
    "time to first byte",
    "time to the first byte: from the scheduled arrival to the first byte of the answer",
    "first_byte",
    prefix="ttfb.",
)
TIMES: Final = (LATENCY, TTFB)
"""The times that are summarized, latency first."""

_ALL: Final = (
    *_statistics(
        LATENCY,
        {
            "p50": ("table", "overview", "plan", "junit"), "p90": ("plan",), "p95": ("table",),
            "p99": ("table", "overview", "plan", "junit"), "mean": ("plan",),
        },
        {
            "p50": Point("p50"),
            "p99": Point("tail"),
            "p95": Point("tail"),
        },
    ),
    Metric(
        "max", "max", "max", "longest latency", "time", reading.longest, times=LATENCY, of_run=True,
    ),
    *itertools.chain.from_iterable(map(_statistics, TIMES[1:])),
    Metric(
        "throughput", "throughput", "throughput",
        "successes per second inside the window", "throughput",
        reading.estimate("throughput", of_requests=False), larger_is_better=True, same=0.05,
        share_of_load="throughput_share", places=frozenset({"plan", "junit"}),
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

POINTS: Final[Mapping[str, tuple[Metric, ...]]] = MappingProxyType(
    {
        heading: tuple(sorted(
            (one for one in _ALL if one.point and one.point.heading == heading),
            key=lambda one: -(one.permille or 0),
        ))
        for heading in dict.fromkeys(one.point.heading for one in _ALL if one.point)
    }
)  # fmt: skip
"""Heading of the table of points to its metrics, the highest percentile first."""

SUCCESS_RATE: Final = METRICS["success_rate"]
ERROR_RATE: Final = METRICS["error_rate"]


def statistics_of(times: Times) -> tuple[Metric, ...]:
    """Return percentiles and mean of the times: the metrics with an interval."""
    return tuple(one for one in _ALL if one.times is times and not one.of_run)


def percentiles_of(times: Times) -> tuple[Metric, ...]:
    """Return the percentiles of the times, in ascending order."""
    return tuple(one for one in _ALL if one.times is times and one.permille is not None)


def standing_in(place: Place) -> tuple[Metric, ...]:
    """Return the metrics that are shown in a place."""
    return tuple(one for one in _ALL if place in one.places)
