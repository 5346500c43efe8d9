"""What is measured of a case: one entry for each metric.

SLOs, gates, ``compare``, ``plan``, points, tables, plots, the page, other tools' formats and the
reference iterate over these entries, and none of them knows a metric by its name. What a metric
needs elsewhere is where its values come from: a column of the records (:class:`Times`), outcomes
that are counted, or what the monitor saw.

Here are plain facts, and how a value is read from a case: nothing is computed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, Protocol

from pytest_servebench.text.quantity import Kind

Place = Literal["table", "overview", "charts", "plan", "junit"]
"""Where not every metric stands: the table of cases, the overview's panels, the charts against the
rate, the changes that a plan always tells, and the properties of a test in JUnit XML."""


# -- what a case offers ---------------------------------------------------------------------------


class _Estimate(Protocol):
    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


class _Distribution(Protocol):
    @property
    def max(self) -> float | None: ...


class _Figures(Protocol):
    @property
    def arrivals(self) -> int: ...
    @property
    def success_rate(self) -> float: ...
    @property
    def latency(self) -> _Distribution: ...
    @property
    def estimates(self) -> Mapping[str, _Estimate]: ...


class _Resources(Protocol):
    @property
    def cpu_mean(self) -> float | None: ...
    @property
    def cpu_peak(self) -> float | None: ...
    @property
    def memory_mean(self) -> float | None: ...
    @property
    def memory_peak(self) -> float | None: ...


class _Case(Protocol):
    """What metrics are read from: a case's result."""

    @property
    def summary(self) -> _Figures: ...
    @property
    def resources(self) -> _Resources: ...


@dataclass(frozen=True)
class Reading:
    """A metric's value and 95 % interval in a case; infinities are infinities here.

    Attributes:
        value: what was measured; ``None`` if it cannot be known.
        low: lower end of the interval; ``None`` where there is no interval.
        high: upper end, infinite where it is open.
        unknown: why it cannot be known.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    unknown: str = ""


# -- entries --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """Times from the scheduled arrival of a request until something happened to it.

    Each gives the metrics :data:`STATISTICS`, in which a failed request ranks as infinitely slow.

    Attributes:
        name: of the quantity, in narrow tables and file names.
        title: in words.
        meaning: the same with what it is, for the reference.
        until: column of the records that has the instant.
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
        heading: of the table of points. Metrics that share one stand for each other: the first
            that the requests resolve gives the point.
        statistic: of the figure in that sentence, where the title does not have it.
        unless_worse: a metric by which the winner must not be worse, and why there is no point
            if it is.
    """

    heading: str
    statistic: str = ""
    unless_worse: tuple[str, str] | None = None


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: in results, such as ``p999``.
        written: in SLOs, gates and reports, such as ``p99.9``.
        title: in a sentence, such as ``success rate``.
        meaning: what it is, for the reference.
        kind: of its values, which has their units.
        read: value and interval of a case.
        aliases: other ways to write it.
        larger_is_better: of two values.
        times: which times it is a statistic of; ``None`` for another quantity.
        permille: of a percentile, in thousandths: ranks are exact in whole numbers.
        enough: requests that resolve it: MLPerf LoadGen's minima for 99 % confidence; 0 where any
            number does.
        outcomes: of a share of the arrivals, which of them it counts.
        same: margin within which two runs are the same, a ratio's change or, of shares, their
            difference, unless a gate gives another; ``None`` where no comparison is made: the
            longest of two runs has the longest maximum.
        of_run: whether it tells what was seen in this run, and is judged without an interval.
        share_of_load: the estimate in which it is a share of the arrivals, free of the luck of the
            schedule; empty if it cannot be one.
        complement: what the rest to 100 % is called where a smaller value must be the better one.
        point: how servers are compared by it; ``None`` if they are not.
        places: where it stands beside the places in which all do.
    """

    name: str
    written: str
    title: str
    meaning: str
    kind: Kind
    read: Callable[[_Case], Reading] = field(repr=False, compare=False)
    aliases: tuple[str, ...] = ()
    larger_is_better: bool = False
    times: Times | None = None
    permille: int | None = None
    enough: int = 0
    outcomes: tuple[str, ...] = ()
    same: float | None = None
    of_run: bool = False
    share_of_load: str = ""
    complement: str = ""
    point: Point | None = None
    places: frozenset[Place] = frozenset()

    @property
    def is_share(self) -> bool:
        """Return whether its changes are differences in percentage points, and not ratios."""
        return self.kind == "share"

    @property
    def of_server(self) -> bool:
        """Return whether it was seen at the server's processes, and not at its requests."""
        return self.kind in ("cpu", "memory")

    @property
    def goes_with_the_machine(self) -> bool:
        """Return whether a slower machine moves it without the server's doing."""
        return self.kind in ("time", "cpu")

    @property
    def is_mean(self) -> bool:
        """Return whether it is a mean of times: a single failed request makes it infinite."""
        return self.times is not None and self.permille is None and not self.of_run


def _ended(end: float | None) -> float:
    """Return an end of an estimate: what JSON leaves out is infinite."""
    return math.inf if end is None else end


def _estimate(name: str, *, of_requests: bool = True) -> Callable[[_Case], Reading]:
    """Return a reader of an estimate; what it leaves out is infinite."""

    def read(case: _Case) -> Reading:
        if of_requests and not case.summary.arrivals:
            return Reading(None, unknown="no request arrived in the window")
        found = case.summary.estimates.get(name)
        if found is None:
            return Reading(None, unknown="it was not measured")
        return Reading(_ended(found.value), _ended(found.low), _ended(found.high))

    return read


def _longest(case: _Case) -> Reading:
    if not case.summary.arrivals:
        return Reading(None, unknown="no request arrived in the window")
    longest = case.summary.latency.max
    every = case.summary.success_rate == 1
    return Reading(longest if every and longest is not None else math.inf)


def _seen(
    value: Callable[[_Resources], float | None], estimate: str = ""
) -> Callable[[_Case], Reading]:
    """Return a reader of what the monitor saw, with the interval of an estimate if it has one."""

    def read(case: _Case) -> Reading:
        seen = value(case.resources)
        if seen is None:
            return Reading(None, unknown="the server's processes cannot be seen from here")
        known = case.summary.estimates.get(estimate)
        if known is None:  # such as of a run that an earlier version saved
            return Reading(seen)
        return Reading(seen, _ended(known.low), _ended(known.high))

    return read


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
    """Return the metrics of times, with what some of them have beyond the others."""
    return tuple(
        Metric(
            name := times.prefix + one.name,
            times.prefix + one.written,
            times.prefix + one.written,
            f"{one.written} of the {times.meaning}",
            "time",
            _estimate(name),
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
"""What times are summarized: latency first."""

_FEWER = "less CPU, but fewer requests answered"
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
    Metric("max", "max", "max", "longest latency", "time", _longest, times=LATENCY, of_run=True),
    *itertools.chain.from_iterable(map(_statistics, TIMES[1:])),
    Metric(
        "throughput", "throughput", "throughput",
        "successes a second inside the window", "throughput",
        _estimate("throughput", of_requests=False), larger_is_better=True, same=0.05,
        share_of_load="throughput_share", places=frozenset({"plan", "junit"}),
        point=Point("ok/s"),
    ),
    Metric(
        "success_rate", "success_rate", "success rate", "share of arrivals that succeeded", "share",
        _estimate("success_rate"), larger_is_better=True, same=0.01, outcomes=("ok",),
        complement="failed", places=frozenset({"plan", "junit"}),
        point=Point("ok %"),
    ),
    Metric(
        "drop_rate", "drop_rate", "drop rate", "share that found the buffer full", "share",
        _estimate("drop_rate"), same=0.01, outcomes=("dropped",),
    ),
    Metric(
        "error_rate", "error_rate", "error rate", "share that was taken and failed", "share",
        _estimate("error_rate"), same=0.01,
        outcomes=("timeout", "connect_error", "http_error", "bad_response", "unfinished"),
    ),
    Metric(
        "cpu", "cpu", "CPU", "mean CPU of the server's processes over the window", "cpu",
        _seen(lambda one: one.cpu_mean, "cpu"), of_run=True, aliases=("cpu_mean",), same=0.05,
        point=Point("CPU", "mean", ("throughput", _FEWER)),
    ),
    Metric(
        "cpu_peak", "cpu_peak", "peak CPU", "highest CPU between two samples", "cpu",
        _seen(lambda one: one.cpu_peak), of_run=True,
    ),
    Metric(
        "memory", "memory", "memory", "peak resident memory of the server's processes", "memory",
        _seen(lambda one: one.memory_peak), of_run=True, aliases=("memory_peak",), same=0.05,
        point=Point("memory", "peak"),
    ),
    Metric(
        "memory_mean", "memory_mean", "mean memory", "mean resident memory", "memory",
        _seen(lambda one: one.memory_mean), of_run=True,
    ),
)  # fmt: skip

METRICS: Final[Mapping[str, Metric]] = MappingProxyType({one.name: one for one in _ALL})
"""Metrics by their names in results, in the order of reports."""

COMPARED: Final[Mapping[str, Metric]] = MappingProxyType(
    {one.name: one for one in _ALL if one.same is not None}
)
"""Those that runs are compared by, and that a gate may name."""

POINTS: Final[Mapping[str, tuple[Metric, ...]]] = MappingProxyType(
    {
        heading: tuple(sorted(
            (one for one in _ALL if one.point and one.point.heading == heading),
            key=lambda one: -(one.permille or 0),
        ))
        for heading in dict.fromkeys(one.point.heading for one in _ALL if one.point)
    }
)  # fmt: skip
"""Heading of the table of points to its metrics, of percentiles the highest first."""

SUCCESS_RATE: Final = METRICS["success_rate"]
ERROR_RATE: Final = METRICS["error_rate"]


def statistics_of(times: Times) -> tuple[Metric, ...]:
    """Return percentiles and mean of the times, those that have an interval."""
    return tuple(one for one in _ALL if one.times is times and not one.of_run)


def percentiles_of(times: Times) -> tuple[Metric, ...]:
    """Return the percentiles of the times, in ascending order."""
    return tuple(one for one in _ALL if one.times is times and one.permille is not None)


def standing_in(place: Place) -> tuple[Metric, ...]:
    """Return the metrics that stand in a place."""
    return tuple(one for one in _ALL if place in one.places)
