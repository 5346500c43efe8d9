"""The schedule: what is drawn is a Poisson process, and the check tells what is not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_servebench.load.arrivals import Poisson, streams

seeds = st.integers(0, 2**31)


def schedule(seed: int, rate: float, duration: float) -> npt.NDArray[np.int64]:
    return Poisson().schedule(rate, duration, streams(seed, rate)[0])


@settings(deadline=None)
@given(seeds, st.floats(0.01, 2000), st.floats(0.001, 20))
def test_arrivals_ascend_within_the_window(seed: int, rate: float, duration: float) -> None:
    times = schedule(seed, rate, duration)
    assert times.dtype == np.int64
    assert (np.diff(times) >= 0).all()
    if len(times):
        assert 0 <= times[0] <= times[-1] < duration * 1e9


@settings(deadline=None)
@given(seeds, st.sampled_from([0.5, 1.0, 10.0, 100.0]))
def test_the_same_seed_gives_the_same_schedule(seed: int, rate: float) -> None:
    first = schedule(seed, rate, 10.0)
    assert np.array_equal(first, schedule(seed, rate, 10.0))
    # A longer window goes on where the shorter one ends.
    assert np.array_equal(first, schedule(seed, rate, 10.0 * (1 + 1e-9))[: len(first)])


def test_seeds_rates_and_purposes_have_streams_of_their_own() -> None:
    first = schedule(0, 10, 10.0)
    assert not np.array_equal(first, schedule(1, 10, 10.0))
    assert not np.array_equal(first, schedule(0, 10.000001, 10.0)[: len(first)])
    arrivals, payloads = streams(0, 10)
    assert not np.array_equal(arrivals.random(5), payloads.random(5))


def test_rate_and_spread_are_poissons_over_many_seeds() -> None:
    counts = np.array([len(schedule(seed, 10, 15)) for seed in range(1000)])
    # Mean and variance are both 150; four standard errors.
    assert counts.mean() == pytest.approx(150, abs=4 * np.sqrt(150 / 1000))
    assert counts.var(ddof=1) == pytest.approx(150, abs=4 * 150 * np.sqrt(2 / 999))


@pytest.mark.parametrize(("rate", "duration"), [(1, 60.0), (10, 15.0), (100, 15.0), (1000, 5.0)])
def test_the_check_accepts_poisson_processes(rate: float, duration: float) -> None:
    checks = [
        Poisson().check(schedule(seed, rate, duration), rate, duration) for seed in range(100)
    ]
    # Each band holds 99 % at least.
    assert sum(abs(one.rate_z) <= 2.576 for one in checks) >= 96
    assert sum(
        one.dispersion_band[0] <= one.dispersion <= one.dispersion_band[1] for one in checks
    ) >= 96  # fmt: skip
    assert sum(abs(one.lag1) <= one.lag1_band for one in checks) >= 96
    assert sum(one.plausible for one in checks) >= 92
    assert np.mean([one.dispersion for one in checks]) == pytest.approx(1, abs=0.1)


def test_the_check_refuses_what_is_not_poisson() -> None:
    duration, rate = 30.0, 100.0
    dice = np.random.default_rng(0)
    even = (np.arange(3000) * 1e7).astype(np.int64)
    assert not Poisson().check(even, rate, duration).plausible
    # One seed in every one of ten workers: all arrivals come in tens.
    tens = np.repeat(Poisson().schedule(10, duration, dice), 10)
    assert Poisson().check(tens, rate, duration).dispersion > 5
    assert not Poisson().check(tens, rate, duration).plausible
    # Slow and fast seconds take turns: gaps by themselves look exponential enough.
    busy = Poisson().schedule(170, duration, dice)
    quiet = Poisson().schedule(30, duration, dice)
    turns = np.sort(np.concatenate([busy[busy // 10**9 % 2 == 0], quiet[quiet // 10**9 % 2 == 1]]))
    assert not Poisson().check(turns, rate, duration).plausible
    assert not Poisson().check(Poisson().schedule(120, duration, dice), rate, duration).plausible


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_the_check_takes_hardly_any_arrivals(number: int) -> None:
    times = np.arange(1, number + 1, dtype=np.int64) * 10**8
    found = Poisson().check(times, 1.0, 1.0)
    assert found.achieved_rate == number
    assert np.isfinite([found.rate_z, found.dispersion, found.lag1]).all()
