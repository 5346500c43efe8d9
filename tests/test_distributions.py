"""Closed forms of distributions against the queue itself, computed request by request."""

import math

import numpy as np
import pytest

from simulation import distributions, queueing
from simulation.distributions import Seconds
from simulation.queues import fifo_waits, waits

SHARES = (0.5, 0.9, 0.99)


def simulated(rate: float, services: Seconds) -> Seconds:
    dice = np.random.default_rng(11)
    return waits(np.cumsum(dice.exponential(1 / rate, len(services))), services)


def test_the_md1_wait_is_that_of_lindleys_recursion() -> None:
    rate, service = 0.7, 1.0
    waited = simulated(rate, np.full(1_000_000, service))
    exact = distributions.md1_wait(rate, service)
    for time in (0.0, 0.3, 1.0, 2.5, 6.0):
        assert exact(time) == pytest.approx((waited <= time + 1e-9).mean(), abs=0.004)
    assert exact(0.0) == pytest.approx(1 - rate * service)
    # Up to the first service the law is (1 - ρ) exp(λt): Crommelin's formula has one term.
    assert exact(0.8) == pytest.approx((1 - rate) * math.exp(rate * 0.8))
    # The mean is the integral of what lies above, and Pollaczek and Khinchine give it too.
    mean = sum(1 - exact((step + 0.5) / 100) for step in range(4_000)) / 100
    assert mean == pytest.approx(queueing.md1_mean_wait(rate, service), rel=1e-4)


def test_the_hyperexponential_sojourn_is_that_of_lindleys_recursion() -> None:
    law, rate = distributions.Hyperexponential.balanced(1.0, 3.0), 0.6
    assert law.mean == pytest.approx(1.0)
    assert law.variance == pytest.approx(3.0)
    dice = np.random.default_rng(5)
    size = 1_000_000
    means = np.where(dice.random(size) < law.share, law.first, law.other)
    services = dice.exponential(1.0, size) * means
    sojourns = simulated(rate, services) + services
    exact = distributions.mh1_sojourn(rate, law)
    for share in SHARES:
        assert exact(float(np.quantile(sojourns, share))) == pytest.approx(share, abs=0.006)
    mean = queueing.mg1(rate, law.mean, law.variance).mean_response
    assert sum(1 - exact((step + 0.5) / 50) for step in range(5_000)) / 50 == pytest.approx(
        mean, rel=1e-4
    )


def test_equal_kinds_of_services_are_the_mm1_queue() -> None:
    exact = distributions.mh1_sojourn(0.5, distributions.Hyperexponential(0.3, 1.0, 1.0 + 1e-9))
    for share in SHARES:
        expected = queueing.mm1_response_percentile(0.5, 1.0, share)
        assert distributions.quantile(exact, share, 1.0) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("servers", "capacity", "rate"), [(4, 10, 3.6), (1, 5, 0.9), (2, 2, 2.0)])
def test_the_mmck_sojourn_is_that_of_the_queue(servers: int, capacity: int, rate: float) -> None:
    dice = np.random.default_rng(3)
    size = 60_000
    services = dice.exponential(1.0, size)
    waited = fifo_waits(np.cumsum(dice.exponential(1 / rate, size)), services, servers, capacity)
    exact = queueing.mmck(rate, 1.0, servers, capacity)
    assert np.isnan(waited).mean() == pytest.approx(exact.blocking, abs=0.01)
    assert np.nanmean(waited) == pytest.approx(exact.mean_wait, rel=0.05, abs=1e-12)
    sojourn = distributions.mmck_sojourn(rate, 1.0, servers, capacity)
    let_in = ~np.isnan(waited)
    sojourns = waited[let_in] + services[let_in]
    for share in SHARES:
        assert sojourn(float(np.quantile(sojourns, share))) == pytest.approx(share, abs=0.01)


def test_much_room_is_the_mm1_queue() -> None:
    sojourn = distributions.mmck_sojourn(0.5, 1.0, 1, 100)
    for share in SHARES:
        expected = queueing.mm1_response_percentile(0.5, 1.0, share)
        assert distributions.quantile(sojourn, share, 1.0) == pytest.approx(expected, rel=1e-9)


def test_one_server_without_limit_is_lindleys_recursion() -> None:
    dice = np.random.default_rng(2)
    gaps, services = dice.exponential(1.0, 2_000), dice.exponential(0.8, 2_000)
    waited = fifo_waits(np.cumsum(gaps), services, 1, 10_000)
    np.testing.assert_allclose(waited, waits(np.cumsum(gaps), services), atol=1e-9)
