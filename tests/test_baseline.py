"""The gate inside pytest: cases against a saved run."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.conftest import RunBench
from tests.results import RESULTS, saved_cases

GATE = "--servebench-max-regression"


def save_baseline(run_bench: RunBench, name: str = "main", *arguments: str) -> None:
    run_bench(f"--servebench-save={name}", "--servebench-rates=80", *arguments).assert_outcomes(
        passed=1
    )


def gated(run_bench: RunBench, *arguments: str, baseline: str = "main") -> pytest.RunResult:
    return run_bench(
        f"--servebench-baseline={baseline}", "--servebench-rates=80", f"{GATE}=p50:50%", *arguments
    )


@pytest.fixture
def slow_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a server of which other programs on the machine change no more than a small part."""
    monkeypatch.setenv("TOY_DELAY", "0.05")


def test_a_slower_server_fails_its_test(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_baseline(run_bench)
    monkeypatch.setenv("TOY_DELAY", "0.1")
    result = gated(run_bench, "--junitxml=junit.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*p50:50% against main: broken: *95 % interval*", "FAILED *::test_load* - Failed: p50:*"]
    )
    # The requests of both runs were compared: the baseline's records are read.
    assert "50 % in BASE" in " ".join(result.stdout.str().split())
    suite = ET.parse("junit.xml").getroot().find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "1"
    (clause,) = saved_cases()[-1]["clauses"]
    assert clause["verdict"] == "failed"
    assert clause["clause"] == "p50:50% against main"


@pytest.mark.servers
@pytest.mark.usefixtures("slow_server")
def test_the_same_server_keeps_the_gate(run_bench: RunBench) -> None:
    save_baseline(run_bench)
    result = gated(run_bench, "--servebench-duration=1", "--servebench-baseline-allow=workload")
    result.assert_outcomes(passed=1)


@pytest.mark.servers
@pytest.mark.usefixtures("slow_server")
def test_the_latest_run_and_a_file_can_be_the_baseline(run_bench: RunBench) -> None:
    save_baseline(run_bench)
    gated(run_bench, baseline="latest").assert_outcomes(passed=1)
    file = RESULTS / "main/run.json"
    gated(run_bench, baseline=str(file)).assert_outcomes(passed=1)


@pytest.mark.servers
def test_a_name_moves_to_the_newest_run_that_was_saved_under_it(run_bench: RunBench) -> None:
    save_baseline(run_bench)
    link = RESULTS / "main"
    first = link.resolve()
    save_baseline(run_bench)
    assert link.resolve() != first
    assert first.is_dir()


def test_a_baseline_that_is_not_there_ends_before_anything_starts(run_bench: RunBench) -> None:
    result = gated(run_bench, baseline="nope")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: --servebench-baseline='nope': there is no such file*Save one by "
            "--servebench-save=nope; --servebench-on-missing-baseline=warn lets the first run pass."
        ]
    )
    assert not RESULTS.exists()


def test_two_thresholds_of_one_metric_are_refused(run_bench: RunBench) -> None:
    gates = [f"--servebench-max-regression=p99:{number}%" for number in (10, 50)]
    result = run_bench("--servebench-baseline=none", *gates)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--servebench-max-regression=p99:10%*several thresholds*"])
    result.stdout.no_fnmatch_line("*interrupted*")


@pytest.mark.parametrize(
    ("policy", "outcomes"), [("warn", {"passed": 1, "warnings": 1}), ("skip", {"skipped": 1})]
)
def test_a_first_run_without_a_baseline_is_explicit(
    run_bench: RunBench, policy: str, outcomes: dict[str, int]
) -> None:
    result = gated(run_bench, f"--servebench-on-missing-baseline={policy}", "-rs")
    result.assert_outcomes(**outcomes)
    result.stdout.fnmatch_lines(["*against main: no baseline: *--servebench-save=main*"])


def test_a_case_that_the_baseline_lacks_is_loud(run_bench: RunBench) -> None:
    save_baseline(run_bench)
    result = run_bench("--servebench-baseline=main", f"{GATE}=p50:50%", "--servebench-rates=30")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no baseline: it has no valid case*rate30*"])


@pytest.mark.servers
@pytest.mark.usefixtures("slow_server")
def test_another_workload_is_refused_unless_allowed(run_bench: RunBench) -> None:
    save_baseline(run_bench)
    other = ("--servebench-worker-threads=3",)
    result = gated(run_bench, *other)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*cannot be compared: workload: *--servebench-baseline-allow=workload*"]
    )
    gated(run_bench, *other, "--servebench-baseline-allow=workload").assert_outcomes(passed=1)


@pytest.mark.servers
@pytest.mark.usefixtures("slow_server")
def test_repeats_are_held_to_their_own_repeats(run_bench: RunBench) -> None:
    run_bench(
        "--servebench-save=main", "--servebench-rates=80", "--servebench-repeats=2"
    ).assert_outcomes(passed=2)
    gated(run_bench, "--servebench-repeats=2").assert_outcomes(passed=2)


def test_a_baseline_that_cannot_be_read_ends_before_anything_starts(run_bench: RunBench) -> None:
    Path("broken.json").write_text('{"servebench": {"cases": [')
    result = gated(run_bench, baseline="broken.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "broken.json" in result.stderr.str()
