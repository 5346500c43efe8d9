"""Capacities: judged by SLOs, compared between runs and servers, and in reports."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_servebench.analysis.capacities import comparable, contests
from pytest_servebench.analysis.comparability import differences
from pytest_servebench.analysis.compare import compare, why_unknown
from pytest_servebench.commands.cli import main
from pytest_servebench.errors import OptionError
from pytest_servebench.measure.capacity_plan import SearchSettings
from pytest_servebench.objectives.capacity import (
    capacity_limits,
    decided,
    judge_capacity,
    reason,
    stated,
)
from pytest_servebench.objectives.gates import parse_gates
from pytest_servebench.objectives.slo import parse_slo
from pytest_servebench.report.annotations import workflow_commands
from pytest_servebench.report.comparison import comparison_lines
from pytest_servebench.report.comparison_formats import as_json
from pytest_servebench.report.comparison_notes import conclusion
from pytest_servebench.report.comparison_text import Block, Compared, table
from pytest_servebench.report.markdown import markdown
from pytest_servebench.report.summary_text import summary_text
from pytest_servebench.report.terminal import report_lines
from pytest_servebench.runs.capacity import CapacityLimit
from pytest_servebench.runs.results import CapacityResult, Run
from pytest_servebench.text.tables import plain_text
from simulation import saved
from simulation.capacities import capacity, probe_cases, searched

PROBES = {
    kind: probe_cases(rates=(50.0, 104.0), kind=kind, title=title)
    for kind, title in (("torchserve", "TorchServe"), ("toy", "Toy"))
}


def run_of(*found: CapacityResult, name: str = "base") -> Run:
    probes = tuple(one for each in found for one in PROBES[each.server.kind])
    return dataclasses.replace(saved.run([], name), capacities=found, probes=probes)


def one(
    value: float | None = 300.0, low: float | None = 285.0, high: float | None = 316.0,
    kind: str = "torchserve", **changes: Any,
) -> CapacityResult:  # fmt: skip
    found = capacity(value, low, high, probes=PROBES[kind], **changes)
    return dataclasses.replace(found, reason=reason(found))


OPEN = one(300.0, None, None, state="open", needed_seconds=90.0, verdict="inconclusive")
OPEN_ENDS = one(300.0, 120.0, 400.0, state="open", needed_seconds=90.0, verdict="inconclusive")
KEPT = one(None, 40.0, None, state="open", verdict="inconclusive", limiting="")
SLOW = one(300.0, 120.0, 400.0, state="open", verdict="inconclusive")
ABOVE = one(None, 5000.0, None, state="above_range", limiting="")
BELOW = one(None, None, 1.0, state="below_range")
LIMITED = one(None, 900.0, None, state="generator_limited", generator_limit=1600.0, limiting="")
DIED = one(None, None, None, state="server_died", limiting="")


@pytest.mark.parametrize(
    ("result", "words", "bounds"),
    [
        (one(), "300/s (285 to 316)", {"285": "passed", "300": "inconclusive", "317": "failed"}),
        (OPEN, "about 300/s, open", {"10": "inconclusive"}),
        (
            OPEN_ENDS, "about 300/s, open; at least 120/s and below 400/s",
            {"9": "passed", "120": "passed", "121": "inconclusive", "401": "failed"},
        ),
        (ABOVE, "at least 5000/s", {"5000": "passed", "5001": "inconclusive"}),
        (BELOW, "below 1/s", {"0.5": "inconclusive", "2": "failed"}),
        (LIMITED, "at least 900/s, invalid above 1600/s", {"900": "passed", "901": "invalid"}),
        (DIED, "not known, as the server died", {"1": "inconclusive"}),
        (KEPT, "at least 40/s", {"40": "passed", "41": "inconclusive"}),
    ],
)  # fmt: skip
def test_a_capacity_is_judged_by_its_interval(
    result: CapacityResult, words: str, bounds: dict[str, str]
) -> None:
    assert stated(result) == words
    for bound, verdict in bounds.items():
        (found,) = judge_capacity(result, parse_slo(f"capacity>={bound}/s")).clauses
        assert found.verdict == verdict
        assert words.partition(",")[0] in found.message
        if verdict in ("inconclusive", "invalid"):
            assert (result.reason or "interval contains the bound") in found.message
        assert decided(result, float(bound)) is {"passed": True, "failed": False}.get(verdict)
    assert bool(result.reason) is (result.state != "found")


def test_limits_are_those_that_some_requests_may_break() -> None:
    found = capacity_limits(parse_slo("p99<50ms, success_rate>=99%, capacity>=9/s, p99<50ms"))
    assert [str(limit.clause) for limit in found] == ["p99<50ms", "success_rate>=99%"]
    refused = "p50<5ms success_rate>=100% mean<5ms goodput>=9/s throughput>=95% capacity>=9/s"
    for text in refused.split():
        with pytest.raises(OptionError, match="find_capacity"):
            capacity_limits(parse_slo(text))


@pytest.mark.parametrize(
    ("clause", "instead"),
    [
        ("p50<1234.567ms", "p90<1234.567ms, which is stricter"),
        ("ttfb.p50<=20ms", "ttfb.p90<=20ms, which is stricter"),
        ("success_rate>=100%", "give success_rate>=99.9%"),
        ("drop_rate<30%", "give drop_rate<1%"),
    ],
)
def test_what_is_no_limit_of_a_search_names_one_that_is(clause: str, instead: str) -> None:
    with pytest.raises(OptionError, match=re.escape(instead)):
        capacity_limits(parse_slo(clause))


# -- two runs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "verdict", "fails"),
    [
        (one(301.0, 290.0, 312.0), "same", False),
        (one(300.0, 298.0, 302.0), "same", False),
        (one(200.0, 190.0, 211.0), "worse", True),
        (one(400.0, 380.0, 421.0), "better", False),
        (one(280.0, 279.0, 281.0), "cannot tell", False),
    ],
)
def test_runs_are_compared_by_capacity(new: CapacityResult, verdict: str, fails: bool) -> None:
    base = run_of(one())
    found = compare(base, run_of(new, name="new"), parse_gates("capacity:10%,p99:10%"))
    assert not differences(base, run_of(new))
    (case,) = found.cases
    change = case.changes["capacity"]
    assert list(case.changes) == ["capacity"]
    assert (change.base, change.new) == pytest.approx((300, new.value))
    assert change.change.value == pytest.approx((new.value or 0) / 300)
    assert change.verdict == verdict
    assert found.worse is fails
    assert [len(gate.judged) for gate in found.gates] == [1, 0]
    text = table(Compared([Block(found, (), ())], every=False))
    assert "capacity" in text
    (told,) = json.loads(as_json(Compared([Block(found, (), ())], every=False)))["comparisons"]
    assert told["cases"][0]["rate"] is None
    assert ("WORSE" in text) is fails
    assert ("--servebench-capacity-budget" in text) is (verdict == "cannot tell")
    assert "--servebench-repeats" not in text


def test_the_interval_of_a_change_is_made_from_both() -> None:
    found = compare(run_of(one()), run_of(one(200.0, 180.0, 222.0)))
    change = found.cases[0].changes["capacity"].change
    low = math.hypot(math.log(200 / 180), math.log(316 / 300))
    assert math.log(change.low) == pytest.approx(math.log(200 / 300) - low)


@pytest.mark.slow
def test_false_alarms_of_a_gate_are_rare() -> None:
    dice, alarms, number = np.random.default_rng(5), 0, 400
    half = 0.06
    for a, b in dice.normal(0, half / 1.96, (number, 2)):
        sides = [
            one(300 * math.exp(x), 300 * math.exp(x - half), 300 * math.exp(x + half))
            for x in (a, b)
        ]
        found = compare(run_of(sides[0]), run_of(sides[1]), parse_gates("capacity:1%"))
        alarms += found.worse
    assert alarms <= 0.01 * number + 3 * math.sqrt(0.01 * number)


@pytest.mark.parametrize(
    ("new", "about"),
    [
        (one(workers=20), "workload"),
        (one(limits=(CapacityLimit("p99<80ms", 0.01),)), "unmatched"),
        (one(buffer_size=10), "unmatched"),
    ],
)
def test_what_differs_besides_the_server_is_told(new: CapacityResult, about: str) -> None:
    found = {difference.about for difference in differences(run_of(one()), run_of(new))}
    assert found == {about}


def open_between(low: float | None, high: float | None) -> CapacityResult:
    return dataclasses.replace(OPEN, value=200.0 if high else 300.0, low=low, high=high)


@pytest.mark.parametrize(
    ("base", "new", "status"),
    [
        (one(), BELOW, 1),
        (one(), open_between(None, 256.0), 1),  # 285 less 10 % is 256.5
        (one(), open_between(None, 257.0), 2),
        (one(), ABOVE, 0),
        (one(), LIMITED, 0),
        (one(), open_between(285.0, None), 0),  # 316 less 10 % is 284.4
        (one(), open_between(284.0, None), 2),
        (one(), OPEN, 2),
        (one(), OPEN_ENDS, 2),
        (one(), DIED, 2),
        (ABOVE, one(), 1),
        (ABOVE, ABOVE, 2),
        (BELOW, one(), 0),
        (BELOW, BELOW, 2),
    ],
)
def test_ends_decide_a_gate_where_there_is_no_interval(
    base: CapacityResult, new: CapacityResult, status: int, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    other = two(one(190.0, 178.0, 201.0, kind="toy"))[1]  # which passes
    runs = [run_of(base, other), run_of(new, other, name="new")]
    files = [str(saved.save(one, tmp_path)) for one in runs]
    assert main(["compare", *files, "--fail=capacity:10%"]) == status
    shown = capsys.readouterr().out
    assert ("WORSE, fails capacity:10%" in shown) is (status == 1)
    assert status == 2 or stated(new) in shown
    assert ("--fail=capacity:10%: undecided for test_it.py::" in shown) is (status == 2)


@pytest.mark.parametrize(
    ("base", "new", "among", "fails"),
    [
        (one(), open_between(None, 256.0), 1, True),
        (one(), open_between(None, 256.0), 40, False),
        (one(), BELOW, 40, True),
        (dataclasses.replace(ABOVE, low=300.0), one(240.0, 220.0, 262.0), 1, True),
        (dataclasses.replace(ABOVE, low=300.0), one(240.0, 220.0, 262.0), 40, False),
    ],
)
def test_gates_by_ends_share_the_level_of_the_comparison(
    base: CapacityResult, new: CapacityResult, among: int, fails: bool
) -> None:
    found = compare(run_of(base), run_of(new), parse_gates("capacity:10%"), among=among)
    assert found.worse is fails


def at_speed(factor: float, number: int = 600, **changes: Any) -> Run:
    """Return a run whose loads cost the generator ``factor`` times as much."""
    probes = probe_cases(number=number)
    found = capacity(**{"value": 300.0, "low": 285.0, "high": 316.0} | changes, probes=probes)
    slow = [
        dataclasses.replace(
            case,
            generator=dataclasses.replace(
                case.generator, cpu_seconds=factor * case.generator.cpu_seconds
            ),
        )
        for case in probes
    ]
    return dataclasses.replace(saved.run([]), capacities=(found,), probes=tuple(slow))


@pytest.mark.parametrize(
    ("factor", "new", "verdict"),
    [
        (1.0, {"value": 255.0, "low": 245.0, "high": 265.0}, "worse"),
        (1.2, {"value": 255.0, "low": 245.0, "high": 265.0}, "cannot tell"),
        (1.2, {"value": 100.0, "low": 95.0, "high": 105.0}, "worse"),
        (0.8, {"value": 300.0, "low": 285.0, "high": 316.0}, "cannot tell"),
        (1.0, {"value": None, "low": None, "high": 250.0, "state": "below_range"}, "worse"),
        (1.2, {"value": None, "low": None, "high": 250.0, "state": "below_range"}, "cannot tell"),
        (1.2, {"value": None, "low": None, "high": 150.0, "state": "below_range"}, "worse"),
        (0.8, {"value": None, "low": 330.0, "high": None, "state": "above_range"}, "cannot tell"),
    ],
)
def test_a_slower_machine_carries_less(factor: float, new: dict[str, Any], verdict: str) -> None:
    runs = at_speed(1.0), at_speed(factor, **new)
    found = compare(*runs, parse_gates("capacity:10%"))
    (case,) = found.cases
    assert case.slowdown == pytest.approx(factor)
    change = case.changes["capacity"]
    assert change.verdict == verdict
    assert found.worse is (verdict == "worse")
    text = " ".join(" ".join(map(plain_text, comparison_lines(found))).split())
    assert ("capacity may change by more" in text) is (factor != 1)
    hidden = verdict == "cannot tell" and factor > 1
    assert (f"{factor:g} times as slow in NEW" in text) is hidden
    assert ("measure both again" in text) is (verdict == "cannot tell")
    assert found.gates[0].hidden_by_machine == (found.cases if hidden else ())
    assert ("inconclusive: capacity:10%" in conclusion(found)) is (verdict == "cannot tell")
    (told,) = json.loads(as_json(Compared([Block(found, (), ())], every=False)))["comparisons"]
    assert len(told["gates"][0]["hidden_by_machine"]) == hidden
    made = told["cases"][0]["metrics"]["capacity"]["machine"]
    assert (made < 1, made == pytest.approx(1)) == (factor > 1, factor == 1)


def test_loads_that_are_too_few_to_tell_the_speed_are_said_to_be() -> None:
    found = compare(at_speed(1.0, 40), at_speed(1.5, 40))
    assert found.cases[0].slowdown is None
    text = " ".join(map(plain_text, comparison_lines(found)))
    assert "the machine's own speed" in text
    lines = comparison_lines(compare(at_speed(1.0), at_speed(1.0)))
    assert not any("own speed" in plain_text(line) for line in lines)


def test_why_a_gate_is_unknown() -> None:
    found = compare(run_of(one()), run_of(OPEN), parse_gates("capacity:10%"))
    pairs = [case.pair for case in found.cases]
    for gate, words in (("capacity:10%", "in NEW: no search"), ("p99:10%", "only capacities")):
        assert words in why_unknown(parse_gates(gate)[0], pairs)


# -- the servers of one run, and reports ----------------------------------------------------------


def two(other: CapacityResult) -> tuple[CapacityResult, ...]:
    return one(310.0, 294.0, 327.0), dataclasses.replace(
        other,
        name=other.name.replace("torchserve", "toy"),
        nodeid=other.nodeid.replace("torchserve", "toy"),
    )


def test_servers_are_compared_by_what_they_carry() -> None:
    clear = two(one(190.0, 178.0, 201.0, kind="toy"))
    (found,) = contests(clear)
    assert found.decided
    assert found.better is clear[0]
    assert found.ratio.value == pytest.approx(310 / 190)
    assert not contests(two(one(300.0, 280.0, 320.0, kind="toy")))[0].decided
    assert contests(two(dataclasses.replace(OPEN, server=clear[1].server))) == []
    run = run_of(*clear)
    shown = [
        "\n".join(plain_text(line) for line in report_lines(run)), summary_text(run), markdown(run)
    ]  # fmt: skip
    for text in shown:
        flat = " ".join(text.split())
        assert "TorchServe carries 310/s (294 to 327), Toy carries 190/s (178 to 201)" in flat
        assert "1.63 times" in flat
        assert "p99<50ms" in flat.replace("\\", "")
        assert "no SLO" not in flat
        assert "p50" not in flat  # there is no case
    assert len(comparable(run)) == 2
    assert "probe2-rate104" in shown[1]


@pytest.mark.parametrize(
    ("changes", "budget", "rates"),
    [
        ({}, "330s", "60..2000"),  # 180 s and 1.5 times 90 s; a fifth of 300/s to five times it
        ({"lowest": 100.0}, "330s", "100..2000"),
        ({"lowest": 100.0, "highest": 1000.0}, "330s", None),
        ({"value": None}, "360s", "20..600"),  # no limit was broken up to 104/s
    ],
)
def test_an_open_answer_names_a_search_that_would_close_it(
    changes: dict[str, Any], budget: str, rates: str | None
) -> None:
    text = reason(dataclasses.replace(OPEN, **changes))
    assert re.findall(r"--servebench-capacity-budget=(\S+)", text) == [budget]
    assert re.findall(r"--servebench-capacity-range=(\S+)", text) == ([rates] if rates else [])


@pytest.mark.slow
def test_an_open_answer_needs_a_load_that_is_worth_it() -> None:
    server = PROBES["toy"][0].server
    settings = SearchSettings(budget=90.0)
    found = [searched(server, 142.0, settings=settings, seed=seed)[0] for seed in range(12)]
    assert min(one.needed_seconds for one in found if one.needed_seconds) >= 10


def test_reports_say_why_there_is_no_interval() -> None:
    slow = one(slow_recovery=True, recovery_seconds=4.0)
    for found in (OPEN, SLOW, ABOVE, BELOW, LIMITED, DIED):
        text = " ".join(markdown(run_of(found)).replace("\\", "").split())
        assert found.reason in text
    (broken,) = judge_capacity(one(), parse_slo("capacity>=400/s")).clauses
    failed = one(clauses=(broken,), verdict="failed", test_outcome="failed")
    (told,) = workflow_commands([failed], {failed.nodeid: 7})
    assert told.startswith("::error file=test_it.py,line=7,title=failed")
    for text in (
        markdown(run_of(failed)),
        "\n".join(map(plain_text, report_lines(run_of(failed)))),
    ):
        flat = " ".join(text.replace("\\", "").split())
        assert "capacity>=400/s: broken: 300/s (285 to 316)" in flat
        assert "Every SLO is met" not in flat
    text = " ".join(plain_text(line) for line in report_lines(run_of(slow)))
    assert "recovers slowly" in text
    assert "4.00 s" in text


def test_a_search_without_a_request_of_the_class_says_so() -> None:
    limit = CapacityLimit("p90{rare}<50ms", 0.1)
    found = dataclasses.replace(KEPT, limits=(*KEPT.limits, limit))
    probes = tuple(
        dataclasses.replace(one, counted=(*one.counted, 0), beyond=(*one.beyond, 0))
        for one in KEPT.probes
    )
    text = reason(dataclasses.replace(found, probes=probes))
    for part in ("none of the", "p90{rare}<50ms", "leave the clause out"):
        assert part in text
    assert "--servebench-capacity" not in text  # a longer search does not help
