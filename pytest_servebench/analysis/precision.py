"""The expected interval of a metric, from assumptions or from an earlier run.

Everything rests on one figure per metric: the variance v per request, of the logarithm of a latency
or of a throughput. n requests have v / n.

**Without a run** latencies are taken to be exponential, as in an M/M/1 queue: a percentile with the
tail p has v = (1 - p) / (p ln(p)^2) for independent requests, and a mean has v = 1. That is
multiplied by :func:`inflation`, as requests that wait in one queue are correlated. The CPU time of
requests is taken to be exponential too, and independent. No request is assumed to fail.

**With a run** v comes from its measured intervals, whose width shrinks with the square root of the
length, but is never less than the distance to the neighbouring percentiles allows: a median that
most requests share exactly has an interval of no width, which fewer requests would not have.
Additional variation between runs comes from repeats, if there are any.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, variance
from types import MappingProxyType
from typing import Final

from pytest_servebench.metrics import METRICS, percentiles_of
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.stats.student import Z

SHARES: Final[Mapping[str, float]] = MappingProxyType(
    {one.name: float(one.larger_is_better) for one in METRICS.values() if one.is_share}
    | {one.share_of_load: 1.0 for one in METRICS.values() if one.share_of_load}
)
"""Shares assumed without a run: nothing fails."""

_MEAN_TAIL: Final = 0.03  # the percentile that is as uncertain as a mean, for exponential latencies

# From the intervals of simulated M/M/1 queues: their deliberate bias to the safe side, and how far
# their widths scatter beyond it.
_BIAS: Final = 1.35
_SCATTER: Final = 3.0


@dataclass(frozen=True)
class Known:
    """What is known about a metric before the run.

    Attributes:
        value: seconds, 1/s or a share; ``None`` where a latency was not measured.
        variance: per request: of the logarithm of a latency or of a throughput; of a share in units
            of the binomial variance.
        inflation: the factor in it that is due to queueing; 1 if it was measured.
        least: requests below which no interval can decide anything.
        between: additional variance of the logarithm between runs; 0 without repeats to measure it.
        measured: whether ``variance`` comes from a run.
    """

    value: float | None
    variance: float
    inflation: float
    least: int
    between: float
    measured: bool


def inflation(load: float, tail: float | None = None) -> float:
    """Return how many requests of an M/M/1 queue are worth one independent request.

    The mean of n successive times in the system has, for large n, ((1 + ρ) / (1 - ρ))^2 times the
    variance that independent ones would give it. (Blomqvist 1967, Skandinavisk Aktuarietidskrift
    50:157, for waits: ρ(2 + 5ρ - 4ρ² + ρ³) / (1 - ρ)^4; a request's own service adds 1, and its
    effect on those behind it 2ρ(2 - ρ) / (1 - ρ)^2. The times' own variance is 1 / (1 - ρ)^2.
    Whitt 1989, Management Science 35:1341, plans simulations by the same.)

    A percentile needs the share of requests beyond it. Of the inflation, less 1, it has the part
    that the share of time beyond has in reflected Brownian motion: 1 + p ln(p) / (1 - p).

    Args:
        load: ρ, from 0 to below 1.
        tail: p, the share of requests beyond the percentile; ``None`` for a mean.

    Raises:
        ValueError: an argument is out of its range.
    """
    if not 0 <= load < 1:
        raise ValueError(f"load={load}: from 0 to below 1")
    if tail is not None and not 0 < tail < 1:
        raise ValueError(f"tail={tail}: between 0 and 1")
    beyond = ((1 + load) / (1 - load)) ** 2 - 1
    part = 1.0 if tail is None else 1 + tail * math.log(tail) / (1 - tail)
    return 1 + beyond * part


def assumed(metric: str, rate: float, load: float) -> Known:
    """Return the assumptions about a metric that was not measured.

    Args:
        metric: a statistic of times, the CPU per request, the throughput or a share of requests.
        rate: arrivals a second, all of which are answered.
        load: of the server, from 0 to below 1.

    Raises:
        ValueError: the load is out of its range.
    """
    if _is_cost(metric):
        return Known(None, 1.0, 1.0, 1, 0.0, measured=False)
    if metric in METRICS and METRICS[metric].of_streams and not _of_times(metric):
        # Sums of geometric numbers of tokens: E[X^2] / E[X]^2 = 2 for each request.
        return Known(None, 2.0, 1.0, 1, 0.0, measured=False)
    if not _of_times(metric):
        return Known(SHARES.get(metric, rate), 1.0, 1.0, 1, 0.0, measured=False)
    if METRICS[metric].is_mean:
        factor = inflation(load)
        return Known(None, factor, factor, math.ceil(factor), 0.0, measured=False)
    factor = inflation(load, tail_of(metric))
    least = math.ceil(METRICS[metric].enough * factor)
    variance = _alone(metric) * factor
    return Known(None, variance, factor, least, 0.0, measured=False)


def caution(metric: str, known: Known, requests: float) -> float:
    """Return the factor by which an interval's squared width may exceed its expectation.

    The variance of a percentile is known from what lies beyond it. With k independent events there
    its own relative error is of the order of 1 / sqrt(k), and intervals allow for it. Measured
    intervals include it.
    """
    if known.measured or not _of_times(metric):
        return 1.0
    tail = _MEAN_TAIL if METRICS[metric].is_mean else min(tail_of(metric), 1 - tail_of(metric))
    return _BIAS + _SCATTER / math.sqrt(max(1.0, tail * requests / known.inflation))


def tail_of(metric: str) -> float:
    """Return the share of requests beyond a percentile."""
    permille = METRICS[metric].permille
    assert permille is not None
    return 1 - permille / 1000


def is_percentile(metric: str) -> bool:
    """Return whether an estimate of this name is a percentile."""
    return metric in METRICS and METRICS[metric].permille is not None


def _of_times(metric: str) -> bool:
    return metric in METRICS and METRICS[metric].times is not None


def _is_cost(metric: str) -> bool:
    return metric in METRICS and METRICS[metric].kind == "time" and not _of_times(metric)


def _alone(metric: str) -> float:
    """Return the relative variance of a percentile of independent, exponential latencies."""
    tail = tail_of(metric)
    return (1 - tail) / (tail * math.log(tail) ** 2)


def measured(metric: str, cases: Sequence[CaseResult], load: float) -> Known | None:
    """Return what the repeats of one case say about a metric; ``None`` if nothing.

    If the interval has no upper end there were too few requests for one: the value is taken from
    the run, its variance from :func:`assumed`.
    """
    found = [(case.summary.estimates.get(metric), case.summary.arrivals) for case in cases]
    known = [(one, n) for one, n in found if one is not None and one.value is not None and n]
    if not known:
        return None
    guess = assumed(metric, cases[0].request_rate, load)
    values = [float(one.value or 0.0) for one, _ in known]
    if metric in SHARES:
        each = [_share_variance(one, n) for one, n in known]
        whole = [one for one in each if one is not None]
        return replace(
            guess, value=fmean(values), variance=fmean(whole) if whole else 1.0, measured=True
        )
    if min(values) <= 0:
        return None
    logs = [math.log(value) for value in values]
    errors = [
        ((max(math.log(one.high / value), math.log(value / one.low)) / Z) ** 2, n)
        for (one, n), value in zip(known, values, strict=True)
        if one.high is not None and one.low
    ]
    value = math.exp(fmean(logs))
    if not errors:
        return replace(guess, value=value)
    single = fmean([error * n for error, n in errors])
    if is_percentile(metric):
        single = max(single, fmean([_beside(metric, case) for case in cases]))
        # The run may have been a calm one: with k independent events beyond the percentile, the
        # relative error of its variance is of the order of 1 / sqrt(k).
        beyond = min(tail_of(metric), 1 - tail_of(metric)) * sum(n for _, n in errors)
        events = beyond * min(1.0, _alone(metric) / single) if single else beyond
        single *= 1 + 1 / math.sqrt(max(1.0, events))
    between = variance(logs) - fmean([error for error, _ in errors]) if len(logs) > 1 else 0.0
    least = 1
    if is_percentile(metric):
        # This many gave an interval with both ends; fewer may do.
        enough = math.ceil(METRICS[metric].enough * max(1.0, single / _alone(metric)))
        least = min([enough, *(n for _, n in errors)])
    return Known(value, single, 1.0, least, max(0.0, between), measured=True)


def _beside(metric: str, case: CaseResult) -> float:
    """Return the variance of a percentile's logarithm if the curve to its neighbours is straight.

    Straight as the logarithm of time over that of the tail p: the tail of independent requests has
    the relative variance (1 - p) / p.
    """
    times = METRICS[metric].times
    assert times is not None
    names = [one.name for one in percentiles_of(times)]
    where, tail = names.index(metric), tail_of(metric)
    curve = {name: case.summary.estimates.get(name) for name in names}
    here = curve[metric]
    slopes = [0.0]
    for name in names[max(0, where - 1) : where + 2]:
        other = curve[name]
        if name != metric and here and here.value and other and other.value:
            slopes.append(abs(math.log(other.value / here.value) / math.log(tail_of(name) / tail)))
    return max(slopes) ** 2 * (1 - tail) / tail


def _share_variance(one: Estimate, n: int) -> float | None:
    """Return by how much the variance of a share exceeds the binomial one.

    Wilson's ends solve (share - end)^2 = z^2 end (1 - end) / N for N effective requests.
    """
    assert one.value is not None
    end = one.low if one.value >= 0.5 else one.high
    if end is None or end in (0.0, 1.0, one.value):
        return None
    return max(1.0, n * (one.value - end) ** 2 / (Z**2 * end * (1 - end)))
