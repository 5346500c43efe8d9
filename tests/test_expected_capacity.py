"""The queue that a search's probes fit: the capacity expected from it, and how much it counts."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pytest_servebench.load.store import Outcome
from pytest_servebench.measure.capacity_plan import Plan
from pytest_servebench.objectives.limits import limits_of
from pytest_servebench.objectives.slo import parse_slo
from pytest_servebench.sizing.expected import Settled, expected, model_of
from pytest_servebench.stats.capacity import Curve
from pytest_servebench.stats.expected import Expected, informed
from simulation.searches import Server, capacity, limit_of_p99, settled_probe
from simulation.servers import OTHERS

RATES = np.geomspace(50, 200, 301)


def normal(rate: float, error: float) -> Curve:
    below = [0.5 * math.erfc(-math.log(one / rate) / error / math.sqrt(2)) for one in RATES]
    return Curve(RATES, np.array(below), 8.0, 10.0, 10.0, 0.01)


def spread(curve: Curve) -> float:
    return math.log(curve.quantile(0.975) / curve.quantile(0.025)) / 3.92


@pytest.mark.parametrize(
    ("counted", "queue", "value", "error"),
    [
        (0.1, None, 100, (0.099, 0.101)),
        (0.1, Expected(100, 0.05), 100, (0.05, 0.085)),
        (0.1, Expected(110, 0.05), 106, (0.05, 0.085)),
        # Uncertain beside what was counted.
        (0.1, Expected(150, 5.0), 100, (0.098, 0.102)),
        (0.01, Expected(110, 0.02), 100, (0.0095, 0.0107)),
        # So far off that it is the wrong queue.
        (0.03, Expected(180, 0.02), 100.5, (0.028, 0.05)),
    ],
)
def test_how_much_a_queue_counts(
    counted: float, queue: Expected | None, value: float, error: tuple[float, float]
) -> None:
    both = informed(normal(100.0, counted), queue)
    assert both.quantile(0.5) == pytest.approx(value, rel=0.015)
    assert error[0] <= spread(both) <= error[1]


SERVERS = (
    Server("M/M/1", lambda n, dice: dice.exponential(0.005, n), 1, None, 0.05),
    Server("M/M/4/36", lambda n, dice: dice.exponential(0.02, n), 4, 36, 0.15),
)


def probes(server: Server, *factors: float) -> tuple[list[Settled], float]:
    truth = capacity(server.name)
    found = []
    for seed, factor in enumerate(factors):
        plan = Plan(factor * truth, 13.0, 1.0, 0.0, "estimate")
        records = server.records(plan.rate, plan.seconds, np.random.default_rng(seed))
        found.append(settled_probe(records, plan, server.places))
    return found, truth


@pytest.mark.parametrize("server", SERVERS)
def test_the_capacity_of_a_known_queue_is_expected(server: Server) -> None:
    seen, truth = probes(server, 0.9, 1.0, 1.1, 1.2, 0.8, 1.0)
    model = model_of(seen)
    assert model is not None
    found = expected(model, seen, limit_of_p99(server.bound), around=1.2 * truth)
    assert found is not None
    assert found.error < 0.1
    assert abs(math.log(found.rate / truth)) < 3 * found.error
    for other in ("success_rate>=99%", "p99{chat}<50ms", "ttft.p99<50ms"):
        (limit,) = limits_of(parse_slo(other))
        assert expected(model, seen, limit, around=truth) is None
    assert expected(model, seen, limit_of_p99(server.bound), around=4 * truth) is None


def test_other_servers_have_no_queue() -> None:
    for server in OTHERS[:2]:
        dice = np.random.default_rng(1)
        cases = [server.case(load, 20.0, dice) for load in (0.5, 0.6)]
        assert model_of([Settled(case, 1.0) for case in cases]) is None
    assert model_of([]) is None


def test_failed_answers_are_no_services() -> None:
    (seen,), _ = probes(SERVERS[0], 1.0)
    assert seen.case.records is not None
    outcome = seen.case.records.outcome.copy()
    outcome[::50] = Outcome.ERROR_STATUS
    failing = replace(seen.case, records=replace(seen.case.records, outcome=outcome))
    assert model_of([seen]) is not None
    assert model_of([Settled(failing, 1.0)]) is None
