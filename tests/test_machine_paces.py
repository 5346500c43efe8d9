"""How fast the machine was in each load of a search, by the work of generator and server."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pytest_servebench.measure.capacity_plan import Capacity, Plan, ProbeOutcome, SearchSettings
from pytest_servebench.measure.capacity_search import CapacitySearch
from pytest_servebench.report.capacity_chart import capacity_panels
from pytest_servebench.report.capacity_table import notes, probe_lines
from pytest_servebench.report.captions import capacity_marks
from pytest_servebench.stats.capacity import fit
from pytest_servebench.stats.machine_paces import Work, paces
from pytest_servebench.stats.probed import OVERLOADED, Probed
from simulation.capacities import probe_cases, searched

SLOWER = (1.0, 1.2, 0.9, 1.0, 1.1, 0.85, 1.0, 1.15, 0.95)  # median 1
RATES = (90, 100, 110, 105, 95, 120, 100, 115, 98)
NOISE = (0.01, -0.01, 0.02, 0.0, -0.02, 0.01, -0.01, 0.0, 0.01)
MU, BOUND = 200.0, 0.05
CAPACITY = MU - math.log(100) / BOUND  # of M/M/1 at the median speed


def work(rate: float, slower: float, noise: float = 0.0) -> Work:
    """Return what requests cost: less at higher rates, and the server's with some noise."""
    server = 3e-3 * rate**-0.3 * slower * math.exp(noise)
    return Work(rate, 3e-4 * rate**-0.5 * slower, server, answer=100.0)


LOADS = [work(*one) for one in zip(RATES, SLOWER, NOISE, strict=True)]
OTHERS = [work(rate, 1.0) for rate in (25.0, 50.0, 200.0)]


def test_what_both_programs_show_is_the_machine() -> None:
    found = paces(LOADS, OTHERS)
    assert [math.exp(one.slower) for one in found] == pytest.approx(SLOWER, rel=0.03)
    assert all(0.005 < one.error < 0.03 for one in found)
    assert not any(one.far for one in found)


@pytest.mark.parametrize(
    "loads",
    [
        LOADS[:5],
        [replace(one, server=2e-3) for one in LOADS],
        [work(rate, 1.0, noise) for rate, noise in zip(RATES, NOISE, strict=True)],
        [replace(one, answer=100.0 * slower) for one, slower in zip(LOADS, SLOWER, strict=True)],
        [replace(one, connections=slower) for one, slower in zip(LOADS, SLOWER, strict=True)],
        [replace(one, overloaded=True) for one in LOADS],
    ],
    ids=["too few", "generator alone", "constant", "longer answers", "connections", "overloaded"],
)
def test_what_is_not_known_to_be_the_machine_changes_nothing(loads: list[Work]) -> None:
    assert paces(loads, OTHERS) == ()


def test_an_overloaded_server_does_not_pass_for_a_fast_machine() -> None:
    quick, slow = (replace(work(130.0, factor), overloaded=True) for factor in (0.7, 1.5))
    *_, fast, far = paces([*LOADS, quick, slow], OTHERS)
    assert fast.slower == 0
    assert far.slower == pytest.approx(math.log(1.5), abs=0.05)
    assert far.far


def seen(rate: float, seconds: float, slower: float) -> Probed:
    """Return the mean of what a probe of the M/M/1 queue sees, requests taken as independent."""
    share = math.exp(-max(0.0, MU / slower - rate) * BOUND)
    n = round(rate * seconds)
    return Probed(rate, seconds, n, round(n * share), 1.0, min(rate, MU / slower))


def test_counts_at_any_speed_give_the_capacity_at_the_median() -> None:
    probes = [
        replace(seen(rate, 1000, slower), pace=pace)
        for rate, slower, pace in zip(RATES, SLOWER, paces(LOADS, OTHERS), strict=True)
    ]
    curve = fit([*probes, seen(320.0, 10, 1.0)], 0.01)
    assert curve is not None
    assert curve.quantile(0.5) == pytest.approx(CAPACITY, rel=0.03)


def search(told: bool) -> tuple[Capacity, list[float]]:
    """Search on a machine whose speed jumps, of which the costs of requests tell or not."""
    looking, slowdowns, number = CapacitySearch((0.01,), SearchSettings()), [], 0
    while (plan := looking.next()) is not None:
        around = plan.stage == "estimate"
        slower = SLOWER[number % len(SLOWER)] if around else 1.0
        number += around
        slowdowns.append(slower)
        looking.add(probe(plan, slower, told))
    return looking.capacity(), slowdowns


def probe(plan: Plan, slower: float, told: bool) -> ProbeOutcome:
    one = seen(plan.rate, plan.seconds - plan.settle, slower)
    cost = replace(work(plan.rate, slower), overloaded=one.share >= OVERLOADED)
    return ProbeOutcome(plan.rest + plan.seconds + 0.5, (one,), work=cost if told else None)


def test_a_search_allows_for_the_speed_of_the_machine() -> None:
    (blind, _), (found, slowdowns) = search(told=False), search(told=True)
    assert not blind.slowdowns
    assert set(found.slowdowns) <= set(found.used)
    middle = float(np.median([slowdowns[index] for index in found.slowdowns]))
    for index, slowdown in found.slowdowns.items():
        assert slowdown == pytest.approx(slowdowns[index] / middle, rel=0.03)
    truth = MU / middle - math.log(100) / BOUND
    assert found.low is not None
    assert found.high is not None
    assert found.low < truth < found.high
    assert found.width is not None
    assert found.width < (blind.width or math.inf) / 1.5


def test_reports_tell_the_speed_of_the_machine() -> None:
    server = probe_cases()[0].server
    jumps, cases = searched(server, MU, slowdown=lambda number: 1 + 0.2 * (number % 2))
    steady, others = searched(server, MU)
    told = [probe.slowdown for probe in jumps.probes if probe.slowdown is not None]
    assert len(told) >= 6
    assert max(told) / min(told) == pytest.approx(1.2, rel=0.05)
    (note,) = notes([jumps])
    varied = max(jumps.slowdowns) / min(jumps.slowdowns) - 1
    assert f"varied by {100 * varied:.0f} % between {len(jumps.slowdowns)} probes" in note
    assert "machine slower by" in "".join(map(str, probe_lines(jumps, "Toy", 200)))
    assert notes([steady]) == []
    # Only without other speeds are the services those of one queue.
    assert jumps.expected is None
    assert steady.expected == pytest.approx(MU - math.log(100) / BOUND, rel=0.1)
    text = " ".join("".join(map(str, probe_lines(steady, "Toy", 200))).split())
    assert f"times of the probes has {steady.expected:.0f}/s" in text
    for one, probes in ((jumps, cases), (steady, others)):
        marks = capacity_marks(capacity_panels([one], probes))
        assert ("at the speed of its probe" in marks) is bool(one.slowdowns)
