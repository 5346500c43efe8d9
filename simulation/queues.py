"""The queue itself, request by request, and laws of services for which its percentiles are known.

All queues serve first come, first served.
"""

import heapq
import math
from functools import cache, lru_cache
from typing import Final, Literal

import numpy as np

from simulation import distributions, queueing
from simulation.distributions import Seconds

Law = Literal["M/M/1", "M/D/1", "M/G/1"]
LAWS: Final[tuple[Law, ...]] = ("M/M/1", "M/D/1", "M/G/1")
VARIATION: Final = 2.0
"""Squared coefficient of variation of the M/G/1 queue's lognormal services."""

_SIGMA2: Final = math.log1p(VARIATION)
_GRID: Final = 1 << 19


def services(law: Law, number: int, dice: np.random.Generator) -> Seconds:
    """Draw service times with a mean of 1; shape ``(number,)``."""
    if law == "M/M/1":
        return dice.exponential(1.0, number)
    if law == "M/D/1":
        return np.ones(number)
    return dice.lognormal(-_SIGMA2 / 2, math.sqrt(_SIGMA2), number)


def percentile(law: Law, load: float, share: float) -> float:
    """Return the true percentile of the time from arrival to end of service, in mean services.

    Arrivals are Poisson, and there is one server.
    """
    if law == "M/M/1":
        return queueing.mm1_response_percentile(load, 1.0, share)
    if law == "M/D/1":
        return 1 + distributions.quantile(distributions.md1_wait(load, 1.0), share, 1.0)
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
    step, sojourn = _lognormal_sojourn(load)
    return float(np.searchsorted(sojourn, share) * step)


@lru_cache(maxsize=1)
def _lognormal_sojourn(load: float) -> tuple[float, Seconds]:
    """Return the step of the grid, and the distribution at its points."""
    step = 120 * (1 + VARIATION) / (1 - load) / _GRID
    edges = (np.arange(_GRID) + 0.5) * step  # probability is moved to the nearest point between
    sigma = math.sqrt(_SIGMA2)
    standard = (np.log(edges) + _SIGMA2 / 2) / sigma
    served = _normal(standard)
    left = _normal(standard - sigma) + edges * (1 - served)  # the integral of P(S > t)
    service, rest = (np.fft.rfft(np.diff(part, prepend=0.0)) for part in (served, left))
    sojourn = np.fft.irfft((1 - load) / (1 - load * rest) * service, _GRID)
    return step, np.cumsum(sojourn)


def _normal(values: Seconds) -> Seconds:
    """Return the normal distribution, to about 1e-8."""
    return np.interp(values, *_normal_table())


@cache
def _normal_table() -> tuple[Seconds, Seconds]:
    points = np.linspace(-10, 10, 1 << 15)
    return points, np.array([0.5 * math.erfc(-one) for one in (points / math.sqrt(2)).tolist()])


def waits(arrivals: Seconds, services: Seconds) -> Seconds:
    """Return how long each request waits in a G/G/1 queue, by Lindley's recursion as a maximum.

    Done of request n is the largest of arrival k + all services from k to n.
    """
    before = np.concatenate([[0.0], np.cumsum(services)[:-1]])
    result: Seconds = np.maximum.accumulate(arrivals - before) + before - arrivals
    return result


def fifo_waits(arrivals: Seconds, services: Seconds, servers: int, capacity: int) -> Seconds:
    """Return how long each request waits in a G/G/c/K queue, NaN where it is turned away.

    Args:
        arrivals: ascending, shape ``(n,)``.
        services: what each would take; shape ``(n,)``.
        servers: c.
        capacity: K, c or more.
    """
    free = [0.0] * servers  # when each server has done all that it was given
    inside: list[float] = []  # when those in the system leave
    waited = np.full(len(arrivals), np.nan)
    for number, (arrival, service) in enumerate(
        zip(arrivals.tolist(), services.tolist(), strict=True)
    ):
        while inside and inside[0] <= arrival:
            heapq.heappop(inside)
        if len(inside) == capacity:
            continue
        begin = max(arrival, free[0])
        heapq.heapreplace(free, begin + service)
        heapq.heappush(inside, begin + service)
        waited[number] = begin - arrival
    return waited
