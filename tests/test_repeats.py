"""Repeats of a case, and servers that take turns."""

import dataclasses

import pytest

from pytest_servebench.analysis.evaluation import evaluate
from pytest_servebench.runs.node_ids import repeat_of
from pytest_servebench.runs.results import CaseResult
from tests.conftest import ROOT, RunBench
from tests.results import saved_run
from tests.test_evaluation import EMBEDDED, TORCHSERVE, cell


def names(result: pytest.RunResult) -> list[str]:
    return [
        line.partition("[")[2].partition("]")[0]
        for line in result.outlines
        if line.startswith("test_it.py::test_load[")
    ]


def test_repeats_are_spread_over_the_time_of_each_server(run_bench: RunBench) -> None:
    result = run_bench(
        "--collect-only", "-q", "--servebench-servers=toy,toy2", "--servebench-repeats=2",
        "--servebench-rates=10,20",
    )  # fmt: skip
    assert names(result) == [
        f"{server}-rate{rate}-buffer10-repeat{repeat}"
        for server in ("toy", "toy2")
        for repeat in (1, 2)
        for rate in (10, 20)
    ]
    guide = (ROOT / "docs" / "howto" / "repeats.md").read_text()
    assert f"[{names(result)[0].replace('toy', 'tensorflow_serving')}]" in guide


def test_interleaved_servers_take_turns_and_change_who_is_first(run_bench: RunBench) -> None:
    result = run_bench(
        "--collect-only", "-q", "--servebench-servers=toy,toy2", "--servebench-repeats=2",
        "--servebench-rates=10,20", "--servebench-interleave",
    )  # fmt: skip
    assert names(result) == [
        "toy-rate10-buffer10-repeat1", "toy2-rate10-buffer10-repeat1",
        "toy-rate20-buffer10-repeat1", "toy2-rate20-buffer10-repeat1",
        "toy2-rate10-buffer10-repeat2", "toy-rate10-buffer10-repeat2",
        "toy2-rate20-buffer10-repeat2", "toy-rate20-buffer10-repeat2",
    ]  # fmt: skip


def test_without_repeats_ids_are_as_ever(run_bench: RunBench) -> None:
    assert names(run_bench("--collect-only", "-q")) == ["toy-rate40-buffer10"]


def test_other_tests_keep_their_places(run_bench: RunBench) -> None:
    result = run_bench(
        "--collect-only", "-q", "--servebench-repeats=2", "--servebench-interleave",
        test="""
        def test_first(): pass
        def test_load(model_server, poisson_load): pass
        def test_last(): pass
        """,
    )  # fmt: skip
    lines = [line for line in result.outlines if "::" in line]
    assert lines[0].endswith("test_first")
    assert lines[-1].endswith("test_last")


@pytest.mark.servers
def test_interleaved_servers_are_started_once_and_stopped(run_bench: RunBench) -> None:
    result = run_bench(
        "--servebench-servers=toy,toy2", "--servebench-repeats=3", "--servebench-interleave",
        conftest="""
        from tests.processes import children_with
        from tests.toy import PROGRAM

        pids = {}

        def toys():
            return tuple(sorted(toy.pid for toy in children_with(str(PROGRAM))))

        def pytest_servebench_case_finished(config, result):
            pids.setdefault(result.server.kind, []).append(toys())

        def pytest_unconfigure(config):
            seen = {one for some in pids.values() for one in some[1:]}
            print("SEEN", *map(len, seen), "LEFT", len(toys()))
        """,
    )  # fmt: skip
    result.assert_outcomes(passed=6)
    assert "SEEN 2 LEFT 0" in result.stdout.str()  # both ran from the second case on
    result.stdout.fnmatch_lines(["*all running, one loaded at a time*", "*buffer 10 #3*"])
    run = saved_run()[1]["servebench"]
    assert run["interleaved"] is True
    seeds = {(case["server"]["kind"], case["seed"]) for case in run["cases"]}
    assert seeds == {(kind, seed) for kind in ("toy", "toy2") for seed in (0, 1, 2)}


# -- the evaluation of pairs ----------------------------------------------------------------------


def repeated(case: CaseResult, number: int) -> CaseResult:
    nodeid = case.nodeid.removesuffix("]") + f"-repeat{number}]"
    return dataclasses.replace(case, nodeid=nodeid)


def pairs(drift: list[float], ratio: float) -> list[CaseResult]:
    """Return two servers, the second ``ratio`` times as slow, on a machine that drifts."""
    cases = []
    for number, factor in enumerate(drift, start=1):
        cases.append(repeated(cell(EMBEDDED, 10 * factor, seed=number), number))
        cases.append(repeated(cell(TORCHSERVE, 10 * factor * ratio, seed=100 + number), number))
    return cases


def test_repeat_of() -> None:
    one = cell(EMBEDDED, 10)
    assert repeat_of(one) == 1
    assert repeat_of(repeated(one, 12)) == 12


def test_pairs_tell_a_difference_that_the_machines_drift_hides() -> None:
    cases = pairs([1.0, 1.6, 0.8, 1.3, 2.0], ratio=1.3)
    (alone,) = [point for point in evaluate(cases).points if point.metric == "p50"]
    (paired,) = [
        point for point in evaluate(cases, interleaved=True).points if point.metric == "p50"
    ]
    assert alone.winner is None
    assert paired.winner == EMBEDDED["kind"]


def test_pairs_of_equal_servers_are_a_tie() -> None:
    for point in evaluate(pairs([1.0, 1.6, 0.8, 1.3, 2.0], ratio=1.0), interleaved=True).points:
        assert point.winner is None, point


def test_two_repeats_are_no_pairs_to_judge_by() -> None:
    cases = pairs([1.0, 1.0], ratio=3.0)
    together = evaluate(cases, interleaved=True)
    assert together.points == evaluate(cases).points
