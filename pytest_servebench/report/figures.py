"""Which figures of a case can be shown as they are, and which need a mark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pytest_servebench.analysis.precision import tail_of
from pytest_servebench.metrics import (
    LATENCY,
    METRICS,
    TIMES,
    Metric,
    Times,
    percentiles_of,
    statistics_of,
)
from pytest_servebench.report.facts import test_id, test_labels
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import CapacityResult, CaseResult
from pytest_servebench.stats.estimates import Distribution, Estimate, Summary
from pytest_servebench.text.numbers import plain, significant
from pytest_servebench.text.quantity import quantity

Standing = Literal["passed", "failed", "inconclusive", "invalid", "excused", "test-failed"]

NAMES: Final = {one.name: one.written for one in percentiles_of(LATENCY)}
"""Percentiles of the latency, to what people call them."""


@dataclass(frozen=True)
class Percentile:
    """A percentile in which failed requests rank as infinitely slow.

    Attributes:
        value: seconds; infinite where too many requests failed, ``None`` where there were none.
        low: lower end of the 95 % interval, seconds.
        high: upper end, infinite if there is none.
        resolved: whether there were enough requests for it.
    """

    value: float | None
    low: float | None
    high: float | None
    resolved: bool


def percentile(summary: Summary, name: str) -> Percentile:
    """Return a percentile, and whether there were enough requests for it.

    They were not where it is their maximum (p99 of 15 requests), or where nothing bounds it from
    above: the interval has no upper end although the value has a number.
    """
    if summary.arrivals == 0 or name not in summary.estimates:
        return Percentile(None, None, None, resolved=False)
    estimate = summary.estimates[name]
    if estimate.value is None:
        return Percentile(math.inf, estimate.low, math.inf, resolved=True)
    times = METRICS[name].times
    several = times is not None and times.several
    enough = several or summary.arrivals * tail_of(name) > 1 - 1e-9
    return Percentile(
        estimate.value,
        estimate.low,
        math.inf if estimate.high is None else estimate.high,
        resolved=enough and estimate.high is not None,
    )


def interval(estimate: Estimate | None) -> tuple[float, float] | None:
    """Return the ends of an interval, infinite where open; ``None`` where there is no interval."""
    if estimate is None or (estimate.low is None and estimate.high is None):
        return None
    low = -math.inf if estimate.low is None else estimate.low
    return low, math.inf if estimate.high is None else estimate.high


def cpu_text(case: CaseResult) -> str:
    """Return the mean CPU of a case with its interval, and its peak, if they are visible."""
    known = case.resources
    ends = interval(case.summary.estimates.get("cpu"))
    text = f"mean {significant(known.cpu_mean)} %"
    if ends is not None and math.isfinite(ends[1]):
        text += f" (95 % interval {significant(ends[0])} to {significant(ends[1])} %)"
    return f"{text}, peak {significant(known.cpu_peak)} %"


def goodput(case: CaseResult) -> float | None:
    """Return the goodput in 1/s; ``None`` if it is only the throughput."""
    known = case.summary.estimates.get("goodput")
    return None if known is None else known.value


def cpu_per_request(case: CaseResult) -> float | None:
    """Return the CPU time per success in seconds, if it is known."""
    return METRICS["cpu_per_request"].read(case).value


def cpu_per_request_text(case: CaseResult) -> str:
    """Return the CPU time per success with its interval; empty if it is unknown."""
    known = METRICS["cpu_per_request"].read(case)
    if known.value is None:
        return ""
    text = f"{quantity('time', known.value)} per success"
    if known.low is None or known.high is None or math.isinf(known.high):
        return text
    ends = f"{quantity('time', known.low)} to {quantity('time', known.high)}"
    return f"{text} (95 % interval {ends})"


def memory_metric(cases: Iterable[CaseResult]) -> Metric:
    """Return the metric of memory in tables: PSS if it is known for every visible server."""
    seen = [case for case in cases if case.resources.memory_peak is not None]
    every = seen and all(case.resources.pss is not None for case in seen)
    return METRICS["memory_pss" if every else "memory"]


def failed(summary: Summary) -> int:
    """Return the arrivals that did not succeed: they rank as infinitely slow."""
    return sum(summary.outcomes.values()) - summary.outcomes.get("ok", 0)


def dropped(summary: Summary) -> int:
    """Return the arrivals that found the buffer full."""
    return summary.outcomes.get("dropped", 0)


def errors(summary: Summary) -> int:
    """Return the arrivals that were taken but did not succeed."""
    return failed(summary) - dropped(summary)


@dataclass(frozen=True)
class TimesRow:
    """Times of all requests, in seconds: mean, then the percentiles of :data:`NAMES`.

    Attributes:
        times: what they are.
        figures: of all requests, a failed one ranking as infinitely slow.
        intervals: their 95 % intervals, infinite where open, ``None`` where there is none; empty
            where there were no requests.
    """

    times: Times
    figures: tuple[Percentile, ...]
    intervals: tuple[tuple[float, float] | None, ...]


@dataclass(frozen=True)
class TimesTable:
    """A case's times, in seconds.

    Attributes:
        n: arrivals.
        rows: times of all requests, latency first.
        parts: further quantities, with what they are called.
    """

    n: int
    rows: tuple[TimesRow, ...]
    parts: tuple[tuple[str, Distribution], ...]


def known_times(cases: Sequence[CaseResult]) -> list[Times]:
    """Return the latency, and any other times that a case has."""
    known = {name for case in cases for name in case.summary.estimates}
    return [
        times
        for times in TIMES
        if any(one.name in known for one in statistics_of(times))
        or (times is LATENCY and any(case.arrivals_told for case in cases))
    ]


def times_table(case: CaseResult) -> TimesTable:
    """Return the figures for the tables of one case's times."""
    summary = case.summary
    parts = (
        ("latency of successes", summary.latency),
        ("queue wait", summary.queue_wait),
        ("service time", summary.service_time),
        ("generator lag", summary.generator_lag),
    )
    known = case.origin is None
    return TimesTable(
        summary.arrivals,
        tuple(_times_row(summary, times) for times in known_times([case])),
        () if is_plain(case) else tuple(part for part in parts if known or part[1].n),
    )


def _times_row(summary: Summary, times: Times) -> TimesRow:
    *percentiles, mean = statistics_of(times)
    names = [mean.name, *(one.name for one in percentiles)]
    known = summary.estimates.get(mean.name)
    low, high = interval(known) or (None, None)
    value = None if known is None else known.value
    return TimesRow(
        times,
        (
            Percentile(math.inf if failed(summary) else value, low, high, resolved=True),
            *(percentile(summary, one.name) for one in percentiles),
        ),
        tuple(interval(summary.estimates.get(name)) for name in names if summary.arrivals),
    )


@dataclass(frozen=True)
class Group:
    """Cases that are shown together: one test function at one rate.

    Attributes:
        test: the shortest unique name of the test function.
        rate: offered arrivals per second.
        cases: ordered by server, then by buffer size and rows, repeats in the order of running.
    """

    test: str
    rate: float
    cases: tuple[CaseResult, ...]

    @property
    def load(self) -> str:
        """Return such as ``rate 10/s``."""
        if all(map(is_plain, self.cases)):
            return "no load"
        if not self.rate and all(case.origin is not None for case in self.cases):
            return "arrival rate unknown"
        of = " sessions" if any(case.sessions for case in self.cases) else ""
        return f"rate {plain(self.rate)}{of}/s"


def groups(cases: Sequence[CaseResult]) -> list[Group]:
    """Return the cases by test function and rate, rates ascending."""
    kinds = list(dict.fromkeys(case.server.kind for case in cases))
    labels = test_labels(cases)
    tests = list(labels)
    ordered = sorted(
        cases,
        key=lambda case: (
            tests.index(test_id(case)),
            case.rate,
            kinds.index(case.server.kind),
            case.sizes,
        ),
    )
    found: dict[tuple[str, float], list[CaseResult]] = {}
    for case in ordered:
        found.setdefault((test_id(case), case.rate), []).append(case)
    return [Group(labels[test], rate, tuple(members)) for (test, rate), members in found.items()]


def standing(case: CaseResult | CapacityResult) -> Standing:
    """Return a result's standing, by its verdict and the outcome of its test."""
    if case.verdict == "failed" and case.test_outcome in ("skipped", "xfailed"):
        return "excused"
    if case.verdict == "passed" and case.test_outcome in ("failed", "error"):
        return "test-failed"
    return case.verdict
