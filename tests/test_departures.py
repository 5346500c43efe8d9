"""How the services of two runs compare, and when that tells that times changed."""

import dataclasses

import numpy as np
import pytest

from pytest_servebench.analysis.request_shifts import request_shifts
from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.stats.departures import services
from simulation.cases import records
from simulation.queues import LAWS, Law, fifo_waits
from simulation.queues import services as drawn


def run(
    law: Law, slower: float, *, number: int = 150, seed: int = 1, pause: float = 0.0
) -> Records:
    """Return a queue that is empty at first, of 60 places, busy for 0.3 of the time."""
    dice = np.random.default_rng(seed)
    arrived = np.cumsum(dice.exponential(1 / 0.3, number))
    served = slower * drawn(law, number, dice)
    served[number // 2] += pause
    waited = fifo_waits(arrived, served, 1, 60)
    lost = np.isnan(waited)
    took = np.where(lost, 1e-6, waited + served)
    return records(arrived, took, arrived[-1], lost, Outcome.DROPPED)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("slower", [1.0, 2.0, 5.0])
def test_the_services_of_a_queue_are_known_however_it_grows(law: Law, slower: float) -> None:
    base, new = run(law, 1.0, number=600), run(law, slower, number=600, seed=2)
    found = services([base, base], [new])
    assert found is not None
    assert found.ratio == pytest.approx(slower, rel=0.15)
    assert found.at(0.01).low < slower < found.at(0.01).high


@pytest.mark.parametrize(("slower", "pause", "worse"), [(5.0, 0.0, True), (1.0, 150.0, False)])
def test_longer_services_tell_what_few_independent_waits_cannot(
    slower: float, pause: float, worse: bool
) -> None:
    """A queue that grows all along is one event, and so is a pause, here of a third of the run."""
    base, new = run("M/M/1", 1.0), run("M/M/1", slower, pause=pause)
    for (one, other), sign in (((base, new), 1), ((new, base), -1)):
        shift = request_shifts([one], [other])["mean" if pause else "p50"]
        assert shift.is_large
        found, alone = (s.at(0.001) for s in (shift, dataclasses.replace(shift, services=None)))
        assert alone.low <= 1 <= alone.high
        assert ((found.low if sign > 0 else 1 / found.high) > 1.5) == worse
    assert request_shifts([base], [base])["p50"].services is None


def test_runs_without_a_success_have_no_services() -> None:
    one = run("M/D/1", 1.0)
    lost = dataclasses.replace(one, outcome=np.full_like(one.outcome, Outcome.DROPPED))
    assert services([one], [lost]) is services([lost], [one]) is services([], [one]) is None
