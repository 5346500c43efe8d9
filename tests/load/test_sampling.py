"""Which answers are looked into."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.draws import sample_stream, sampled_arrivals, streams


@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 5))
def test_so_many_of_the_arrivals(size: int, samples: int, seed: int) -> None:
    drawn = sampled_arrivals(size, samples, sample_stream(seed, 10))
    assert len(drawn) == min(size, samples)
    assert drawn <= set(range(size))
    assert drawn == sampled_arrivals(size, samples, sample_stream(seed, 10))


@given(st.integers(200, 5000), st.integers(16, 100), st.integers(0, 100))
def test_no_stretch_of_the_run_is_left_out(size: int, samples: int, seed: int) -> None:
    drawn = sorted(sampled_arrivals(size, samples, sample_stream(seed, 10)))
    # Two strata of eight, which is what may lie between two that were drawn.
    longest = 2 * -(-size // (-(-samples // 8)))
    assert max(np.diff([-1, *drawn, size])) <= longest


@pytest.mark.parametrize("size", [96, 100, 128, 190, 192, 1000])
def test_every_answer_has_the_same_chance(size: int) -> None:
    """What comes in turn, such as the answers of several back ends, is seen as often as it is."""
    seen = np.zeros(size)
    for seed in range(300):
        seen[list(sampled_arrivals(size, 64, sample_stream(seed, 20)))] += 1
    for period in (2, 3, 4, 5, 7):
        turns = [seen[phase::period].mean() / 300 for phase in range(period)]
        assert np.allclose(turns, 64 / size, atol=0.03), period


def test_the_sample_is_independent_of_the_schedule() -> None:
    """Another stream, so that neither the arrivals nor the choice of requests is moved by it."""
    draws = [generator.random() for generator in (*streams(3, 7), sample_stream(3, 7))]
    assert len(set(draws)) == 3
