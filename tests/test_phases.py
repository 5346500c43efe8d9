"""Phases of the arrivals: where their rate changed, and what intervals make of having seen few."""

import dataclasses
import math

import numpy as np
import pytest

from pytest_servebench.load.arrivals import Constant, Gamma, Poisson, Ramp, Steps, is_planned
from pytest_servebench.runs.plain_benchmarks import plain_case
from pytest_servebench.stats.bootstrap import Blocks
from pytest_servebench.stats.phases import by_phases, phases
from pytest_servebench.stats.student import student
from pytest_servebench.stats.summary import summarize
from simulation.cases import records

BINS = 1000
Floats = np.ndarray


def counts(times: Floats, end: float = 1.0) -> Floats:
    return np.histogram(times, BINS, (0, end))[0].astype(np.float64)


def poisson(dice: np.random.Generator, *parts: tuple[float, float]) -> Floats:
    """Return arrivals in parts of so many requests and so much time each."""
    edges = np.cumsum([0.0, *(length for _, length in parts)])
    return np.concatenate([
        np.sort(dice.uniform(begin, end, dice.poisson(number)))
        for begin, end, (number, _) in zip(edges, edges[1:], parts, strict=False)
    ])  # fmt: skip


@pytest.mark.parametrize("number", [15, 300, 2000, 20_000])
def test_arrivals_of_a_steady_process_have_one_phase(number: int) -> None:
    dice = np.random.default_rng(number)
    for _ in range(5):
        assert phases(counts(poisson(dice, (number, 1.0)))).tolist() == [0]
    bursty = np.cumsum(dice.gamma(1 / 8, 8.0, number))
    assert phases(counts(bursty, bursty[-1])).tolist() == [0]
    assert phases(counts((np.arange(number) + 0.5) / number)).tolist() == [0]


@pytest.mark.parametrize("seed", range(5))
def test_phases_begin_where_the_rate_changes(seed: int) -> None:
    """A short burst amid a run, too, which no single cut would show."""
    dice = np.random.default_rng(seed)
    times = poisson(dice, (700, 0.5), (150, 0.02), (450, 0.28), (1000, 0.2))
    assert phases(counts(times)) / BINS == pytest.approx([0, 0.5, 0.52, 0.8], abs=0.02)


def test_each_phase_is_one_observation_where_blocks_are_surer() -> None:
    dice = np.random.default_rng(2)
    times = poisson(dice, (500, 500.0), (2000, 500.0))
    rows = records(times, np.full(len(times), 0.1), 1000.0)
    half = np.repeat([1.0, -1.0], BINS // 2)
    series = np.column_stack([half, np.zeros(BINS)])
    known = Blocks(np.zeros((1, 3)), 10.0, np.array([9.0, 9.0, 9.0]), np.array([8.0, 8.0, 8.0]))
    found = by_phases(known, series, rows)
    first = phases(counts(times, 1000.0))
    assert len(first) == 2
    sums = np.add.reduceat(half, first)
    assert found.variances == pytest.approx([2 * (sums**2).sum(), 9.0, 9.0])
    assert found.degrees.tolist() == [1.0, 8.0, 8.0]
    planned, unknown = (
        dataclasses.replace(rows, planned=True),
        dataclasses.replace(rows, arrivals_known=False),
    )
    assert by_phases(known, series, planned) is by_phases(known, series, unknown) is known
    surer = dataclasses.replace(known, variances=found.variances * student(1) ** 2)
    assert by_phases(surer, series, rows).degrees.tolist() == [8.0, 8.0, 8.0]


def test_a_median_that_few_bursts_decide_is_not_sure() -> None:
    """Slow in bursts alone, of which the run saw one: blocks of time alone are surer of it."""
    dice = np.random.default_rng(1)
    times = poisson(dice, (700, 700.0), (200, 60.0), (240, 240.0))
    burst = (times > 700) & (times < 760)
    latency = dice.exponential(0.01, len(times)) + burst * 0.05
    rows = records(times, latency, 1000.0)
    found = []
    for planned in (False, True):
        one = summarize(dataclasses.replace(rows, planned=planned), 1.0).estimates["p50"]
        found.append((one.low or 0.0, math.inf if one.high is None else one.high))
    chance, plan = found
    assert chance[0] < 0.5 * plan[0]
    assert chance[1] > plan[1]


def test_rounds_of_a_benchmark_are_not_arrivals() -> None:
    dice = np.random.default_rng(1)
    slow_at_first = np.where(np.arange(2000) < 20, 5e-3, 1e-3) * dice.lognormal(0, 0.1, 2000)
    stats = {"rounds": 2000, "data": slow_at_first.tolist()}
    case = plain_case({"name": "test_sort", "fullname": "b.py::test_sort", "stats": stats}, "")
    p50 = case.summary.estimates["p50"]
    assert p50.low is not None
    assert p50.high is not None
    assert p50.high - p50.low < 0.03e-3  # sqrt(π/2) 0.1 / sqrt(2000) on each side is 0.011


def test_steps_and_ramps_are_planned() -> None:
    planned = [is_planned(one) for one in (Steps((1, 2)), Ramp((1, 2)), Poisson(), Gamma(4.0))]
    assert planned == [True, True, False, False]
    assert not is_planned(Constant())
