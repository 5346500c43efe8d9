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
Biometrika 109:735). A variance that is known from few events widens the interval by Student's
quantile (O'Neill 2014, The American Statistician 68:282), and where the arrivals came in a few
phases of different rates, it is known from these (:mod:`pytest_servebench.stats.phases`):

* a share of requests gets Wilson's interval (1927) for the number of independent requests that
  would have the same variance (Korn and Graubard 1998, Survey Methodology 24:193), right also
  near 1;
* a percentile gets order statistics, placed by the episodes of slow requests that were seen
  (:mod:`pytest_servebench.stats.episodes`): no assumption on the latencies' distribution, and no
  upper limit where there were too few to have one;
* a throughput gets the score interval of a Poisson count, scaled by the measured dispersion;
* a mean gets the bootstrap's studentized interval.

Of inter-token latencies a request has many, which are alike. What it adds to an error is their sum
(of gaps beyond a percentile, less their share of its gaps: a ratio estimator), so that blocks are
made of requests, not of tokens.

On simulated M/M/1, M/D/1 and lognormal M/G/1 queues at loads of 0.3, 0.6 and 0.8 the intervals of
p50, p90 and p99 cover the true value in 91 to 100 % of the runs of 1,000 requests and of 5,000,
those of means in 91 to 97 % (``benchmarks/parts/intervals.py``, also for rare pauses and bursts),
and nearly all misses are too low: what a run has not seen, it cannot know. *Too few* for a
percentile are MLPerf's minima times what queueing makes of them
(:func:`pytest_servebench.analysis.precision.inflation`), for p99 at a load of 0.8 some 50,000:
below, most intervals have no upper limit, and a verdict is inconclusive unless the bound is far
away. Bursts of failures are distinguished from single ones only by what a run has seen: with two
bursts per run on average, the interval of one run in four is too narrow.

A process that is slower than the run (a queue near saturation, a garbage collection a minute) is
not in the data, and so in no interval: that takes longer or repeated runs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load import quantities
from pytest_servebench.load.quantities import Sample
from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.metrics import METRICS, STATISTICS, TIMES, Times
from pytest_servebench.stats import episodes
from pytest_servebench.stats.bootstrap import (
    SPANS,
    Blocks,
    Floats,
    binned,
    bins_for,
    least_length,
    moving_blocks,
)
from pytest_servebench.stats.episodes import nearest_rank
from pytest_servebench.stats.estimates import Distribution, Estimate, Summary
from pytest_servebench.stats.intervals import (
    LEAST_EFFECTIVE,
    dispersion_of,
    effective_number,
    poisson_interval,
    wilson_interval,
)
from pytest_servebench.stats.phases import by_phases
from pytest_servebench.stats.student import student
from pytest_servebench.stats.tokens import token_estimates
from pytest_servebench.stats.unseen import Unseen, unseen

PERMILLES: Final[Mapping[str, int]] = MappingProxyType(
    {one.name: one.permille for one in STATISTICS if one.permille is not None}
)
"""Percentiles by name, in thousandths: ranks are exact in whole numbers."""
_OF_TIMES: Final = frozenset(one.name for one in STATISTICS)


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


def summarize(records: Records, offered_rate: float, max_lag: float = math.inf) -> Summary:
    """Return the figures of a case, each estimate with its 95 % interval.

    Besides the estimates that :class:`Summary` names there are ``drop_rate`` and ``error_rate``
    (shares of the arrivals that were dropped; that were taken and did not succeed), and
    ``throughput_share``: ok completions inside the window / arrivals, the part of the load that the
    server kept up with, free of the luck of the schedule.

    Args:
        records: what happened to each request.
        offered_rate: the rate asked for, 1/s.
        max_lag: lateness of the generator, seconds, beyond which an arrival is late.
    """
    return summary_of(records, records.without_lag(max_lag), offered_rate)


def summary_of(records: Records, punctual: Records, offered_rate: float) -> Summary:
    """Return the figures of records, and those of ``punctual``: the same without lag."""
    n = len(records)
    window = records.window / 1e9
    ok = records.ok
    completed = int(records.completed.sum())
    estimates: dict[str, Estimate] = {}
    without_lag: dict[str, Estimate] = {}
    known: tuple[Sample, Sample] | None = None
    doubt = unseen(records)
    for times in TIMES:
        pair = (quantities.sample(records, times.name), quantities.sample(punctual, times.name))
        if pair[0] is None or pair[1] is None:
            continue
        samples = pair[0], pair[1]
        first = known is None
        if known is None or not all(map(_same, known, samples)):
            own = doubt if times.name in quantities.SINCE_ARRIVAL else Unseen()
            found, alone = _estimates(records, punctual, *samples, own)
        known = samples
        estimates |= _of(times, found, shares=first)
        without_lag |= _of(times, alone, shares=first)
    if records.streams is not None:
        estimates |= token_estimates(records, records.streams)
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
    records: Records,
    punctual: Records,
    sample: Sample,
    at_best: Sample,
    doubt: Unseen,
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Return the estimates of some times, and those that differ without lag.

    Shares and throughput are the same for all times, and their columns take part in every block
    length, so that equal times get equal intervals.
    """
    precision = _precision(records, sample, records.completed, doubt)
    found = _intervals(records, records.completed, precision)
    found["mean"] = _mean(sample.values, precision)
    alone: dict[str, Estimate] = {}
    if not _same(sample, at_best):
        alone = _without_lag(punctual, at_best, found, precision)
    return found, alone


def _of(times: Times, estimates: Mapping[str, Estimate], *, shares: bool) -> dict[str, Estimate]:
    """Return the estimates under the names of these times, and ``shares`` under their own."""
    return {
        times.prefix * (name in _OF_TIMES) + name: one
        for name, one in estimates.items()
        if shares or name in _OF_TIMES
    }


def _same(one: Sample, other: Sample) -> bool:
    return np.array_equal(one.values, other.values) and np.array_equal(one.request, other.request)


@dataclass(frozen=True)
class _Precision:
    """What the intervals of one case rest on.

    Attributes:
        ordered: the times, from the fastest.
        shares: by metric, of the requests.
        effective: share to the equivalent number of independent requests.
        lengths: percentile to the lengths of episodes that its limits rest on.
        unseen: what the run may not have seen.
        dispersions: of the times' tails, share by share.
        dispersion: of the completions: variance of their number over its mean.
        blocks: of what each request adds to the error of the estimates: the last column is that of
            the completions, and the one before that of the mean, where all times are finite.
            ``None`` where there are no requests.
    """

    ordered: Floats
    shares: Mapping[str, float]
    effective: Mapping[str, float]
    lengths: Mapping[str, episodes.Lengths]
    unseen: Unseen
    dispersions: Mapping[int, float]
    dispersion: float
    blocks: Blocks | None


def _without_lag(
    punctual: Records,
    sample: Sample,
    estimates: Mapping[str, Estimate],
    precision: _Precision,
) -> dict[str, Estimate]:
    """Return what differs if the generator's lag is subtracted from the times.

    The intervals are no wider than the measured ones: subtracting something from each time must
    not widen them.
    """
    inside, values = punctual.completed, sample.values
    own = _precision(punctual, sample, inside, precision.unseen)
    effective = {
        name: max(number, own.effective[name]) for name, number in precision.effective.items()
    }
    lengths = {name: one.shortest(own.lengths[name]) for name, one in precision.lengths.items()}
    dispersion = min(precision.dispersion, own.dispersion)
    found = _intervals(
        punctual,
        inside,
        replace(own, effective=effective, lengths=lengths, dispersion=dispersion),
    )
    for name in PERMILLES:  # ranks are whole numbers: more requests may round to a higher one
        found[name] = _no_higher(found[name], estimates[name])
    measured = estimates["mean"]
    found["mean"] = (
        _mean(values, own)
        if measured.value is None
        else _moved(measured, float(values.mean()) - measured.value)
    )
    longest = _finite(float(values.max()))
    return {"max": Estimate(longest, None, None)} | {
        name: estimate for name, estimate in found.items() if estimate != estimates[name]
    }


def _no_higher(estimate: Estimate, than: Estimate) -> Estimate:
    high = _least(estimate.high, than.high)
    ceiling = _least(estimate.ceiling, than.ceiling) if high is None else None
    return replace(estimate, high=high, ceiling=ceiling)


def _least(*ends: float | None) -> float | None:
    return min((end for end in ends if end is not None), default=None)


def _moved(estimate: Estimate, by: float) -> Estimate:
    ends = (estimate.value, estimate.low, estimate.high)
    return Estimate(*(None if end is None else max(0.0, end + by) for end in ends))


def alike_for(records: Records) -> float:
    """Return for how long requests are alike, in ns, by the blocks of the first of their times."""
    sample = next((one for times in TIMES if (one := quantities.sample(records, times.name))), None)
    if sample is None:
        return 0.0
    blocks = _precision(records, sample, records.completed, Unseen()).blocks
    return records.window / blocks.number / SPANS if blocks else 0.0


def _precision(
    records: Records, sample: Sample, inside: npt.NDArray[np.bool_], doubt: Unseen
) -> _Precision:
    n = len(records)
    times, ordered = sample.values, np.sort(sample.values)
    number = len(times)
    shares = _shares(records, inside)
    if n == 0:
        return _Precision(ordered, dict.fromkeys(shares, 0.0), {}, {}, doubt, {}, 1.0, None)
    # One column for each estimate: what each request adds to its error. For percentiles: how many
    # of its times are among the slowest, at several shares, less their part of all of its times.
    largest = np.finfo(np.float64).max  # where a percentile is infinite: which requests failed

    def of_requests(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.bincount(sample.request, values, n)

    beyond: dict[int, float] = {}
    columns: list[npt.NDArray[Any]] = []
    for share in episodes.SHARES:
        slow = times > min(float(ordered[nearest_rank(1000 - share, number) - 1]), largest)
        beyond[share] = float(slow.mean())
        columns.append(of_requests(slow - beyond[share]))
    of_shares = {name: float(share.mean()) for name, share in shares.items()}
    columns += [share - of_shares[name] for name, share in shares.items()]
    if np.isfinite(ordered[-1]):
        columns.append(of_requests(times - times.mean()))
    bins = bins_for(n)
    series = binned(np.column_stack(columns), records.scheduled, records.window, bins)
    counts = binned(
        np.ones((completed := int(inside.sum()), 1)), records.done[inside], records.window, bins
    )
    least = least_length(records.memory, records.window, bins)
    blocks = moving_blocks(np.column_stack([series, counts - counts.mean(axis=0)]), least)
    blocks = by_phases(blocks, series, records)
    heavy = episodes.heaviness(ordered)
    lengths = {
        name: episodes.lengths(blocks, beyond, number, permille, heavy, cause=sample.cause)
        for name, permille in PERMILLES.items()
    }
    effective = {
        name: effective_number(
            n, of_shares[name], float(blocks.variances[index]) / n**2, float(blocks.degrees[index])
        )
        for index, name in enumerate(shares, start=len(beyond))
    }
    spread = dispersion_of(completed, float(blocks.variances[-1]), float(blocks.degrees[-1]))
    dispersions = {
        share: episodes.dispersion_of(blocks, column, mean, number)
        for column, (share, mean) in enumerate(beyond.items())
    }
    return _Precision(ordered, of_shares, effective, lengths, doubt, dispersions, spread, blocks)


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
    ordered = precision.ordered
    if len(ordered) == 0:
        names = (*PERMILLES, *precision.shares)
        return {**dict.fromkeys(names, Estimate(None, None, None)), "throughput": rate}
    found: dict[str, Estimate] = {}
    for name, permille in PERMILLES.items():
        value = float(ordered[nearest_rank(permille, len(ordered)) - 1])
        known = precision.lengths[name]
        ends = episodes.limits(ordered, permille, known, precision.unseen.beyond(known.high))
        found[name] = Estimate(_finite(value), *map(_finite, ends))
    for name, share in precision.shares.items():
        found[name] = wilson_interval(share, precision.effective[name])
    return {**found, "throughput": rate}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _mean(times: Floats, precision: _Precision) -> Estimate:
    n, blocks = len(times), precision.blocks
    # Where some requests fail, infinitely slow ones make any mean infinite.
    if blocks is None or not np.isfinite(times).all():
        return Estimate(None, None, None)
    column = -2  # of the blocks: the last but one
    mean = float(times.mean())
    if n < 2:
        return Estimate(mean, 0.0, None)
    low, high = blocks.studentized(column)
    # Resamples take the blocks for all that can happen. What a run has not seen, it cannot know,
    # and that is slow: the upper end allows for the rest, as that of a percentile does.
    degrees = float(blocks.degrees[column])
    if blocks.number <= LEAST_EFFECTIVE:  # latencies that drift during a short run
        degrees = max(LEAST_EFFECTIVE - 1, degrees)
    error = student(degrees)
    rest = error * max(error, math.sqrt(episodes.heaviness(precision.ordered)))
    rest *= precision.unseen.error(precision.dispersions)
    return Estimate(mean, max(0.0, mean - high / n), mean - low * rest / n)
