"""What a run may not have seen, by the number of requests in flight."""

import dataclasses

import numpy as np
import pytest

from pytest_servebench.load.classes import Classes
from pytest_servebench.load.records import NEVER, Records
from pytest_servebench.stats.summary import summarize
from pytest_servebench.stats.unseen import Unseen, unseen
from simulation import batching
from simulation.cases import queue, records


def test_in_flight_are_those_that_arrived_and_have_not_ended() -> None:
    arrivals = np.array([0.0, 1.0, 2.0, 3.0, 10.0])
    rows = records(arrivals, np.array([2.5, 0.5, 9.0, 1.0, 1.0]), 20.0)
    assert rows.in_flight().tolist() == [0, 1, 1, 1, 1]
    rows.done[2] = NEVER
    assert rows.in_flight().tolist() == [0, 1, 1, 1, 1]
    assert records(np.array([]), np.array([]), 1.0).in_flight().tolist() == []


def independent(seed: int, bursts: int = 2000) -> Records:
    """Return requests of which none holds up another, about ten at a time; or in some bursts."""
    dice = np.random.default_rng(seed)
    arrivals = np.repeat(dice.uniform(0, 190, bursts), 2000 // bursts) + dice.uniform(0, 9, 2000)
    return records(np.sort(arrivals), dice.exponential(1.0, 2000), 200.0)


def test_nothing_is_unseen_where_requests_do_not_hold_each_other_up() -> None:
    bursts = independent(1, bursts=20)
    classes = Classes(("one", "other"), np.arange(len(bursts), dtype=np.uint32) % 2)
    of_class = dataclasses.replace(bursts, classes=classes).of_class("one", 0.0)
    assert unseen(independent(1)) == unseen(bursts) == unseen(of_class) == Unseen()
    assert unseen(queue("M/M/1", 0.3, 2000, 1)) == Unseen()
    assert unseen(queue("M/M/1", 0.8, 20, 1)) == Unseen()


def test_a_calm_run_of_a_server_near_its_limit_has_no_end_of_its_tail() -> None:
    server = batching.Server()
    # By chance, the batch is hardly ever full in this run, as it is in the steady state.
    calm = batching.run(server, 0.8, 2000, 11)
    found = unseen(calm)
    assert found.length > 2
    assert 0 < found.share < 0.05
    assert found.beyond(found.length) == 0.0 < found.beyond(1.0) == found.share
    estimates = summarize(calm, 11.0).estimates
    blind = summarize(dataclasses.replace(calm, among=np.zeros(len(calm), np.int64)), 11.0)
    for name in ("ttft.p99", "ttft.mean"):
        one, other = estimates[name], blind.estimates[name]
        assert one.low == other.low
        assert other.high is not None
        assert one.high is None or one.high > other.high
    assert estimates["itl.p99"] == blind.estimates["itl.p99"]


@pytest.mark.parametrize(
    ("own", "times", "factor"),
    [({}, {}, 1.0), ({10: 2.0}, {10: 4.0}, 1.0), ({10: 32.0, 50: 8.0}, {10: 2.0, 50: 8.0}, 2.0)],
)
def test_the_error_of_a_mean_lies_between_that_of_times_and_of_numbers(
    own: dict[int, float], times: dict[int, float], factor: float
) -> None:
    assert Unseen(2.0, 0.01, own).error(times) == pytest.approx(factor)
