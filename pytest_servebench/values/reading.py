"""How a metric's value is read from a case, and what of a case is read."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias


class _Estimate(Protocol):
    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def ceiling(self) -> float | None: ...


class _Distribution(Protocol):
    @property
    def max(self) -> float | None: ...


class _Figures(Protocol):
    @property
    def arrivals(self) -> int: ...
    @property
    def success_rate(self) -> float: ...
    @property
    def throughput(self) -> float: ...
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
    @property
    def pss(self) -> float | None: ...


class _Case(Protocol):
    """What metrics are read from: a case's result."""

    @property
    def summary(self) -> _Figures: ...
    @property
    def resources(self) -> _Resources: ...


Case: TypeAlias = _Case
"""A case's result, as far as metrics are read from it."""


@dataclass(frozen=True)
class Reading:
    """A metric's value and 95 % interval in a case; infinite values are ``inf`` here.

    Attributes:
        value: what was measured; ``None`` if unknown.
        low: lower end of the interval; ``None`` if there is no interval.
        high: upper end, infinite if open.
        unknown: why the value is unknown.
        ceiling: what the value is surely below if the interval is open; infinite if not known.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    unknown: str = ""
    ceiling: float = math.inf


def _ended(end: float | None) -> float:
    """Return an end of an estimate: ``None``, as in JSON, is infinite."""
    return math.inf if end is None else end


def estimate(
    name: str, *, of_requests: bool = True, missing: str = "it was not measured"
) -> Callable[[Case], Reading]:
    """Return a reader of an estimate, in which ``None`` is infinite.

    Args:
        name: of the estimate.
        of_requests: whether there is none without requests.
        missing: why it is unknown if a case has none.
    """

    def read(case: Case) -> Reading:
        if of_requests and not case.summary.arrivals:
            return Reading(None, unknown="no request arrived in the window")
        found = case.summary.estimates.get(name)
        if found is None:
            return Reading(None, unknown=missing)
        ends = (_ended(found.value), _ended(found.low), _ended(found.high))
        return Reading(*ends, ceiling=_ended(found.ceiling))

    return read


_UNCOUNTED: Final = (
    "not all streamed answers report their numbers of tokens (usage does; tokenizer= counts those "
    "of the output)"
)


def of_streams(name: str, *, by_tokens: bool = False) -> Callable[[Case], Reading]:
    """Return a reader of an estimate that only streamed answers have."""
    none = "no streamed answer had enough output to measure it"
    return estimate(name, missing=f"{none}, or {_UNCOUNTED}" if by_tokens else none)


def of_tokens(name: str) -> Callable[[Case], Reading]:
    """Return a reader of an estimate that needs the number of tokens of all streamed answers."""
    return estimate(name, missing=_UNCOUNTED)


def goodput(case: Case) -> Reading:
    """Return the goodput; without limits on single requests it is the throughput."""
    name = "goodput" if "goodput" in case.summary.estimates else "throughput"
    return estimate(name, of_requests=False)(case)


def capacity(case: Case) -> Reading:
    """Return the capacity where a case stands for a search that found one."""
    if "capacity" not in case.summary.estimates:
        return Reading(None, unknown="no search by find_capacity found an interval for it")
    return estimate("capacity", of_requests=False)(case)


def longest(case: Case) -> Reading:
    """Return the longest latency, infinite if a request failed."""
    if not case.summary.arrivals:
        return Reading(None, unknown="no request arrived in the window")
    value = case.summary.latency.max
    every = case.summary.success_rate == 1
    return Reading(value if every and value is not None else math.inf)


_UNSEEN: Final = "the server's processes are not visible"


def seen(
    value: Callable[[_Resources], float | None], interval: str = ""
) -> Callable[[Case], Reading]:
    """Return a reader of the monitor's figures, with the interval of an estimate if it has one."""

    def read(case: Case) -> Reading:
        found = value(case.resources)
        if found is None:
            return Reading(None, unknown=_UNSEEN)
        known = case.summary.estimates.get(interval)
        if known is None:  # such as in a run saved by an earlier version
            return Reading(found)
        return Reading(found, _ended(known.low), _ended(known.high))

    return read


def cpu_per_request(case: Case) -> Reading:
    """Return the CPU time per success, and why it is undefined if it is."""
    if case.resources.cpu_mean is None:
        return Reading(None, unknown=_UNSEEN)
    known = case.summary.estimates.get("cpu_per_request")
    if known is None and not case.summary.throughput:
        return Reading(None, unknown="no request succeeded in the window")
    return estimate("cpu_per_request")(case)


def pss(case: Case) -> Reading:
    """Return the proportional memory."""
    if case.resources.memory_peak is None:
        return Reading(None, unknown=_UNSEEN)
    size = case.resources.pss
    return Reading(size, unknown="" if size is not None else "the system does not report it")
