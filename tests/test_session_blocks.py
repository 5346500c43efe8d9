"""Requests of one session are alike: what blocks of time make of that."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.turns import Turns
from pytest_servebench.stats.bootstrap import binned, least_length, moving_blocks

WINDOW = 1000.0
BINS = 1000


def variance(seed: int, *, aware: bool, sessions: int = 300, turns: int = 5) -> float:
    """Return an estimate of a sum's variance over the true one.

    All requests of a session have its value; nothing else is alike.
    """
    dice = np.random.default_rng(seed)
    think = dice.exponential(8.0, (sessions, turns))
    think[:, 0] = dice.uniform(0, WINDOW, sessions)
    arrivals = ((np.cumsum(think, axis=1) % WINDOW).ravel() * 1e9).astype(np.int64)
    values = np.repeat(dice.standard_normal(sessions), turns)[:, np.newaxis]
    window = int(WINDOW * 1e9)
    span = think[:, 1:].sum(axis=1).mean() * 1e9
    least = least_length(span, window, BINS) if aware else 1
    blocks = moving_blocks(binned(values, arrivals, window, BINS), least)
    return float(blocks.variances[0]) / (sessions * turns**2)


def test_blocks_as_long_as_sessions_see_that_their_requests_are_alike() -> None:
    blind, known = ([variance(seed, aware=aware) for seed in range(40)] for aware in (False, True))
    # An estimate errs on the safe side by design.
    assert np.mean(blind) < 0.85 < 0.95 < np.mean(known) < 1.4


@pytest.mark.parametrize(
    ("span", "window", "bins", "least"),
    [(0.0, 100, 50, 1), (3.0, 100, 50, 3), (90.0, 100, 60, 10), (9.0, 100, 4, 1), (1.0, 0, 4, 1)],
)
def test_blocks_have_two_sessions_unless_they_go_on_for_long(
    span: float, window: int, bins: int, least: int
) -> None:
    assert least_length(span, window, bins) == least


@given(st.lists(st.lists(st.integers(0, 10**9), min_size=1, max_size=5), max_size=6))
def test_the_span_of_a_session_counts_for_each_of_its_requests(arrivals: list[list[int]]) -> None:
    rows = [(one, session) for session, own in enumerate(arrivals) for one in own]
    times, session = (np.array([row[k] for row in rows], dtype=np.int64) for k in (0, 1))
    turns = Turns(session.astype(np.int32), *np.zeros((2, len(rows)), dtype=np.int32))
    spans = [max(own) - min(own) for own in arrivals for _ in own]
    assert turns.span(times) == pytest.approx(np.mean(spans) if spans else 0.0)
