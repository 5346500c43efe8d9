"""The capacity from probes, against queues whose capacity is known."""

import math

import pytest

from pytest_servebench.measure.capacity_search import (
    CapacitySearch,
    Plan,
    ProbeOutcome,
    SearchSettings,
)
from pytest_servebench.stats.capacity import Probed, fit, least

SERVICE_RATE, BOUND = 200.0, 0.05
CAPACITY = SERVICE_RATE - math.log(100) / BOUND  # of M/M/1 with p99 < BOUND


def expected(rate: float, seconds: float) -> Probed:
    """Return the mean of what a probe of the M/M/1 queue sees, requests taken as independent."""
    share = math.exp(-max(0.0, SERVICE_RATE - rate) * BOUND)
    n = round(rate * seconds)
    return Probed(rate, seconds, n, round(n * share), 1.0)


def test_expected_counts_give_the_exact_capacity() -> None:
    probes = [expected(factor * CAPACITY, 1000) for factor in (0.9, 1.0, 1.1)]
    curve = fit(probes, 0.01)
    assert curve is not None
    bracket = least([curve])
    assert bracket.value == pytest.approx(CAPACITY, rel=0.01)
    assert bracket.closed
    assert bracket.low is not None
    assert bracket.high is not None
    assert bracket.low < CAPACITY < bracket.high < 1.1 * bracket.low


def drive(search: CapacitySearch, overhead: float = 0.5) -> list[Plan]:
    """Drive a search with what the M/M/1 queue gives on average."""
    plans = []
    while (plan := search.next()) is not None:
        plans.append(plan)
        elapsed = plan.rest + plan.seconds + overhead
        search.add(ProbeOutcome(elapsed, (expected(plan.rate, plan.seconds - plan.settle),)))
    return plans


@pytest.mark.parametrize(
    ("lowest", "highest", "state"),
    [(10, 1000, "found"), (5, 60, "above_range"), (170, 1000, "below_range")],
)
def test_ends_of_a_search(lowest: float, highest: float, state: str) -> None:
    settings = SearchSettings(lowest=lowest, highest=highest, budget=120)
    search = CapacitySearch((0.01,), settings)
    plans = drive(search)
    found = search.capacity()
    assert found.state == state
    assert found.seconds <= settings.budget
    assert all(lowest <= plan.rate <= highest for plan in plans)
    if state == "found":
        assert found.low is not None
        assert found.high is not None
        assert found.low < CAPACITY < found.high
