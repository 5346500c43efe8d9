"""Which figures of a case can be shown as they are, and which need a mark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pytest_servebench.metrics import LATENCY, METRICS, percentiles_of
from pytest_servebench.report.facts import test_id, test_labels
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.stats.estimates import Distribution, Estimate, Summary
from pytest_servebench.text.numbers import plain, significant

Standing = Literal["passed", "failed", "inconclusive", "invalid", "excused", "test-failed"]

NAMES: Final = {one.name: one.written for one in percentiles_of(LATENCY)}
"""Percentiles of the latency, to what people call them."""


@dataclass(frozen=True)
class Percentile:
    """A percentile in which failed requests rank as infinitely slow.

    Attributes:
        value: seconds; infinite where too many requests failed, ``None`` where there were none.
        low: lower end of the 95 % interval, seconds.
        high: upper end, infinite where there is none.
        resolved: whether there were enough requests to tell it.
    """

    value: float | None
    low: float | None
    high: float | None
    resolved: bool


def percentile(summary: Summary, name: str) -> Percentile:
    """Return a percentile, and whether the requests were enough for it.

    They were not where it is their maximum (p99 of 15 requests), or where nothing bounds it from
    above: the interval has no upper end although the value has a number.
    """
    if summary.arrivals == 0 or name not in summary.estimates:
        return Percentile(None, None, None, resolved=False)
    estimate = summary.estimates[name]
    if estimate.value is None:
        return Percentile(math.inf, estimate.low, math.inf, resolved=True)
    enough = summary.arrivals * (1 - share_of(name)) > 1 - 1e-9
    return Percentile(
        estimate.value,
        estimate.low,
        math.inf if estimate.high is None else estimate.high,
        resolved=enough and estimate.high is not None,
    )


def is_percentile(name: str) -> bool:
    """Tell whether this is the name of a percentile."""
    return name in METRICS and METRICS[name].permille is not None


def share_of(name: str) -> float:
    """Return the share of requests that is no slower than a percentile."""
    permille = METRICS[name].permille
    assert permille is not None
    return permille / 1000


def interval(estimate: Estimate | None) -> tuple[float, float] | None:
    """Return the ends of an interval, infinite where open; ``None`` where there is no interval."""
    if estimate is None or (estimate.low is None and estimate.high is None):
        return None
    low = -math.inf if estimate.low is None else estimate.low
    return low, math.inf if estimate.high is None else estimate.high


def cpu_text(case: CaseResult) -> str:
    """Return the mean CPU of a case with its interval, and its peak; of processes that are seen."""
    known = case.resources
    ends = interval(case.summary.estimates.get("cpu"))
    text = f"mean {significant(known.cpu_mean)} %"
    if ends is not None and math.isfinite(ends[1]):
        text += f" (95 % interval {significant(ends[0])} to {significant(ends[1])} %)"
    return f"{text}, peak {significant(known.cpu_peak)} %"


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
class LatencyTable:
    """What is known of a case's times, in seconds.

    Attributes:
        n: arrivals.
        all_requests: mean and percentiles in which a failed request ranks as infinitely slow, by
            the names ``mean`` and of :data:`NAMES`.
        intervals: their 95 % intervals, infinite where open; empty where there were no requests.
        parts: further quantities, with what they are called.
    """

    n: int
    all_requests: Mapping[str, Percentile]
    intervals: Mapping[str, tuple[float, float] | None]
    parts: tuple[tuple[str, Distribution], ...]


def latency_table(case: CaseResult) -> LatencyTable:
    """Return the figures from which the tables of one case's times are made."""
    summary = case.summary
    known = summary.estimates.get("mean")
    low, high = interval(known) or (None, None)
    value = None if known is None else known.value
    mean = Percentile(math.inf if failed(summary) else value, low, high, resolved=True)
    names = ("mean", *NAMES)
    return LatencyTable(
        summary.arrivals,
        {"mean": mean, **{name: percentile(summary, name) for name in NAMES}},
        {name: interval(summary.estimates.get(name)) for name in names} if summary.arrivals else {},
        () if is_plain(case) else (
            ("latency of successes", summary.latency),
            ("queue wait", summary.queue_wait),
            ("service time", summary.service_time),
            ("generator lag", summary.generator_lag),
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Cases that are shown together: one test function at one rate.

    Attributes:
        test: the shortest name that tells the test function from the others.
        rate: offered arrivals a second.
        cases: ordered by server, then by buffer size, repeats in the order of running.
    """

    test: str
    rate: float
    cases: tuple[CaseResult, ...]

    @property
    def load(self) -> str:
        """Return such as ``rate 10/s``."""
        return "no load" if all(map(is_plain, self.cases)) else f"rate {plain(self.rate)}/s"


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
            case.buffer_size,
        ),
    )
    found: dict[tuple[str, float], list[CaseResult]] = {}
    for case in ordered:
        found.setdefault((test_id(case), case.rate), []).append(case)
    return [Group(labels[test], rate, tuple(members)) for (test, rate), members in found.items()]


def standing(case: CaseResult) -> Standing:
    """Return where a case stands, by its verdict and by what pytest made of its test."""
    if case.verdict == "failed" and case.test_outcome in ("skipped", "xfailed"):
        return "excused"
    if case.verdict == "passed" and case.test_outcome in ("failed", "error"):
        return "test-failed"
    return case.verdict
