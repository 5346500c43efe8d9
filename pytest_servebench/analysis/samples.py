"""What each of two runs says of a metric, before they are compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pytest_servebench.analysis.comparability import Pair
from pytest_servebench.analysis.evaluation import MARGIN
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.stats.bootstrap import Z
from pytest_servebench.stats.ratios import Range, Sample, exp, log


def samples(metric: str, cases: Sequence[CaseResult], pair: Pair) -> list[Sample]:
    """Return what each of the cases says, nothing where one does not know."""
    same = _same_arrivals(pair)
    if metric == "throughput" and same:
        # The same arrivals: the share of them that was answered in time tells more.
        return _read("throughput_share", cases) or _read(metric, cases)
    found = _read(metric, cases)
    if metric == "cpu" and not same:
        numbers = [case.summary.arrivals for case in cases]
        return [_with_luck(*one) for one in zip(found, numbers, strict=False)]
    return found


def _read(metric: str, cases: Sequence[CaseResult]) -> list[Sample]:
    found = [_READERS.get(metric, _latency)(metric, case) for case in cases]
    known = [one for one in found if one is not None]
    return known if len(known) == len(found) else []


def _same_arrivals(pair: Pair) -> bool:
    if any(case.workload is None for case in pair.every):  # of an earlier version
        sides = [[(case.seed, case.summary.arrivals) for case in side]
                 for side in (pair.base, pair.new)]  # fmt: skip
        return sides[0] == sides[1]
    base, new = (
        [case.workload and case.workload.schedule_sha256 for case in side]
        for side in (pair.base, pair.new)
    )
    return base == new


def _latency(metric: str, case: CaseResult) -> Sample | None:
    estimate = case.summary.estimates.get(metric)
    if estimate is None or case.summary.arrivals == 0:
        return None
    if metric == "mean" and estimate.value is None:
        # One failed request makes a mean infinite, and may be chance.
        return Sample(Range(math.inf, 0.0, math.inf))
    return Sample(Range.of(estimate))


def _share(metric: str, case: CaseResult) -> Sample | None:
    estimate = case.summary.estimates.get(metric)
    if estimate is None or estimate.value is None:
        return None
    return Sample(Range.of(estimate), share=True)


def _throughput(metric: str, case: CaseResult) -> Sample | None:
    estimate = case.summary.estimates.get(metric)
    return None if estimate is None or estimate.value is None else Sample(Range.of(estimate))


def _cpu(metric: str, case: CaseResult) -> Sample | None:
    # Runs that were saved by an earlier version have no interval.
    estimate = case.summary.estimates.get(metric)
    return _by_margin(case.resources.cpu_mean) if estimate is None else Sample(Range.of(estimate))


def _with_luck(sample: Sample, arrivals: int) -> Sample:
    """Return a sample of CPU for any arrivals: its interval is for those that came.

    Their number is a Poisson variable, and CPU goes with it.
    """
    known = sample.range
    luck = Z / math.sqrt(arrivals) if arrivals else math.inf
    low = math.hypot(log(known.value) - log(known.low), luck) if known.low > 0 else math.inf
    high = math.hypot(log(known.high) - log(known.value), luck) if known.value > 0 else math.inf
    wider = Range(known.value, known.value * exp(-low), known.value * exp(high))
    return Sample(wider, sampled=sample.sampled)


def _memory(_: str, case: CaseResult) -> Sample | None:
    return _by_margin(case.resources.memory_peak)


def _by_margin(value: float | None) -> Sample | None:
    if value is None:
        return None
    # Such that the ratio of two of them excludes 1 where they differ by the margin.
    half = (1 - MARGIN) ** math.sqrt(0.5)
    return Sample(Range(value, value * half, value / half), sampled=False)


_READERS: Final[Mapping[str, Callable[[str, CaseResult], Sample | None]]] = {
    "throughput": _throughput,
    "throughput_share": _share,
    "success_rate": _share,
    "drop_rate": _share,
    "error_rate": _share,
    "cpu": _cpu,
    "memory": _memory,
}
