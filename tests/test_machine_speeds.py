"""How the machine's speed changed between runs, and what that made of capacities and latencies."""

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytest_servebench.analysis.capacities import CapacityCase, comparable
from pytest_servebench.analysis.changes import Change, changes_of
from pytest_servebench.analysis.compare import TAIL, compare, fails
from pytest_servebench.analysis.machine_effects import Machine, effect_on, machine_text
from pytest_servebench.analysis.machine_speed import machine_of_searches
from pytest_servebench.analysis.pairs import Pair, key_of
from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.metrics import METRICS
from pytest_servebench.objectives.gates import Gate, parse_gates
from pytest_servebench.objectives.goodput import with_goodput
from pytest_servebench.objectives.slo import judge
from pytest_servebench.objectives.slo_grammar import parse_slo
from pytest_servebench.report.comparison_formats import as_json
from pytest_servebench.report.comparison_text import Block, Compared
from pytest_servebench.runs.results import Run
from pytest_servebench.stats.bootstrap import Floats
from pytest_servebench.stats.machine_paces import Work
from pytest_servebench.stats.machine_speeds import Loads, speeds
from pytest_servebench.stats.waiting import overflow, time_on_a_slower_machine, waiting
from simulation import saved
from simulation.capacities import capacity, probe_cases
from simulation.cases import case, mm1_records, records
from simulation.queues import fifo_waits, waits

LADDER = (40.0, 80.0, 160.0, 320.0)
GATE = Gate("capacity", 0.1)


def work(rate: float, slower: float) -> Work:
    """Return what requests cost on a machine that takes so many times as long: less, if many."""
    generator, server = (
        slower * cost * math.pow(rate, -power) for cost, power in ((3e-4, 0.45), (5e-3, 0.3))
    )
    return Work(rate, generator, server, answer=100.0)


def loads(middle: float, slower: float, ladder: float = 1.0) -> Loads:
    factors = (0.9, 1.0, 1.1, 1.05, 0.95, 1.2, 1.0, 1.15)
    return Loads(
        [work(middle * factor, slower) for factor in factors],
        [work(rate, ladder) for rate in LADDER],
    )


@pytest.mark.parametrize("slower", [0.7, 1.0, 1.4])
def test_loads_at_other_rates_tell_the_speed_around_the_capacity(slower: float) -> None:
    found = speeds(loads(100, 1.1, ladder=1.1), loads(180, 1.1 * slower, ladder=0.8))
    assert found is not None
    assert found.slower == pytest.approx(slower)
    assert found.saving == pytest.approx(0.3)


FULL = loads(100, 1.0)
EVERY = [*FULL.around, *FULL.others]


@pytest.mark.parametrize(
    ("new", "told"),
    [
        (Loads((), FULL.others), True),  # a search that ended on the ladder
        (Loads(FULL.around[:1]), True),
        (Loads([*FULL.around, replace(work(300.0, 9.0), overloaded=True)]), True),
        (Loads([*FULL.around, replace(work(100.0, 9.0), answer=120.0)]), True),
        (Loads(()), False),
        (Loads([replace(one, answer=120.0) for one in EVERY]), False),
        (Loads([replace(one, connections=0.5) for one in EVERY]), False),
        (Loads([replace(one, overloaded=True) for one in EVERY]), False),
    ],
)
def test_only_the_same_work_tells_it(new: Loads, told: bool) -> None:
    found = speeds(FULL, new)
    assert (found is not None) is told
    assert found is None or found.slower == pytest.approx(1)
    few = Loads(FULL.around[:2]), Loads(new.around[:2])
    assert speeds(*few) is None


def test_a_server_that_is_not_seen_is_taken_to_cost_the_same_at_any_rate() -> None:
    blind = Loads([replace(one, server=math.nan) for one in FULL.around], FULL.others)
    found = speeds(blind, FULL)
    assert found is not None
    assert found.saving == 0


# -- what it makes of a capacity ------------------------------------------------------------------

PROBES = probe_cases(rates=(50.0,))


def search(of: Loads, value: float | None, low: float, high: float, most: float) -> CapacityCase:
    run = replace(saved.run([]), capacities=(capacity(value, low, high, probes=PROBES),))
    (case,) = comparable(replace(run, probes=PROBES))
    assert isinstance(case, CapacityCase)
    return replace(case, around=tuple(of.around), others=tuple(of.others), highest=most)


@pytest.mark.parametrize("saving", [0.0, 0.15, 0.3])
def test_a_capacity_goes_with_the_machine_as_a_queue_does(saving: float) -> None:
    slower = 1.001

    def carried(slower: float) -> tuple[float, float]:
        """Return the capacity of an M/M/1 queue whose services shorten, and its saturated rate."""
        rates = np.geomspace(20, 400, 200_001)
        left = 200.0 * (rates / 100) ** saving / slower - rates
        return float(rates[left >= math.log(100) / 0.05].max()), float(rates[left >= 0].max())

    (before, most), (now, _) = carried(1.0), carried(slower)
    power = math.log(before / now) / math.log(slower)
    costs = [work(rate, 1.0) for rate in LADDER]
    seen = [replace(one, server=0.005 * one.rate**-saving) for one in costs]
    slow = [replace(one, generator=1.1 * one.generator) for one in seen]
    sides = [search(Loads(one), before, before, before, most) for one in (seen, slow)]
    machine = machine_of_searches(sides[:1], sides[1:])
    assert machine is not None
    assert machine.slower == pytest.approx(1.1)
    assert machine.made == pytest.approx(1.1**-power, rel=0.01)


@pytest.mark.parametrize(("value", "power"), [(None, 1.0), (1.0, 4.0), (300.0, 1.0)])
def test_the_power_has_bounds(value: float | None, power: float) -> None:
    sides = [search(loads(100, slower, slower), value, 1.0, 400.0, 200.0) for slower in (1, 1.1)]
    blind = [replace(one, around=tuple(replace(w, server=math.nan) for w in one.around))
             for one in sides]  # fmt: skip
    machine = machine_of_searches(blind[:1], blind[1:])
    assert machine is not None
    assert machine.made == pytest.approx(1.1**-power)


# -- searches on a virtual machine whose speed changed, of two servers that did not ---------------

SEARCHES = json.loads((Path(__file__).parent / "data" / "searches.json").read_text())
"""Three of each; of each load the rate, µs of generator and server a request, whether overloaded.

They were made within half an hour; TensorFlow Serving carried 478, 854 and 550/s.
"""


def recorded(one: Mapping[str, Any]) -> CapacityCase:
    around, others = (
        [Work(rate, 1e-6 * generator, 1e-6 * server, overloaded=over)
         for rate, generator, server, over in one[part]]
        for part in ("around", "others")
    )  # fmt: skip
    value, low, high = one["capacity"]
    return search(Loads(around, others), value, low, high, one["highest"])


def change(base: CapacityCase, new: CapacityCase) -> tuple[Change, Machine]:
    machine = machine_of_searches([base], [new])
    assert machine is not None
    pair = Pair(key_of(base), (base,), (new,))
    return changes_of(pair, {}, {"capacity": 0.1}, TAIL, machine)["capacity"], machine


def scaled(one: CapacityCase, slower: float) -> CapacityCase:
    """Return a search of the same server made slower, on the same machine."""
    value, low, high = ((end or 0.0) / slower for end in (one.value, *one.ends))
    around, others = (
        [replace(w, rate=w.rate / slower, generator=w.generator * slower**0.45,
                 server=w.server * slower) for w in works]
        for works in (one.around, one.others)
    )  # fmt: skip
    return search(Loads(around, others), value, low, high, one.highest / slower)


@pytest.mark.parametrize("kind", SEARCHES)
def test_another_speed_of_the_machine_is_no_other_server(kind: str) -> None:
    cases = [recorded(one) for one in SEARCHES[kind]]
    alarms = 0
    for base, new in itertools.permutations(cases, 2):
        found, machine = change(base, new)
        assert found.verdict in ("cannot tell", "same")
        assert not fails(GATE, found)
        assert found.at_one_speed is not None
        alarms += fails(GATE, found.at_one_speed)
        if fails(GATE, found.at_one_speed):
            assert f"{machine.slower:.3g} times as slow in NEW" in found.reason
    assert alarms == (2 if kind == "tensorflow_serving" else 0)


@pytest.mark.parametrize("number", [0, 1])
def test_a_slower_server_on_the_same_machine_is_still_found(number: int) -> None:
    base = recorded(SEARCHES["tensorflow_serving"][number])
    found, machine = change(base, scaled(base, 1.6))
    assert machine.slower == pytest.approx(1, abs=0.05)
    assert found.verdict == "worse"
    assert fails(GATE, found)


# -- what it makes of latencies -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("servers", "load", "share", "busy"),
    [
        (1, 0.3, 0.3, 0.3),
        (1, 0.8, 0.8, 0.8),
        (4, 0.3, 0.05, 0.7),  # the slots were hardly ever all busy
        (40, 0.8, 0.18, 0.85),
    ],
)
def test_the_share_of_waiting_is_the_utilization_of_one_slot_and_less_of_many(
    servers: int, load: float, share: float, busy: float
) -> None:
    dice = np.random.default_rng(1)
    arrived = np.cumsum(dice.exponential(1 / (load * servers), 20_000))
    services = dice.exponential(1.0, len(arrived))
    took = fifo_waits(arrived, services, servers, len(arrived)) + services
    mixed = dice.permutation(len(arrived))
    failed = np.arange(len(arrived)) % 50 == 0
    found = waiting(records(arrived[mixed], took[mixed], arrived[-1], failed))
    assert found.share == pytest.approx(share, abs=0.05)
    assert found.busy == pytest.approx(busy, abs=0.05)


def test_nothing_to_wait_for() -> None:
    for took in ([], [1.0], [0.0, 0.0]):
        rows = records(np.arange(len(took), dtype=np.float64), np.array(took), 1.0)
        assert waiting(rows).share == 0
    assert waiting(replace(rows, outcome=rows.outcome + Outcome.DROPPED)).busy == 0


@settings(max_examples=30)
@given(load=st.floats(0, 0.98), slower=st.floats(0.3, 3))
def test_a_slower_machine_lengthens_the_queue(load: float, slower: float) -> None:
    assume(slower * load < 0.99)
    exact = (1 - load) / (1 / slower - load)  # of M/M/1, services of 1
    faster = load if slower > 1 else slower * load
    assert time_on_a_slower_machine(faster, slower) == pytest.approx(exact)


def queue_of(arrived: Floats, served: Floats, places: int, slots: int = 1) -> Records:
    """Return the records of a queue that drops what finds it full."""
    waited = fifo_waits(arrived, served, slots, places)
    lost = np.isnan(waited)
    took = np.where(lost, 1e-6, waited + served)
    return records(arrived, took, arrived[-1], lost, Outcome.DROPPED)


def test_a_queue_that_never_ends() -> None:
    assert time_on_a_slower_machine(0.8, 1.3) == math.inf
    assert time_on_a_slower_machine(0.8, 1 / 1.3) == 0


@pytest.mark.parametrize(("load", "most"), [(0.9, 8.0), (1.2, 1.5), (3.0, 1.3)])
def test_a_full_queue_does_not_grow(load: float, most: float) -> None:
    places, slower = 50, 1.2

    def run(slower: float) -> Records:
        dice = np.random.default_rng(1)
        arrived = np.cumsum(dice.exponential(1 / load, 4000))
        return queue_of(arrived, dice.exponential(slower, len(arrived)), places)

    found, runs = waiting(run(1.0)), (run(1.0), run(slower))
    means = [float(rows.latency()[rows.ok].mean()) for rows in runs]
    made = time_on_a_slower_machine(found.share, slower, places / found.found)
    assert means[1] / means[0] < 1.05 * made
    assert made < most
    answered = [rows.ok.mean() for rows in runs]
    assert overflow(slower * found.busy, places - found.found) > 0.9 * (1 - answered[1])


@pytest.mark.parametrize(
    ("machine", "server", "verdict"),
    [
        (1.1, 1.0, "cannot tell"),
        (1.0, 1.1, "worse"),
        (1.02, 1.15, "worse"),
        (1.5, 1.0, "cannot tell"),
    ],
)
def test_a_queue_on_a_slower_machine_is_no_slower_server(
    machine: float, server: float, verdict: str
) -> None:
    def run(machine: float, service_rate: float) -> Run:
        rows = mm1_records(150.0, service_rate, 5000, seed=1)
        made = case(rows, 150.0)
        generator = replace(made.generator, cpu_seconds=machine * made.generator.cpu_seconds)
        return saved.run([replace(made, generator=generator, records=rows, buffer_size=10_000)])

    gate = Gate("p50", 0.05)
    compared = compare(run(1.0, 200.0), run(machine, 200.0 / machine / server), [gate])
    (found,) = compared.cases
    change = found.changes["p50"]
    assert change.verdict == verdict
    assert fails(gate, change) is (verdict == "worse")
    if verdict != "worse":
        assert f"{machine:.3g} times as slow in NEW" in change.reason
    told = json.loads(as_json(Compared([Block(compared, (), ())], every=True)))
    made = told["comparisons"][0]["cases"][0]["metrics"]["p50"]["machine"]
    assert made == pytest.approx(change.machine.made)
    assert found.changes["cpu_per_request"].machine.made == pytest.approx(machine)


GATES = parse_gates("success_rate:1%,drop_rate:1%,throughput:5%,goodput:5%,p50:5%")


@pytest.mark.parametrize(
    ("load", "machine", "server", "worse"),
    [
        (0.85, 1.35, 1.0, False),
        (0.85, 1 / 1.2, 1.2, False),  # as slow as before, on a faster machine
        (0.85, 1.02, 1.5, True),
        (0.3, 1.1, 3.8, True),
    ],
)
def test_what_a_slower_machine_drops_is_not_the_servers(
    load: float, machine: float, server: float, worse: bool
) -> None:
    """Of 60 places, 50 are in the buffer."""

    def run(machine: float, server: float) -> Run:
        dice = np.random.default_rng(1)
        arrived = np.cumsum(dice.exponential(0.005 / load, 3000))
        served = 0.005 * machine * server * dice.exponential(1.0, len(arrived))
        rows = queue_of(arrived, served, places=60)
        made = case(rows, load / 0.005)
        sent = int((rows.outcome != Outcome.DROPPED).sum())
        generator = replace(made.generator, cpu_seconds=1e-4 * machine * sent,
                            received_bytes=100 * int(rows.ok.sum()))  # fmt: skip
        clauses = judge(parse_slo("p99<200ms"), made)
        judged = replace(made, generator=generator, records=rows, clauses=clauses)
        return saved.run([with_goodput(judged, (), math.inf)])

    (found,) = (compared := compare(run(1.0, 1.0), run(machine, server), GATES)).cases
    assert found.slowdown == pytest.approx(machine)
    assert all(result.verdict == ("failed" if worse else "inconclusive")
               for result in compared.gates)  # fmt: skip
    if not worse:
        assert all(result.hidden_by_machine for result in compared.gates) == (machine > 1)
        assert "pp" in found.changes["drop_rate"].reason
        assert (found.changes["drop_rate"].by_machine > 0) == (machine > 1)
    assert found.changes["error_rate"].by_machine == 0


@pytest.mark.parametrize(
    ("slower", "slow", "fast", "said"),
    [
        (1.2, math.inf, 0.01, "1.2 times as slow in NEW, which may explain any change, as it was"),
        (1 / 1.2, math.inf, 0.01, "1.2 times as fast in NEW, which may explain any change, as it"),
        # A goodput, which all requests miss on the slower machine, though it keeps up.
        (1.2, 0.0, 1.0, "1.2 times as slow in NEW, which may explain -100 %"),
        (1 / 1.2, 0.0, 1.0, "1.2 times as fast in NEW, which may explain any change"),
    ],
)
def test_what_the_machine_may_explain(slower: float, slow: float, fast: float, said: str) -> None:
    text = machine_text(Machine(slower, slower).with_effect(slow=slow, fast=fast))
    assert said in text
    assert ("overloaded" in text) == math.isinf(slow)


def test_of_a_class_without_requests_the_machine_changes_no_share() -> None:
    rows = records(np.array([]), np.array([]), 1.0)
    pair = Pair(key_of(saved.case()), (saved.case(),), (saved.case(),))
    assert effect_on(METRICS["success_rate"], Machine(1.2, 1.2), pair, [rows]).steady


@pytest.mark.parametrize("machine", [1.2, 1 / 1.2])
def test_a_percentile_may_jump_from_those_that_did_not_wait_to_those_that_did(
    machine: float,
) -> None:
    """Half of the requests find an idle server, on which most take 1 ms and the others 20 ms."""

    def run(machine: float) -> Run:
        dice = np.random.default_rng(1)
        arrived = np.cumsum(dice.exponential(0.0096, 5000))
        served = np.where(dice.random(5000) < 0.2, 0.020, 0.001) * dice.lognormal(0, 0.2, 5000)
        rows = records(arrived, waits(arrived, machine * served) + machine * served, arrived[-1])
        made = case(rows, 104.0)
        generator = replace(made.generator, cpu_seconds=machine * made.generator.cpu_seconds)
        return saved.run([replace(made, generator=generator, records=rows)])

    (found,) = compare(run(1.0), run(machine), [Gate("p50", 0.05)]).cases
    p50, p99 = (found.changes[name] for name in ("p50", "p99"))
    assert max(p50.change.value, 1 / p50.change.value) > 1.9
    assert p50.machine.made == pytest.approx(p50.change.value, rel=0.2)
    assert p99.machine.made == pytest.approx(p99.change.value, rel=0.15)
    assert p50.verdict == p99.verdict == "cannot tell"
