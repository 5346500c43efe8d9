"""Queues whose answers are known exactly: what a measurement is checked against.

Arrivals are Poisson with rate λ; a server works at rate μ, its mean service takes 1/μ seconds; the
queue is first come, first served. In Kendall's notation M/M/c/K has exponential services, c servers
and places for K requests, those in service included: a buffer of B before W workers is K = B + W.

Sources: Gross, Shortle, Thompson and Harris, Fundamentals of Queueing Theory, 4th edition (2008),
chapters 2 and 5; Kleinrock, Queueing Systems, volume 1 (1975).
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Queue:
    """A queue in its steady state.

    Attributes:
        blocking: share of the arrivals that find all places taken and are turned away.
        mean_wait: mean time in the buffer of those that are let in, seconds.
        mean_response: mean time from arrival to end of service of those, seconds.
        mean_number: mean number of requests in the system, those in service included.
        utilisation: mean share of the servers that are busy.
    """

    blocking: float
    mean_wait: float
    mean_response: float
    mean_number: float
    utilisation: float


def mmck(arrival_rate: float, service_rate: float, servers: int, capacity: int) -> Queue:
    """Return the M/M/c/K queue; any load, as what is too much is turned away.

    Gross et al., section 2.5: with a = λ/μ the probability of n requests is proportional to a^n/n!
    for n <= c, and to a^n/(c! c^(n-c)) up to K. An arrival sees the same probabilities (Wolff
    1982, Poisson arrivals see time averages), so that those of n = K are turned away; Little's law
    gives the mean times.

    Args:
        arrival_rate: λ, 1/s.
        service_rate: μ of one server, 1/s.
        servers: c, 1 or more.
        capacity: K, c or more.

    Raises:
        ValueError: an argument is out of its range.
    """
    _check(arrival_rate, service_rate, servers)
    if capacity < servers:
        raise ValueError(f"capacity={capacity}: no less than servers={servers}")
    # Logarithms: a^n / n! alone leaves the range of floating-point numbers.
    logs = [0.0]
    for n in range(1, capacity + 1):
        logs.append(logs[-1] + math.log(arrival_rate / (min(n, servers) * service_rate)))
    highest = max(logs)
    weights = [math.exp(one - highest) for one in logs]
    total = math.fsum(weights)
    probabilities = [one / total for one in weights]
    blocking = probabilities[capacity]
    waiting = math.fsum((n - servers) * probabilities[n] for n in range(servers, capacity + 1))
    busy = math.fsum(min(n, servers) * one for n, one in enumerate(probabilities))
    mean_wait = waiting / (busy * service_rate)
    return Queue(
        blocking=blocking,
        mean_wait=mean_wait,
        mean_response=mean_wait + 1 / service_rate,
        mean_number=waiting + busy,
        utilisation=busy / servers,
    )


def erlang_b(offered: float, servers: int) -> float:
    """Return the share of arrivals that c servers without a buffer turn away.

    Erlang's loss formula by its recursion B(n) = a B(n-1) / (n + a B(n-1)); holds for any
    distribution of service times (M/G/c/c).

    Args:
        offered: a = λ/μ.
        servers: c, 1 or more.
    """
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = offered * blocked / (n + offered * blocked)
    return blocked


def erlang_c(offered: float, servers: int) -> float:
    """Return the share of arrivals that must wait in an M/M/c queue without limit.

    Raises:
        ValueError: the load is 1 or more: there is no steady state.
    """
    load = offered / servers
    _check_load(load)
    blocked = erlang_b(offered, servers)
    return blocked / (1 - load * (1 - blocked))


def mmc(arrival_rate: float, service_rate: float, servers: int) -> Queue:
    """Return the M/M/c queue without limit, by Erlang's C formula (Gross et al., section 2.3).

    Raises:
        ValueError: an argument is out of its range, or the load λ/(cμ) is 1 or more.
    """
    _check(arrival_rate, service_rate, servers)
    offered = arrival_rate / service_rate
    wait = erlang_c(offered, servers) / (servers * service_rate - arrival_rate)
    return _unlimited(arrival_rate, 1 / service_rate, servers, wait)


def mg1(arrival_rate: float, mean_service: float, service_variance: float) -> Queue:
    """Return the M/G/1 queue by Pollaczek's and Khinchine's formula (Gross et al., section 5.1).

    W = λ E[S²] / (2 (1 - ρ)), where ρ = λ E[S] and E[S²] = variance + mean².

    Args:
        arrival_rate: λ, 1/s.
        mean_service: E[S], seconds.
        service_variance: of S, s².

    Raises:
        ValueError: an argument is out of its range, or the load ρ is 1 or more.
    """
    _check(arrival_rate, 1 / mean_service if mean_service > 0 else 0.0, 1)
    if service_variance < 0:
        raise ValueError(f"service_variance={service_variance}: no less than 0")
    load = arrival_rate * mean_service
    _check_load(load)
    wait = arrival_rate * (service_variance + mean_service**2) / (2 * (1 - load))
    return _unlimited(arrival_rate, mean_service, 1, wait)


def mg1_mean_wait(arrival_rate: float, mean_service: float, service_variance: float) -> float:
    """Return the mean wait in the M/G/1 queue's buffer, seconds; see :func:`mg1`."""
    return mg1(arrival_rate, mean_service, service_variance).mean_wait


def md1_mean_wait(arrival_rate: float, service: float) -> float:
    """Return the mean wait in the M/D/1 queue's buffer, seconds: each service takes the same.

    Half of the M/M/1 queue's. Args and errors as in :func:`mg1`.
    """
    return mg1_mean_wait(arrival_rate, service, 0.0)


def mm1_response_percentile(arrival_rate: float, service_rate: float, share: float) -> float:
    """Return the time in which a share of the M/M/1 queue's requests are done, seconds.

    The time from arrival to end of service is exponential with rate μ - λ (Kleinrock, section 5.12,
    for first come, first served).

    Raises:
        ValueError: an argument is out of its range, or the load is 1 or more.
    """
    _check_share(arrival_rate, service_rate, share)
    return -math.log1p(-share) / (service_rate - arrival_rate)


def mm1_wait_percentile(arrival_rate: float, service_rate: float, share: float) -> float:
    """Return the time that a share of the M/M/1 queue's requests wait at most, seconds.

    A share 1 - ρ does not wait at all; of the others the wait is exponential with rate μ - λ.

    Raises:
        ValueError: an argument is out of its range, or the load is 1 or more.
    """
    _check_share(arrival_rate, service_rate, share)
    load = arrival_rate / service_rate
    return max(0.0, math.log(load / (1 - share)) / (service_rate - arrival_rate))


def _unlimited(arrival_rate: float, mean_service: float, servers: int, wait: float) -> Queue:
    response = wait + mean_service
    return Queue(
        blocking=0.0,
        mean_wait=wait,
        mean_response=response,
        mean_number=arrival_rate * response,  # Little (1961)
        utilisation=arrival_rate * mean_service / servers,
    )


def _check(arrival_rate: float, service_rate: float, servers: int) -> None:
    if not (0 < arrival_rate < math.inf and 0 < service_rate < math.inf):
        raise ValueError(
            f"arrival_rate={arrival_rate}, service_rate={service_rate}: finite and above 0"
        )
    if servers < 1:
        raise ValueError(f"servers={servers}: 1 or more")


def _check_load(load: float) -> None:
    if load >= 1:
        raise ValueError(f"load {load:g}: without a limit there is a steady state below 1 only")


def _check_share(arrival_rate: float, service_rate: float, share: float) -> None:
    _check(arrival_rate, service_rate, 1)
    _check_load(arrival_rate / service_rate)
    if not 0 <= share < 1:
        raise ValueError(f"share={share}: from 0 to below 1")
