"""Traffic whose true percentiles are known, for the intervals to be held against.

Queues with one server, first come first served, Poisson arrivals and services with a mean of 1: the
load is the rate of arrivals. Times are in mean services.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np

from benchmarks.parts import queue_formulas as queues
from benchmarks.parts.queue_formulas import Seconds
from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.stats import queueing

Law = Literal["M/M/1", "M/D/1", "M/G/1"]
LAWS: Final[tuple[Law, ...]] = ("M/M/1", "M/D/1", "M/G/1")
VARIATION: Final = 2.0
"""Squared coefficient of variation of the M/G/1 queue's lognormal services."""

_SIGMA2: Final = math.log1p(VARIATION)
_GRID: Final = 1 << 19
_NS: Final = 1e9


def services(law: Law, number: int, dice: np.random.Generator) -> Seconds:
    """Draw service times; shape ``(number,)``."""
    if law == "M/M/1":
        return dice.exponential(1.0, number)
    if law == "M/D/1":
        return np.ones(number)
    return dice.lognormal(-_SIGMA2 / 2, math.sqrt(_SIGMA2), number)


def percentile(law: Law, load: float, share: float) -> float:
    """Return the true percentile of the time from arrival to end of service."""
    if law == "M/M/1":
        return queueing.mm1_response_percentile(load, 1.0, share)
    if law == "M/D/1":
        return 1 + queues.quantile(queues.md1_wait(load, 1.0), share, 1.0)
    return lognormal_percentile(load, share)


def mean(law: Law, load: float) -> float:
    """Return the true mean of the same."""
    variance = {"M/M/1": 1.0, "M/D/1": 0.0, "M/G/1": VARIATION}[law]
    return queueing.mg1(load, 1.0, variance).mean_response


def lognormal_percentile(load: float, share: float) -> float:
    """Return a percentile of the M/G/1 queue with lognormal services, to about 1e-4.

    Pollaczek's and Khinchine's transform of the wait is (1 - ρ) / (1 - ρ R(s)), where R belongs to
    what is left of a service in progress, with the density P(S > t) / E[S] (Gross et al., section
    5.1.5). It is evaluated on a grid of time, by the fast Fourier transform, and multiplied with
    the transform of the service that follows.
    """
    step = 120 * (1 + VARIATION) / (1 - load) / _GRID
    edges = (np.arange(_GRID) + 0.5) * step  # probability is moved to the nearest point between
    sigma = math.sqrt(_SIGMA2)
    standard = (np.log(edges) + _SIGMA2 / 2) / sigma
    served = _normal(standard)
    left = _normal(standard - sigma) + edges * (1 - served)  # the integral of P(S > t)
    service, rest = (np.fft.rfft(np.diff(part, prepend=0.0)) for part in (served, left))
    sojourn = np.fft.irfft((1 - load) / (1 - load * rest) * service, _GRID)
    return float(np.searchsorted(np.cumsum(sojourn), share) * step)


def _normal(values: Seconds) -> Seconds:
    """Return the normal distribution."""
    scaled = values / math.sqrt(2)
    return np.array([0.5 * math.erfc(-one) for one in scaled.tolist()])


def simulate(law: Law, load: float, number: int, seed: int, slower: float = 1.0) -> Records:
    """Return the records of about ``number`` requests to a queue in its steady state.

    Services take ``slower`` times as long as the load says.

    The n-th request is done at the largest of arrival k + all services from k to n, over k <= n:
    Lindley's recursion as a running maximum.
    """
    dice = np.random.default_rng(seed)
    settle, window = max(400.0, 60 / (1 - load * slower) ** 2), number / load
    size = int(1.1 * (window + settle) * load + 6 * math.sqrt(number)) + 60
    arrivals = np.cumsum(dice.exponential(1 / load, size))
    work = np.cumsum(served := services(law, size, dice) * slower)
    done = np.maximum.accumulate(arrivals - (work - served)) + work
    chosen = (arrivals >= settle) & (arrivals < settle + window)
    return as_records(arrivals[chosen] - settle, (done - arrivals)[chosen], window)


def failures(share: float, burst: int, number: int, seed: int) -> Records:
    """Return the records of requests of which a share fails, on average ``burst`` in a row.

    Whether a request fails depends on the one before alone (Gilbert's model of a bursty channel).
    """
    dice = np.random.default_rng(seed)
    begins, ends = share / (1 - share) / burst, 1 / burst
    # Runs of successes and failures in turn, more than are needed; the first is as likely to be
    # either as any request.
    runs = int(4 * number * share / burst) + 20
    lengths = np.column_stack([dice.geometric(begins, runs), dice.geometric(ends, runs)]).ravel()
    fails = np.tile([False, True], runs)
    if dice.random() < share:
        lengths, fails = lengths[1:], fails[1:]
    failed = np.repeat(fails, lengths)[:number]
    arrivals = np.sort(dice.uniform(0.0, float(number), len(failed)))
    return as_records(arrivals, np.full(len(failed), 0.1), float(number), failed)


def as_records(
    arrivals: Seconds, latency: Seconds, window: float, failed: np.ndarray | None = None
) -> Records:
    """Return the records of requests that were taken up as they came."""
    scheduled = (arrivals * _NS).astype(np.int64)
    done = scheduled + np.round(latency * _NS).astype(np.int64)
    outcome = np.full(len(scheduled), Outcome.OK, dtype=np.uint8)
    if failed is not None:
        outcome[failed] = Outcome.HTTP_ERROR
    status = np.full(len(scheduled), 200, dtype=np.int16)
    return Records(
        scheduled, scheduled, scheduled, scheduled, done, done, outcome, status, int(window * _NS)
    )
