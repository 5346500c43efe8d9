"""From a case's records to its figures: percentiles and rates, with intervals.

**Percentiles** are nearest ranks: the ceil(q n)-th of n values in order (the inverse of the
empirical distribution function, type 1 of Hyndman and Fan 1996). Each is a latency that a request
really had. Interpolating would put values between a success and a failure, which is infinitely
slow, and between the modes of a bimodal distribution, that no request ever had.

**Intervals** are 95 %. Requests that wait in one queue have correlated latencies, so n requests are
worth fewer independent ones. How many is found from moving blocks over time (Künsch 1989, Annals of
Statistics 17:1217): the arrival window is cut into short bins, and the sums of blocks of
neighbouring bins give the variance of the whole. Their length is chosen from the measured
autocorrelation (Politis and White 2004, Econometric Reviews 23:53, as corrected by Patton, Politis
and White 2009, 28:372), and what bias it leaves is turned to the safe side (Vats and Flegal 2022,
Biometrika 109:735). The variance gives the number of independent requests that would have the same
(Korn and Graubard 1998, Survey Methodology 24:193), less by Student's quantile where it is known
from few events (O'Neill 2014, The American Statistician 68:282):

* a share of requests gets Wilson's interval (1927) for that effective number, right also near 1;
* a percentile gets the order statistics between which binomial limits for that number put it, as
  in Woodruff (1952, JASA 47:635): no assumption on the latencies' distribution, and no upper limit
  where there are too few requests to have one;
* a throughput gets the score interval of a Poisson count, scaled by the measured dispersion;
* a mean gets the bootstrap's studentized interval.

On simulated M/M/1, M/D/1 and lognormal M/G/1 queues at loads of 0.3, 0.6 and 0.8 the intervals of
p50, p90 and p99 cover the true value in 93 to 98 % of the runs of 1,000 requests and of 5,000
(``benchmarks/parts/intervals.py``), and nearly all misses are too low: what a run has not seen, it
cannot know. That of a mean, which no upper limit can leave open, does in 88 to 96 %. *Too few* for
a percentile are MLPerf's minima times what queueing makes of them
(:func:`pytest_servebench.analysis.precision.inflation`), for p99 at a load of 0.8 some 50,000:
below, most intervals have no upper limit, and verdicts are inconclusive. Bursts of failures are
distinguished from single ones only by what a run has seen: with two bursts per run on average, the
interval of one run in four is too narrow.

A process that is slower than the run (a queue near saturation, a garbage collection a minute) is
not in the data, and so in no interval: that takes longer or repeated runs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.metrics import LATENCY, METRICS, STATISTICS, TIMES, Times
from pytest_servebench.stats.bootstrap import (
    TAIL,
    Blocks,
    Floats,
    binned,
    degrees_of_freedom,
    moving_blocks,
)
from pytest_servebench.stats.estimates import Distribution, Estimate, Summary
from pytest_servebench.stats.student import Z, student

PERMILLES: Final[Mapping[str, int]] = MappingProxyType(
    {one.name: one.permille for one in STATISTICS if one.permille is not None}
)
"""Percentiles by name, in thousandths: ranks are exact in whole numbers."""

_MOST_BINS: Final = 1000
_FEWEST_BINS: Final = 4

# Latencies that drift during a short run look like a single observation. With six, a median still
# lies between the extremes of what was seen: a bound far from all of it can be judged.
_LEAST_EFFECTIVE: Final = 6.0


def distribution(values: Floats) -> Distribution:
    """Return moments and percentiles of n finite values; shape ``(n,)``."""
    n = len(values)
    if n == 0:
        return Distribution(0, None, None, None, None, dict.fromkeys(PERMILLES))
    ordered = np.sort(values)
    return Distribution(
        n=n,
        # Rounding may put the mean of equal values a hair outside of them.
        mean=min(max(float(ordered.mean()), float(ordered[0])), float(ordered[-1])),
        min=float(ordered[0]),
        max=float(ordered[-1]),
        stddev=float(ordered.std(ddof=1)) if n > 1 else 0.0,
        percentiles={
            name: float(ordered[nearest_rank(permille, n) - 1])
            for name, permille in PERMILLES.items()
        },
    )


def nearest_rank(permille: int, n: int) -> int:
    """Return which of n values in order, from 1, is the percentile."""
    return max(1, -(-permille * n // 1000))


def summarize(
    records: Records,
    offered_rate: float,
    max_lag: float = math.inf,
    unread: Mapping[int, float] = MappingProxyType({}),
) -> Summary:
    """Return the figures of a case, each estimate with its 95 % interval.

    Besides the estimates that :class:`Summary` names there are ``drop_rate`` and ``error_rate``
    (shares of the arrivals that were dropped; that were taken and did not succeed), and
    ``throughput_share``: ok completions inside the window / arrivals, the part of the load that the
    server kept up with, free of the luck of the schedule.

    Args:
        records: what happened to each request.
        offered_rate: the rate asked for, 1/s.
        max_lag: lateness of the generator, seconds, beyond which an arrival is late.
        unread: index of an arrival to the seconds its answer remained unread.
    """
    n = len(records)
    window = records.window / 1e9
    ok = records.ok
    completed = int(records.completed.sum())
    punctual = records.without_lag(max_lag, unread)
    estimates: dict[str, Estimate] = {}
    without_lag: dict[str, Estimate] = {}
    for times in TIMES:
        if records.knows(times.until):
            found, alone = _estimates(records, punctual, times)
            estimates |= found
            without_lag |= alone
    return Summary(
        arrivals=n,
        outcomes=records.counts(),
        success_rate=float(ok.mean()) if n else 0.0,
        throughput=completed / window if window > 0 else 0.0,
        offered_rate=float(offered_rate),
        achieved_rate=n / window if window > 0 else 0.0,
        latency=distribution(records.latency()[ok]),
        estimates=estimates,
        queue_wait=distribution(records.queue_wait()),
        service_time=distribution(records.service_time()),
        generator_lag=distribution(records.generator_lag()),
        without_lag=without_lag,
    )


def _estimates(
    records: Records, punctual: Records, times: Times
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Return the estimates of some times, and those that differ without lag.

    With the latency go shares and throughput. The intervals of other times are made with the same
    columns, so that times which are the same have the same intervals.
    """
    values = records.until(times.until)
    precision = _precision(records, values, records.completed)
    found = _intervals(records, records.completed, precision)
    found["mean"] = _mean(values, precision.blocks)
    alone: dict[str, Estimate] = {}
    if not np.array_equal(getattr(punctual, times.until), getattr(records, times.until)):
        alone = _without_lag(punctual, punctual.until(times.until), found, precision)
    if times is LATENCY:
        return found, alone
    own = {one.name: times.prefix + one.name for one in STATISTICS}
    return {own[name]: found[name] for name in own}, {
        own[name]: estimate for name, estimate in alone.items() if name in own
    }


@dataclass(frozen=True)
class _Precision:
    """What the intervals of one case rest on.

    Attributes:
        ordered: the latencies, from the fastest.
        shares: by metric, of the requests.
        effective: estimate to the equivalent number of independent requests.
        dispersion: of the completions: variance of their number over its mean.
        blocks: of what each request adds to the error of the estimates: the last column is that of
            the completions, and the one before that of the mean, where all latencies are finite.
            ``None`` where there are no requests.
    """

    ordered: Floats
    shares: Mapping[str, float]
    effective: Mapping[str, float]
    dispersion: float
    blocks: Blocks | None


def _without_lag(
    punctual: Records, latency: Floats, estimates: Mapping[str, Estimate], precision: _Precision
) -> dict[str, Estimate]:
    """Return what differs if the generator's lag is subtracted from the latencies.

    The intervals are no wider than the measured ones: subtracting something from each latency must
    not widen them.
    """
    inside = punctual.completed
    own = _precision(punctual, latency, inside)
    effective = {
        name: max(number, own.effective[name]) for name, number in precision.effective.items()
    }
    dispersion = min(precision.dispersion, own.dispersion)
    found = _intervals(punctual, inside, replace(own, effective=effective, dispersion=dispersion))
    for name in PERMILLES:  # ranks are whole numbers: more requests may round to a higher one
        found[name] = _no_higher(found[name], estimates[name])
    measured = estimates["mean"]
    found["mean"] = (
        _mean(latency, own.blocks)
        if measured.value is None
        else _moved(measured, float(latency.mean()) - measured.value)
    )
    longest = _finite(float(latency.max()))
    return {"max": Estimate(longest, None, None)} | {
        name: estimate for name, estimate in found.items() if estimate != estimates[name]
    }


def _no_higher(estimate: Estimate, than: Estimate) -> Estimate:
    if than.high is None or (estimate.high is not None and estimate.high <= than.high):
        return estimate
    return Estimate(estimate.value, estimate.low, than.high)


def _moved(estimate: Estimate, by: float) -> Estimate:
    ends = (estimate.value, estimate.low, estimate.high)
    return Estimate(*(None if end is None else max(0.0, end + by) for end in ends))


def _precision(records: Records, latency: Floats, inside: npt.NDArray[np.bool_]) -> _Precision:
    n = len(records)
    ordered = np.sort(latency)
    shares = _shares(records, inside)
    if n == 0:
        return _Precision(ordered, dict.fromkeys(shares, 0.0), {}, 1.0, None)
    # One column for each estimate: what each request adds to the error of the estimate.
    largest = np.finfo(np.float64).max  # where a percentile is infinite: which requests failed
    parts = {
        name: latency <= min(float(ordered[nearest_rank(permille, n) - 1]), largest)
        for name, permille in PERMILLES.items()
    } | shares
    means = {name: float(part.mean()) for name, part in parts.items()}
    columns = [part - means[name] for name, part in parts.items()]
    if np.isfinite(ordered[-1]):
        columns.append(latency - latency.mean())
    bins = bins_for(n)
    series = binned(np.column_stack(columns), records.scheduled, records.window, bins)
    counts = binned(
        np.ones((completed := int(inside.sum()), 1)), records.done[inside], records.window, bins
    )
    blocks = moving_blocks(np.column_stack([series, counts - counts.mean(axis=0)]))
    effective = {
        name: effective_number(
            n, mean, float(blocks.variances[index]) / n**2, float(blocks.degrees[index])
        )
        for index, (name, mean) in enumerate(means.items())
    }
    spread = float(blocks.variances[-1]) / completed if completed else 1.0
    spread *= student(float(blocks.degrees[-1])) ** 2
    return _Precision(ordered, {name: means[name] for name in shares}, effective, spread, blocks)


def _shares(records: Records, inside: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.bool_]]:
    counted = {
        metric.name: np.isin(records.outcome, [Outcome[name.upper()] for name in metric.outcomes])
        for metric in METRICS.values()
        if metric.outcomes
    }
    return {**counted, "throughput_share": inside}


def _intervals(
    records: Records, inside: npt.NDArray[np.bool_], precision: _Precision
) -> dict[str, Estimate]:
    """Return each estimate but the mean, with the interval that follows from how sure it is."""
    completed = int(inside.sum())
    rate = poisson_interval(completed, precision.dispersion, records.window / 1e9)
    n = len(records)
    if n == 0:
        names = (*PERMILLES, *precision.shares)
        return {**dict.fromkeys(names, Estimate(None, None, None)), "throughput": rate}
    ordered = precision.ordered
    found: dict[str, Estimate] = {}
    for name, permille in PERMILLES.items():
        low, high = percentile_ranks(permille, n, precision.effective[name])
        value = float(ordered[nearest_rank(permille, n) - 1])
        found[name] = _order_statistics(ordered, value, low, high)
    for name, share in precision.shares.items():
        found[name] = wilson_interval(share, precision.effective[name])
    return {**found, "throughput": rate}


# -- intervals ------------------------------------------------------------------------------------


def wilson_interval(share: float, effective: float) -> Estimate:
    """Return a share with Wilson's 95 % interval for that number of independent requests."""
    weight = Z**2 / effective
    centre = (share + weight / 2) / (1 + weight)
    half = math.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def poisson_interval(count: int, dispersion: float, seconds: float) -> Estimate:
    """Return a rate (1/s) with its 95 % score interval.

    Args:
        count: events seen.
        dispersion: variance of the count over its mean; 1 for a Poisson process.
        seconds: time of observation.
    """
    if seconds <= 0:
        return Estimate(0.0, 0.0, None)
    weight = Z**2 * dispersion
    half = math.sqrt(weight * count + weight**2 / 4)
    rate = count / seconds
    low, high = (count + weight / 2 - half) / seconds, (count + weight / 2 + half) / seconds
    return Estimate(rate, max(0.0, min(rate, low)), max(rate, high))


def percentile_ranks(permille: int, n: int, effective: float) -> tuple[int, int]:
    """Return the ranks (from 1) between which the percentile lies with 95 %.

    Rank 0 stands for no lower, rank n + 1 for no upper limit. For n independent values the limits
    are exact whatever their distribution: x_(l) <= percentile < x_(u) fails at either end with a
    binomial probability of at most 2.5 %.
    """
    number = max(1, min(n, int(effective + 1e-9)))
    share = permille / 1000
    below = np.cumsum(np.exp(_log_binomial(number, share)))  # P(X <= k)
    low = int(np.searchsorted(below, TAIL, side="right"))  # P(X <= low - 1) <= 2.5 %
    high = int(np.searchsorted(below, 1 - TAIL, side="left")) + 1  # P(X >= high) <= 2.5 %
    lowest = (low - 1) * n // number + 1 if low else 0
    highest = -(-high * n // number) if high <= number else n + 1
    return lowest, highest


def _log_binomial(n: int, share: float) -> Floats:
    """Return the logarithms of the binomial probabilities of 0..n; shape ``(n + 1,)``."""
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(n + 1)
    chances = factorials[n] - factorials - factorials[::-1]
    logs: Floats = chances + k * math.log(share) + (n - k) * math.log1p(-share)
    return logs


def _order_statistics(ordered: Floats, value: float, low: int, high: int) -> Estimate:
    n = len(ordered)
    return Estimate(
        _finite(value),
        _finite(ordered[low - 1]) if low else 0.0,
        _finite(ordered[high - 1]) if high <= n else None,
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _mean(latency: Floats, blocks: Blocks | None) -> Estimate:
    n = len(latency)
    # Where some requests fail, infinitely slow ones make any mean infinite.
    if blocks is None or not np.isfinite(latency).all():
        return Estimate(None, None, None)
    column = -2  # of the blocks: the last but one
    mean = float(latency.mean())
    if n < 2:
        return Estimate(mean, 0.0, None)
    low, high = blocks.studentized(column)
    # Resamples take the blocks for all that can happen; Student's quantile stands for the rest.
    rest = student(max(_LEAST_EFFECTIVE - 1, float(blocks.degrees[column]))) / n
    return Estimate(mean, max(0.0, mean - high * rest), mean - low * rest)


def bins_for(n: int) -> int:
    """Return in how many bins of time the blocks of n requests are cut."""
    return min(max(n, _FEWEST_BINS), _MOST_BINS)


def effective_number(n: int, share: float, variance: float, degrees: float) -> float:
    """Return the equivalent number of independent requests for the share, at most n.

    Args:
        n: number of requests.
        share: the share of them.
        variance: of the share, from blocks.
        degrees: of freedom of this variance: it is itself uncertain. Independent requests have
            some too, which the binomial limits for them know of; only what is lost beyond counts.
    """
    independent = share * (1 - share) / n
    if independent <= 0:
        return float(n)
    effective = n * min(1.0, independent / variance) if variance > 0 else float(n)
    full = degrees_of_freedom(n, 1 / (share * (1 - share)) - 3)
    effective *= (student(full) / student(degrees)) ** 2
    return min(float(n), max(_LEAST_EFFECTIVE, effective))
