"""Whether there were enough workers, of servers whose places are known."""

import dataclasses
import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.occupancy import occupancy
from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.objectives.slo import failure_message
from pytest_servebench.report.attention import doubts
from pytest_servebench.runs.results import Run
from simulation.cases import calm_generator, case

S = 1_000_000_000


def served(
    rate: float, seconds: float, workers: int, buffer: int, places: int, window: float, seed: int
) -> Records:
    """Return what a server brings that answers in ``seconds`` each, and ``places`` at once."""
    dice = np.random.default_rng(seed)
    number = int(rate * window * 1.5) + 20
    times = np.cumsum(dice.exponential(1 / rate, number))
    arrivals = (times[times < window] * S).astype(np.int64)
    free_workers = [0] * workers
    free_places = [0] * places
    begun: list[int] = []
    dequeued = np.full(len(arrivals), NEVER, np.int64)
    done = arrivals.copy()
    outcome = np.full(len(arrivals), Outcome.OK, np.uint8)
    for index, now in enumerate(arrivals.tolist()):
        if sum(start > now for start in begun) >= buffer and min(free_workers) > now:
            outcome[index] = Outcome.DROPPED
            continue
        start = max(now, heapq.heappop(free_workers))
        begun.append(start)
        end = max(start, heapq.heappop(free_places)) + int(seconds * S * dice.uniform(0.9, 1.1))
        heapq.heappush(free_places, end)
        heapq.heappush(free_workers, end)
        dequeued[index], done[index] = start, end
    return Records(
        arrivals, arrivals, dequeued, dequeued, done, done, outcome,
        np.full(len(arrivals), 200, np.int16), int(window * S),
    )  # fmt: skip


@given(workers=st.integers(1, 20), seed=st.integers(0, 99))
def test_a_server_that_could_do_more_is_held_back_by_too_few_workers(
    workers: int, seed: int
) -> None:
    found = occupancy(served(1.6 * workers, 1.0, workers, 5, 1000, 30.0, seed), workers)
    assert found.too_few
    assert 0.5 < found.all_busy <= 1.0


@given(workers=st.integers(2, 20), seed=st.integers(0, 99), share=st.floats(0.05, 0.5))
def test_a_server_at_its_end_is_not_helped_by_more_workers(
    workers: int, seed: int, share: float
) -> None:
    places = max(1, int(share * workers))
    found = occupancy(served(1.6 * places, 1.0, workers, 5, places, 60.0, seed), workers)
    assert not found.too_few


@given(workers=st.integers(2, 20), seed=st.integers(0, 99))
def test_enough_workers_are_enough(workers: int, seed: int) -> None:
    found = occupancy(served(0.2 * workers, 1.0, workers, 100, 1000, 30.0, seed), workers)
    assert not found.too_few
    assert found.all_busy < 0.5


def test_requests_that_never_end_are_busy_to_the_end() -> None:
    rows = served(1.0, 1.0, 1, 5, 1, 10.0, 0)
    rows = dataclasses.replace(
        rows, dequeued=rows.scheduled, done=np.full(len(rows), NEVER, np.int64),
        outcome=np.full(len(rows), Outcome.UNFINISHED, np.uint8),
    )  # fmt: skip
    found = occupancy(rows, 1)
    assert found.all_busy == pytest.approx(1 - rows.scheduled[0] / 1e10)
    assert not found.too_few or len(rows) == 1


def test_no_arrivals() -> None:
    empty = np.zeros(0, np.int64)
    rows = Records(empty, empty, empty, empty, empty, empty, empty.astype(np.uint8),
                   empty.astype(np.int16), S)  # fmt: skip
    assert occupancy(rows, 3) == occupancy(rows, 3)
    assert occupancy(rows, 3).all_busy == 0


@pytest.mark.parametrize("too_few", [False, True])
def test_it_is_said_where_requests_were_dropped(too_few: bool) -> None:
    rows = served(16.0, 1.0, 10, 5, 1000, 30.0, 1)
    one = dataclasses.replace(
        case(rows), generator=calm_generator(too_few_workers=too_few, all_workers_busy=0.973)
    )
    run = Run("run", "2026-01-01T00:00:00+00:00", {}, {}, (one,))
    for text in (failure_message(one, ()), "\n".join(doubts(run))):
        assert ("--servebench-worker-threads" in text) == too_few
        assert ("10 of 10 workers were busy 97 %" in text) == too_few
