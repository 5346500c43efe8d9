"""The interval of a server's mean CPU."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.measure.cpu_interval import cpu_estimate
from pytest_servebench.runs.results import Resources
from pytest_servebench.stats.estimates import Estimate
from simulation import cases
from simulation.distributions import Seconds

STEP = 0.25


def resources(cpu: Seconds) -> Resources:
    """Return the resources of a window with these samples, in percent."""
    time = [STEP * (k + 1) for k in range(len(cpu))]
    mean = float(np.mean(cpu))
    return Resources(
        mean, float(np.max(cpu)), 1e6, 1e6, 50.0, {"time": time, "cpu": [float(c) for c in cpu]}
    )


def requests(arrivals: Seconds, seconds: float = 10.0) -> Records:
    return cases.records(arrivals, np.full(len(arrivals), 1e-6), seconds)


def busy(dice: np.random.Generator, rate: float, seconds: float) -> tuple[Records, Seconds, float]:
    """Return requests, the CPU that they take, and what they should take, in percent.

    Each costs 3 ms on average, exponentially distributed, all of it in the step of its end.
    """
    arrivals = np.sort(dice.uniform(0, seconds - 0.01, dice.poisson(rate * seconds)))
    records = requests(arrivals, seconds)
    steps = round(seconds / STEP)
    place = np.floor(records.done / 1e9 / STEP).astype(np.int64)
    spent = np.bincount(place, dice.exponential(0.003, len(arrivals)), minlength=steps)
    return records, 100 * spent / STEP, 100 * 0.003 * len(arrivals) / seconds


@pytest.mark.parametrize("rate", [10.0, 50.0])
def test_the_interval_holds_what_the_same_arrivals_would_take(rate: float) -> None:
    dice = np.random.default_rng(5)
    held = widths = 0.0
    runs = 300
    for _ in range(runs):
        records, cpu, truth = busy(dice, rate, 30.0)
        found = cpu_estimate(resources(cpu), records)
        assert found is not None
        assert found.value == pytest.approx(float(np.mean(cpu)))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
        widths += (found.high - found.low) / truth / runs
    # 95 % of exactly known intervals; 3.3 standard errors of 300 runs below.
    assert held / runs > 0.91
    # Exponential costs alone leave 2 * 1.96 / sqrt(n). The number of arrivals would add as much.
    assert widths < 1.25 * 2 * 1.96 / math.sqrt(30 * rate)


def test_a_constant_cost_for_each_request_leaves_no_doubt() -> None:
    arrivals = np.sort(np.random.default_rng(1).uniform(0, 9.9, 200))
    records = requests(arrivals)
    counts = np.histogram(records.done / 1e9, np.arange(0, 10.01, STEP))[0]
    found = cpu_estimate(resources(0.3 * counts), records)
    assert found is not None
    assert found.low == pytest.approx(found.value)
    assert found.high == pytest.approx(found.value)


def test_dropped_requests_cost_nothing() -> None:
    dice = np.random.default_rng(2)
    records, cpu, _ = busy(dice, 20.0, 30.0)
    plain = cpu_estimate(resources(cpu), records)
    dropped = dataclasses.replace(
        requests(np.full(50, 1.0)), sent=np.full(50, NEVER),
        outcome=np.full(50, Outcome.DROPPED, dtype=np.uint8),
    )  # fmt: skip
    every = [field.name for field in dataclasses.fields(Records)]
    columns = [name for name in every if isinstance(getattr(records, name), np.ndarray)]
    both: dict[str, Any] = {
        name: np.concatenate([getattr(records, name), getattr(dropped, name)]) for name in columns
    }
    assert cpu_estimate(resources(cpu), Records(**both, window=records.window)) == plain


@pytest.mark.parametrize(
    ("cpu", "arrivals", "expected"),
    [
        ([1.0, 3.0], [0.1, 0.5], Estimate(2.0, 0.0, None)),  # few samples leave it open
        ([0.5] * 40, [], Estimate(0.5, 0.5, 0.5)),  # without a request
    ],
)
def test_what_is_known_of_little(
    cpu: list[float], arrivals: list[float], expected: Estimate
) -> None:
    assert cpu_estimate(resources(np.array(cpu)), requests(np.array(arrivals))) == expected


def test_a_server_that_cannot_be_seen_has_none() -> None:
    unseen = Resources(None, None, None, None, 10.0)
    assert cpu_estimate(unseen, requests(np.array([0.1]))) is None
