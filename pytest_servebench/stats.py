"""From a case's records to its figures: percentiles, rates, and how far each can be trusted.

**Percentiles** are nearest ranks: the ceil(q n)-th of n values in order (the inverse of the
empirical distribution function, type 1 of Hyndman and Fan 1996). Each is a latency that a request
really had. Interpolating would put values between a success and a failure, which is infinitely
slow, and between the modes of a bimodal distribution, that no request ever had.

**Intervals** are 95 %. Requests which wait in one queue have latencies alike, so that n requests
tell less than n independent ones. How much less is found by a moving-block bootstrap over time
(Künsch 1989, Annals of Statistics 17:1217): the arrival window is cut into short bins, and blocks
of neighbouring bins are drawn anew. Its block length is chosen from the measured autocorrelation
(Politis and White 2004, Econometric Reviews 23:53, as corrected by Patton, Politis and White 2009,
28:372). The bootstrap gives a variance, and with it the number of independent requests that would
have the same (Korn and Graubard 1998, Survey Methodology 24:193):

* a share of requests gets Wilson's interval (1927) for that effective number, right also near 1;
* a percentile gets the order statistics between which binomial limits for that number put it, as
  in Woodruff (1952, JASA 47:635): no assumption on the latencies' distribution, and no upper limit
  where there are too few requests to have one;
* a throughput gets the score interval of a Poisson count, scaled by the measured dispersion;
* a mean gets the bootstrap's studentized interval.

A process that is slower than the run (a queue near saturation, a garbage collection a minute) is
not in the data, and so in no interval: that takes longer or repeated runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.results import Distribution, Estimate, Summary

PERMILLES: Final[Mapping[str, int]] = MappingProxyType(
    {"p50": 500, "p90": 900, "p95": 950, "p99": 990, "p999": 999}
)
"""Percentiles by name, in thousandths: ranks are exact in whole numbers."""

_Z: Final = 1.959963984540054  # two-sided 95 % of the normal distribution
_TAIL: Final = 0.025
_RESAMPLES: Final = 1000
_SEED: Final = 19890901  # any: the same records give the same intervals
_MOST_BINS: Final = 1000
_FEWEST_BINS: Final = 4

Floats = npt.NDArray[np.float64]


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


def summarize(records: Records, offered_rate: float) -> Summary:
    """Return the figures of a case, each estimate with its 95 % interval.

    Besides the estimates that :class:`Summary` names there are ``drop_rate`` and ``error_rate``
    (shares of the arrivals that were dropped; that were taken and did not succeed), and
    ``throughput_share``: ok completions inside the window / arrivals, the part of the load that the
    server kept up with, free of the luck of the schedule.

    Args:
        records: what happened to each request.
        offered_rate: the rate asked for, 1/s.
    """
    n = len(records)
    window = records.window / 1e9
    latency = records.latency()
    ok = records.ok
    inside = ok & (records.done <= records.window)
    completed = int(inside.sum())
    return Summary(
        arrivals=n,
        outcomes=records.counts(),
        success_rate=float(ok.mean()) if n else 0.0,
        throughput=completed / window if window > 0 else 0.0,
        offered_rate=float(offered_rate),
        achieved_rate=n / window if window > 0 else 0.0,
        latency=distribution(latency[ok]),
        estimates=_estimates(records, latency, inside),
        queue_wait=distribution(records.queue_wait()),
        service_time=distribution(records.service_time()),
        generator_lag=distribution(records.generator_lag()),
    )


def _estimates(
    records: Records, latency: Floats, inside: npt.NDArray[np.bool_]
) -> dict[str, Estimate]:
    n = len(records)
    window = records.window / 1e9
    if n == 0:
        unknown = Estimate(None, None, None)
        names = (*PERMILLES, "mean", "success_rate", "drop_rate", "error_rate", "throughput_share")
        empty = dict.fromkeys(names, unknown)
        return {**empty, "throughput": poisson_interval(0, 1.0, window)}
    ordered = np.sort(latency)
    quantiles = {
        name: float(ordered[nearest_rank(permille, n) - 1]) for name, permille in PERMILLES.items()
    }
    dropped = np.equal(records.outcome, Outcome.DROPPED)
    shares = {
        "success_rate": records.ok,
        "drop_rate": dropped,
        "error_rate": ~records.ok & ~dropped,
        "throughput_share": inside,
    }
    # One column for each estimate: what each request adds to the error of the estimate.
    parts = {name: latency <= value for name, value in quantiles.items()} | shares
    finite = bool(np.isfinite(ordered[-1]))
    columns = [part - part.mean() for part in parts.values()]
    if finite:
        columns.append(latency - latency.mean())
    bins = min(max(n, _FEWEST_BINS), _MOST_BINS)
    series = _binned(np.column_stack(columns), records.scheduled, records.window, bins)
    counts = _binned(
        np.ones((completed := int(inside.sum()), 1)), records.done[inside], records.window, bins
    )
    resampled = _resample(np.column_stack([series, counts - counts.mean(axis=0)]))
    variances = resampled.totals.var(axis=0)
    found: dict[str, Estimate] = {}
    for index, (name, part) in enumerate(parts.items()):
        share = float(part.mean())
        effective = _effective_number(n, share, float(variances[index]) / n**2, resampled.blocks)
        if name in shares:
            found[name] = wilson_interval(share, effective)
        else:
            low, high = percentile_ranks(PERMILLES[name], n, effective)
            found[name] = _order_statistics(ordered, quantiles[name], low, high)
    if finite:
        found["mean"] = _mean_interval(latency, resampled, len(columns) - 1)
    else:
        # Some requests fail, and infinitely slow ones make any mean infinite.
        found["mean"] = Estimate(None, None, None)
    spread = float(variances[-1]) / completed if completed else 1.0
    found["throughput"] = poisson_interval(
        completed, spread * _few_blocks(resampled.blocks) ** 2, window
    )
    return found


# -- intervals ------------------------------------------------------------------------------------


def wilson_interval(share: float, effective: float) -> Estimate:
    """Return a share with Wilson's 95 % interval for that number of independent requests."""
    weight = _Z**2 / effective
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
    weight = _Z**2 * dispersion
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
    low = int(np.searchsorted(below, _TAIL, side="right"))  # P(X <= low - 1) <= 2.5 %
    high = int(np.searchsorted(below, 1 - _TAIL, side="left")) + 1  # P(X >= high) <= 2.5 %
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


def _mean_interval(latency: Floats, resampled: _Resampled, column: int) -> Estimate:
    n = len(latency)
    mean = float(latency.mean())
    if n < 2:
        return Estimate(mean, 0.0, None)
    low, high = resampled.studentized(column)
    return Estimate(mean, max(0.0, mean - high / n), mean - low / n)


# -- bootstrap ------------------------------------------------------------------------------------


def _effective_number(n: int, share: float, variance: float, blocks: float) -> float:
    """Return how many independent requests would give the share with this variance, at most n."""
    independent = share * (1 - share) / n
    if independent <= 0 or variance <= independent:
        return n / _few_blocks(blocks) ** 2 if 0 < share < 1 else float(n)
    return max(1.0, n * independent / variance / _few_blocks(blocks) ** 2)


def _few_blocks(blocks: float) -> float:
    """Return by how much Student's 97.5 % quantile exceeds the normal one's.

    A variance from few blocks is itself uncertain. Expansion of Cornish and Fisher.
    """
    degrees = max(2.0, blocks - 1)
    first = (_Z**3 + _Z) / 4
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96
    third = (3 * _Z**7 + 19 * _Z**5 + 17 * _Z**3 - 15 * _Z) / 384
    return 1 + (first / degrees + second / degrees**2 + third / degrees**3) / _Z


def _binned(values: Floats, times: npt.NDArray[np.int64], window: int, bins: int) -> Floats:
    """Return the sums of ``values`` (n, k) in equal bins of time; shape ``(bins, k)``."""
    place = np.clip(times / max(window, 1) * bins, 0, bins - 1).astype(np.int64)
    return np.column_stack(
        [np.bincount(place, weights=column, minlength=bins) for column in values.T]
    )


@dataclass(frozen=True)
class _Resampled:
    """Moving-block resamples.

    Attributes:
        totals: sums of each column over a resample; shape ``(resamples, k)``.
        errors: estimated standard error of each total; shape ``(resamples, k)``.
        error: of the totals in the data themselves; shape ``(k,)``.
        blocks: how many blocks fit into the data.
    """

    totals: Floats
    errors: Floats
    error: Floats
    blocks: float

    def studentized(self, column: int) -> tuple[float, float]:
        """Return the 2.5 % and 97.5 % points of the column's total minus its expectation."""
        errors = self.errors[:, column]
        good = errors > 0
        if not good.any():
            return 0.0, 0.0
        ratio = (self.totals[good, column] - self.totals[:, column].mean()) / errors[good]
        low, high = np.quantile(ratio, [_TAIL, 1 - _TAIL])
        return float(low * self.error[column]), float(high * self.error[column])


def _resample(series: Floats) -> _Resampled:
    """Draw blocks of neighbouring bins with replacement; ``series`` has shape ``(bins, k)``."""
    bins = len(series)
    length = max(block_length(column) for column in series.T)
    number = -(-bins // length)
    generator = np.random.default_rng(_SEED)
    starts = generator.integers(0, bins - length + 1, (_RESAMPLES, number))
    running = np.concatenate([np.zeros((1, series.shape[1])), np.cumsum(series, axis=0)])
    sums = running[length:] - running[:-length]  # of each possible block
    weights = np.zeros((_RESAMPLES, len(sums)))
    rows = np.repeat(np.arange(_RESAMPLES), number)
    np.add.at(weights, (rows, starts.ravel()), 1.0)
    scale = bins / (number * length)
    totals = weights @ sums * scale
    squares = weights @ (sums**2) * scale
    variance = np.maximum(0.0, squares - totals**2 / number)
    own = np.sqrt(sums.var(axis=0) * bins / length)
    return _Resampled(totals, np.sqrt(variance), own, bins / length)


def block_length(series: Floats) -> int:
    """Return the block length for the mean of a stationary series, in its steps.

    Politis and White (2004) with the correction of Patton, Politis and White (2009), for blocks of
    fixed length: (2 G^2 / D)^(1/3) n^(1/3), where G and D come from the autocovariances, weighted
    by a flat-top window up to twice the lag beyond which no correlation is significant.
    """
    n = len(series)
    centred = series - series.mean()
    variance = float(centred @ centred) / n
    if variance <= 1e-300:
        return 1
    quiet = max(5, math.ceil(math.sqrt(math.log10(n))))  # K_n: lags in a row without correlation
    most = min(n - 1, math.ceil(math.sqrt(n)) + quiet)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(centred, size)) ** 2
    covariances = np.fft.irfft(spectrum, size)[: most + 1] / n
    significant = np.abs(covariances[1:] / variance) >= 2 * math.sqrt(math.log10(n) / n)
    last = _last_before_quiet(significant, quiet)
    if last == 0:
        return 1
    reach = min(2 * last, most)
    lags = np.arange(1, reach + 1)
    flat_top = np.minimum(1.0, 2 * (1 - lags / reach)) if reach > 1 else np.ones(1)
    weighted = flat_top * covariances[1 : reach + 1]
    g = 2 * float(lags @ weighted)
    long_run = variance + 2 * float(weighted.sum())
    if long_run <= 0:
        return 1
    best = (2 * g**2 / (4 / 3 * long_run**2)) ** (1 / 3) * n ** (1 / 3)
    longest = math.ceil(min(3 * math.sqrt(n), n / 3))
    return max(1, min(round(best), longest))


def _last_before_quiet(significant: npt.NDArray[np.bool_], quiet: int) -> int:
    """Return the last lag before ``quiet`` insignificant ones in a row, 0 for none."""
    last = 0
    for lag, one in enumerate(significant.tolist(), start=1):
        if one:
            last = lag
        elif lag - last >= quiet:
            break
    return last
