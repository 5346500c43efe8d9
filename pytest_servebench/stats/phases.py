"""Phases of the arrivals: how often their rate changed, perhaps only a few times in a run.

Blocks of a fixed length give the variance of a sum if the run is many times as long as the time
over which values are correlated. There may be few bursts of traffic: two or three in a run of
thousands of requests, which decide whether half of these were slow or nearly none. If a run had few
bursts, its latencies do not show it; its arrivals do, since they are known exactly.

A schedule is cut where its rate changed: of all ways to cut it, the one that maximizes the log
likelihood of a Poisson process with a constant rate in each part, minus a penalty for each cut
(Jackson et al. 2005, An algorithm for optimal partitioning of data on an interval, IEEE Signal
Processing Letters 12:105; the Bayesian Blocks of Scargle et al. 2013, Astrophysical Journal
764:167). A Poisson process has one phase, as had all of 3,200 simulated schedules.

If there are m > 1 phases, each is one observation: the variance of their contributions to a sum has
m - 1 degrees of freedom. It replaces that of the blocks if the error is larger, with Student's
quantile.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import Records
from pytest_servebench.stats.bootstrap import Blocks, Floats, binned
from pytest_servebench.stats.student import student

_CUT: Final = 10.0  # logarithm of the likelihood ratio, from which the rate has changed
_MOST_BINS: Final = 250  # the search takes their square

Places = npt.NDArray[np.int64]


def phases(counts: Floats) -> Places:
    """Return where the rate of arrivals changed: the first bin of each phase, 0 at first.

    Args:
        counts: arrivals in equal bins of time; shape ``(bins,)``.
    """
    return _phases(counts.astype(np.float64).tobytes())


@lru_cache(maxsize=1)  # the arrivals of a run are the same for all its times, and its goodput
def _phases(of: bytes) -> Places:
    counts = np.frombuffer(of)
    step = max(1, -(-len(counts) // _MOST_BINS))
    first = np.arange(0, len(counts), step)
    together = np.add.reduceat(counts, first)
    # Gaps that vary more than exponential ones make neighbours differ without any change of rate.
    differences = float((np.diff(together) ** 2).mean()) / 2 if len(together) > 1 else 0.0
    penalty = _CUT * max(1.0, differences / max(float(together.mean()), 1e-9))
    return first[_partition(together, np.diff(first, append=len(counts)), penalty)]


def _partition(counts: Floats, lengths: Places, penalty: float) -> Places:
    """Return the first bins of the best partition."""
    number = len(counts)
    total, ends = (np.concatenate([[0], np.cumsum(one)]) for one in (counts, lengths))
    inside = np.subtract.outer(total, total)
    rates = inside / np.maximum(np.subtract.outer(ends, ends), 1)
    alone = inside * np.log(np.maximum(rates, 1e-300))  # likelihood of one phase, by end and begin
    best, begins = np.zeros(number + 1), np.zeros(number + 1, dtype=np.int64)
    for end in range(1, number + 1):
        likelihood = best[:end] + alone[end, :end]
        begins[end] = likelihood.argmax()
        best[end] = likelihood[begins[end]] - penalty
    found = []
    while number:
        number = int(begins[number])
        found.append(number)
    return np.array(found[::-1])


def by_phases(blocks: Blocks, series: Floats, records: Records) -> Blocks:
    """Return blocks whose variances are no more certain than the phases of the arrivals allow.

    If rates are planned, all phases were seen. Further turns of sessions do not count as arrivals:
    their times depend on what happened before. So may times of sending whose arrivals are unknown:
    a tool that sends a request for each answer begins with a burst.

    Args:
        blocks: of columns, of which those that depend on the arrivals come first.
        series: these columns, with a row for each bin and a mean of 0; shape ``(bins, k)``.
        records: with the arrivals.
    """
    if records.planned or not records.arrivals_known:
        return blocks
    arrivals = records.scheduled[records.drawn]
    each = np.ones((len(arrivals), 1))
    first = phases(binned(each, arrivals, records.window, len(series))[:, 0])
    number = len(first)
    if number < 2:
        return blocks
    sums = np.add.reduceat(series, first, axis=0)
    own = (sums**2).sum(axis=0) * number / (number - 1)
    variances, degrees = blocks.variances.copy(), blocks.degrees.copy()
    for column, variance in enumerate(own.tolist()):
        known = variances[column] * student(float(degrees[column])) ** 2
        if variance * student(number - 1) ** 2 > known:
            variances[column], degrees[column] = variance, number - 1
    return replace(blocks, variances=variances, degrees=degrees)
