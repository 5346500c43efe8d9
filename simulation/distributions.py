"""Distributions of waits and sojourns in queues.

All queues serve first come, first served. Times are in seconds, rates per second. The *sojourn* is
the time from arrival to end of service, which the engine calls latency. Sections without a book are
of Gross, Shortle, Thompson and Harris, Fundamentals of Queueing Theory, 4th edition (2008).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]


def quantile(distribution: Callable[[float], float], share: float, scale: float) -> float:
    """Return the smallest time that ``distribution`` (a continuous one's) puts at ``share``.

    Args:
        distribution: the probability of no more than a time.
        share: from 0 to below 1.
        scale: some time that is not out of all proportion, to begin the search with.
    """
    low, high = 0.0, scale
    while distribution(high) < share:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        if distribution(middle) < share:
            low = middle
        else:
            high = middle
    return high


def mmck_probabilities(
    arrival_rate: float, service_rate: float, servers: int, capacity: int
) -> list[float]:
    """Return the probabilities of 0 to ``capacity`` requests in an M/M/c/K queue (section 2.5)."""
    weights = [1.0]
    for number in range(1, capacity + 1):
        weights.append(weights[-1] * arrival_rate / (min(number, servers) * service_rate))
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def mmck_sojourn(
    arrival_rate: float, service_rate: float, servers: int, capacity: int
) -> Callable[[float], float]:
    """Return the distribution of the sojourn of those that an M/M/c/K queue lets in.

    A request that is let in finds n < K in the system with probability p_n / (1 - p_K) (section
    2.5). Where all c servers are busy it waits for n - c + 1 ends of services, which come at the
    rate cμ: an Erlang distribution. Its own service follows, exponential with rate μ.
    """
    probabilities = mmck_probabilities(arrival_rate, service_rate, servers, capacity)
    let_in = 1 - probabilities[capacity]

    def distribution(time: float) -> float:
        terms = [
            probabilities[found]
            * _wait_and_service(max(0, found - servers + 1), servers, service_rate, time)
            for found in range(capacity)
        ]
        return math.fsum(terms) / let_in

    return distribution


def _wait_and_service(ends: int, servers: int, rate: float, time: float) -> float:
    """Return P(E + S <= t): E Erlang of ``ends`` stages at cμ, S exponential at μ."""
    if servers == 1:
        return erlang(ends + 1, rate, time)
    if ends == 0:
        return -math.expm1(-rate * time)
    # P(E + S > t) = P(E > t) + P(E <= t < E + S). The second is the integral over E's density of
    # exp(-μ (t - s)): again an Erlang distribution, of the rate cμ - μ.
    together = servers * rate
    faster = together - rate
    factor = math.exp(ends * math.log(together / faster) - rate * time)
    return erlang(ends, together, time) - factor * erlang(ends, faster, time)


def erlang(stages: int, rate: float, time: float) -> float:
    """Return the Erlang distribution: a Poisson process of ``rate`` has had so many events."""
    mean = rate * time
    term, missing = math.exp(-mean), 0.0
    for number in range(stages):
        missing += term
        term *= mean / (number + 1)
    return 1 - missing


def md1_wait(arrival_rate: float, service: float, most: int = 400) -> Callable[[float], float]:
    """Return the distribution of the wait in the M/D/1 queue.

    Erlang's and Crommelin's formula has terms of alternating signs that cancel each other. Franx's
    (Operations Research Letters 29, 2001) has none: with k = ⌊t/D⌋ + 1 and v = λ(kD - t),

        P(W <= t) = e^-v Σ_{j<k} Q_{k-1-j} v^j / j!

    where Q_m is the probability that at most m requests wait.

    Args:
        arrival_rate: λ.
        service: D; λD is below 1.
        most: states of the queue to compute: times reach to so many services.
    """
    load = arrival_rate * service
    # The number that arrive within a service is Poisson, with mean λD.
    more = [-math.expm1(-load)]  # the probability of more than n
    term = math.exp(-load)
    for number in range(1, most + 1):
        term *= load / number
        more.append(max(0.0, more[-1] - term))
    # The number that departures leave behind has the law of the number in the system (section
    # 5.1.3). It passes from at most n to n + 1 as often as back, and all terms are positive.
    states = [1 - load]
    for number in range(most):
        up = states[0] * more[number]
        for behind in range(1, number + 1):
            up += states[behind] * more[number - behind + 1]
        states.append(up * math.exp(load))
    waiting = np.cumsum(states)[1:]  # at most m wait where at most m + 1 are there

    def distribution(time: float) -> float:
        services = math.floor(time / service) + 1
        if services > len(waiting):
            return 1.0
        value = arrival_rate * (services * service - time)
        weight, total = math.exp(-value), 0.0
        for number in range(services):
            total += float(waiting[services - 1 - number]) * weight
            weight *= value / (number + 1)
        return total

    return distribution


@dataclass(frozen=True)
class Hyperexponential:
    """Service times: a share is exponential with one mean, the rest with another."""

    share: float
    first: float
    other: float

    @classmethod
    def balanced(cls, mean: float, variation: float) -> Self:
        """Return the law whose two kinds take the same part of all service time.

        Args:
            mean: of all services.
            variation: squared coefficient of variation, above 1.
        """
        share = (1 + math.sqrt((variation - 1) / (variation + 1))) / 2
        return cls(share, mean / (2 * share), mean / (2 * (1 - share)))

    @property
    def mean(self) -> float:
        """Return E[S]."""
        return self.share * self.first + (1 - self.share) * self.other

    @property
    def variance(self) -> float:
        """Return the variance of S."""
        second = 2 * (self.share * self.first**2 + (1 - self.share) * self.other**2)
        return second - self.mean**2


def mh1_sojourn(arrival_rate: float, service: Hyperexponential) -> Callable[[float], float]:
    """Return the distribution of the sojourn in the M/G/1 queue with hyperexponential services.

    Pollaczek's and Khinchine's transform of the sojourn's density (section 5.1.5) is
    (1 - ρ) s B(s) / (s - λ + λ B(s)). Here B(s) = N(s) / ((s + a)(s + b)) with a = 1/first and
    b = 1/other, and dividing by s leaves (1 - ρ) N(s) / D(s) with

        N(s) = (qa + (1 - q)b) s + ab
        D(s) = s² + (a + b - λ) s + ab - λ(a + b) + λ(qa + (1 - q)b)

    D has two roots -x and -y below 0: the sojourn is a mixture of two exponentials with the rates
    x and y.
    """
    rate_a, rate_b = 1 / service.first, 1 / service.other
    slope = service.share * rate_a + (1 - service.share) * rate_b
    middle = rate_a + rate_b - arrival_rate
    last = rate_a * rate_b - arrival_rate * (rate_a + rate_b) + arrival_rate * slope
    root = math.sqrt(middle**2 - 4 * last)
    fast, slow = (middle + root) / 2, (middle - root) / 2
    idle = 1 - arrival_rate * service.mean
    product = rate_a * rate_b
    # Partial fractions; each weight belongs to the density rate * exp(-rate t).
    weight_fast = idle * (product - slope * fast) / ((slow - fast) * fast)
    weight_slow = idle * (product - slope * slow) / ((fast - slow) * slow)

    def distribution(time: float) -> float:
        return -weight_fast * math.expm1(-fast * time) - weight_slow * math.expm1(-slow * time)

    return distribution
