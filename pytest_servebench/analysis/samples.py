"""What each of two runs says about a metric, before they are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_servebench.analysis.contests import MARGIN
from pytest_servebench.analysis.pairs import Pair
from pytest_servebench.metrics import Metric
from pytest_servebench.objectives.goodput import slo_clauses
from pytest_servebench.objectives.limits import of_each_request
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.stats.ratios import Range, Sample, exp, log
from pytest_servebench.stats.student import Z


def samples(metric: Metric, cases: Sequence[CaseResult], pair: Pair) -> list[Sample]:
    """Return the sample of each case; empty if the metric is unknown for any of them."""
    same = _same_arrivals(pair)
    if metric.of_window and len({_tool(case) for case in pair.every}) > 1:
        return []
    if metric.given_limits and not _same_limits(metric, pair):
        return []
    if metric.share_of_load and same:
        # The same arrivals: the share of them that was answered in time is more precise.
        shares = [case.summary.estimates.get(metric.share_of_load) for case in cases]
        known = [one for one in shares if one is not None and one.value is not None]
        if len(known) == len(shares):
            return [Sample(Range.of(one), share=True) for one in known]
    found = [one for one in (_sample(metric, case) for case in cases) if one is not None]
    if len(found) < len(cases):
        return []
    if metric.given_arrivals and not same:
        numbers = [
            case.summary.arrivals if case.sessions is None else case.sessions.begun
            for case in cases
        ]
        return [_with_luck(*one) for one in zip(found, numbers, strict=True)]
    return found


def _same_arrivals(pair: Pair) -> bool:
    if any(case.sessions is not None for case in pair.every):
        return False  # later turns come as fast as the server lets them
    if any(case.workload is None for case in pair.every):  # of an earlier version
        sides = [[(case.seed, case.summary.arrivals) for case in side]
                 for side in (pair.base, pair.new)]  # fmt: skip
        return sides[0] == sides[1]
    base, new = (
        [case.workload and case.workload.schedule_sha256 for case in side]
        for side in (pair.base, pair.new)
    )
    return base == new


def _tool(case: CaseResult) -> str:
    return "" if case.origin is None else case.origin.tool


def _same_limits(metric: Metric, pair: Pair) -> bool:
    """Return whether the SLOs of both sides limit single requests, and alike."""
    limits = {frozenset(of_each_request(slo_clauses(case))) for case in pair.every}
    return len(limits) == 1 and all(metric.name in case.summary.estimates for case in pair.every)


def _sample(metric: Metric, case: CaseResult) -> Sample | None:
    reading = metric.read(case)
    if reading.value is None:
        return None
    if reading.low is None or reading.high is None:
        return _by_margin(reading.value)
    if metric.is_mean and math.isinf(reading.value):
        # One failed request makes a mean infinite, and may be chance.
        return Sample(Range(math.inf, 0.0, math.inf))
    return Sample(Range(reading.value, reading.low, reading.high), share=metric.is_share)


def _with_luck(sample: Sample, arrivals: int) -> Sample:
    """Return a sample of CPU that allows for other arrivals than those of the run.

    Their number (of sessions, that of those that began) is a Poisson variable. The CPU time that
    requests take is proportional to it; the CPU time that an idle server takes, spread over the
    requests, to its reciprocal.
    """
    known = sample.range
    luck = Z / math.sqrt(arrivals) if arrivals else math.inf
    low = math.hypot(log(known.value) - log(known.low), luck) if known.low > 0 else math.inf
    high = math.hypot(log(known.high) - log(known.value), luck) if known.value > 0 else math.inf
    wider = Range(known.value, known.value * exp(-low), known.value * exp(high))
    return Sample(wider, sampled=sample.sampled)


def _by_margin(value: float) -> Sample:
    # Such that the ratio of two of them excludes 1 where they differ by the margin.
    half = (1 - MARGIN) ** math.sqrt(0.5)
    return Sample(Range(value, value * half, value / half), sampled=False)
