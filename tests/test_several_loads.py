"""Several loads in one test, one after the other: each is a case of its own."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.commands.cli import main
from pytest_servebench.measure.case_runner import run_case
from pytest_servebench.runs.results import CaseResult
from tests.conftest import RunBench
from tests.results import saved_cases, saved_run
from tests.test_outcomes import PATIENT, RERUN, properties

SEARCH = """
import pytest

@pytest.mark.slo("p50<5s")
def test_it(model_server, poisson_load):
    cases = [
        poisson_load(model_server, duration=0.2),
        poisson_load(model_server, rate=80),
        poisson_load(model_server, rate=80, buffer_size=5),
        poisson_load(model_server, label="warm"),
        poisson_load(model_server),
        poisson_load(model_server, rate=80),
    ]
    assert [case.rate for case in cases] == [40, 80, 80, 40, 40, 80]
"""
LABELS = ["", "rate80", "rate80-buffer5", "warm", "2", "rate80-2"]
TWO = """
import pytest

@pytest.mark.slo("p50<5s")
def test_it(model_server, poisson_load):
    poisson_load(model_server)
    SECOND
"""


def two(second: str) -> str:
    return TWO.replace("SECOND", second)


def test_each_load_is_a_case_everywhere(
    run_bench: RunBench, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_bench(
        PATIENT, "--junitxml=junit.xml", "--benchmark-json=bench.json", "--servebench-page=true",
        "--servebench-markdown=report.md", test=SEARCH,
    )  # fmt: skip
    result.assert_outcomes(passed=1)
    directory, run = saved_run()
    cases = run["servebench"]["cases"]
    assert [case["label"] for case in cases] == LABELS
    assert {case["nodeid"] for case in cases} == {"test_it.py::test_it[toy-rate40-buffer10]"}
    assert cases[3]["name"] == "test_it[toy-rate40-buffer10]::warm"
    assert {(case["verdict"], case["test_outcome"]) for case in cases} == {("passed", "passed")}
    assert cases[2]["buffer_size"] == 5
    assert cases[0]["duration"] == 0.2
    assert run["servebench"]["not_measured"] == 0
    records = {case["records_file"] for case in cases}
    assert len(records) == len(LABELS)
    assert all((directory / one).is_file() for one in records)
    # pytest-benchmark has one row for a test: that of its first load.
    for data in (run, json.loads(Path("bench.json").read_text())):
        (entry,) = data["benchmarks"]
        assert entry["extra_info"]["servebench"] == cases[0]
        assert entry["stats"]["rounds"] == cases[0]["summary"]["outcomes"]["ok"]
    found = dict(properties(Path("junit.xml")))
    assert float(found["servebench.p50"]) == cases[0]["summary"]["estimates"]["p50"]["value"]
    warm = cases[3]["summary"]["estimates"]["p50"]["value"]
    assert float(found["servebench.warm.p50"]) == warm
    # Tables and page tell apart those of one rate and buffer size.
    for text in (result.stdout.str(), Path("report.md").read_text().replace("\\", "")):
        rows = re.findall(r"(buffer \d+(?:::\w+)?) +\|? *passed", text)
        assert rows == ["buffer 10", "buffer 10::warm", "buffer 10::2",
                        "buffer 5", "buffer 10", "buffer 10::2"]  # fmt: skip
    page = (directory / "report.html").read_text()
    assert "test_it::warm" in page
    capsys.readouterr()
    assert main(["show", str(directory), "--case", "::warm"]) == 0
    assert "test_it[toy-rate40-buffer10]::warm" in capsys.readouterr().out
    assert main(["compare", str(directory), str(directory), "--format=json"]) == 0
    (block,) = json.loads(capsys.readouterr().out)["comparisons"]
    compared = {case["test"] for case in block["cases"]}
    assert compared == {f"test_it.py::{case['name']}" for case in cases}


@pytest.mark.slow
def test_a_load_that_only_one_run_has_is_told(
    run_bench: RunBench, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rate in (("base", 80), ("new", 90)):
        run_bench(PATIENT, f"--servebench-save={name}", test=two(
            f"poisson_load(model_server, rate={rate})"
        )).assert_outcomes(passed=1)  # fmt: skip
    assert main(["compare", "base", "new"]) == 2
    told = capsys.readouterr().out
    assert re.search(r"::rate80 .*: only in BASE", told)
    assert re.search(r"::rate90 .*: only in NEW", told)


def test_the_test_fails_where_one_case_does_and_says_which(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = run_bench(PATIENT, test=two(
        "poisson_load(model_server, label='slow').check('p50<1us')"
    ))  # fmt: skip
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["FAILED *test_it* - Failed: slow: p50<1us*"])
    first, second = saved_cases()
    assert (first["verdict"], second["verdict"]) == ("passed", "failed")
    assert {first["test_outcome"], second["test_outcome"]} == {"failed"}
    (error,) = [line for line in result.stdout.lines if line.startswith("::error")]
    assert "::slow" in error.replace("%3A", ":")


def test_every_broken_case_is_named(run_bench: RunBench) -> None:
    result = run_bench(PATIENT, "--servebench-slo=p50<1us", test=two("poisson_load(model_server)"))
    result.assert_outcomes(failed=1)
    assert [case["verdict"] for case in saved_cases()] == ["failed", "failed"]
    for name in ("test_it[[]toy-rate40-buffer10]:", "test_it[[]toy-rate40-buffer10]::2:"):
        result.stdout.fnmatch_lines([f"*{name} 1 broken*"])


@pytest.mark.slow
def test_the_last_attempt_replaces_all_cases_of_the_one_before(run_bench: RunBench) -> None:
    test = two("""if not TRIES:
        TRIES.append(1)
        poisson_load(model_server, rate=80)
        poisson_load(model_server, rate=90).check("p50<1us")
""").replace("import pytest", "import pytest\nTRIES = []")
    result = run_bench(
        PATIENT, "--junitxml=junit.xml", "--benchmark-json=bench.json", test=test, conftest=RERUN
    )
    result.assert_outcomes(passed=1)
    directory, run = saved_run()
    (case,) = run["servebench"]["cases"]
    assert (case["label"], case["verdict"]) == ("", "passed")
    assert [f"records/{one.name}" for one in (directory / "records").iterdir()] == [
        case["records_file"]
    ]
    (entry,) = json.loads(Path("bench.json").read_text())["benchmarks"]
    assert entry["extra_info"]["servebench"] == case
    assert not [name for name, _ in properties(Path("junit.xml")) if name.count(".") > 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "end", ["raise KeyboardInterrupt", pytest.param("os._exit(9)", marks=pytest.mark.slow)]
)
def test_a_case_is_saved_before_the_next_load(run_bench: RunBench, end: str) -> None:
    conftest = f"""
import os

LOADS = []

def pytest_servebench_case_finished(config, result):
    LOADS.append(result)

def pytest_servebench_requests(item, server):
    if LOADS:
        {end}
"""
    test = two("poisson_load(model_server, rate=80)")
    run_bench(PATIENT, test=test, conftest=conftest, subprocess="_exit" in end, interrupted=True)
    (file,) = Path("servebench_results").glob("2*/run.json")
    run = json.loads(file.read_text())["servebench"]
    assert [case["label"] for case in run["cases"]] == [""]
    assert run["cases"][0]["verdict"] == "passed"
    assert [clause["clause"] for clause in run["cases"][0]["clauses"]] == ["p50<5s"]
    assert not run["finished"]


def test_what_noise_spoils_is_measured_again_in_each_load(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def noisy(case: Any, *arguments: Any) -> CaseResult:
        asked.append(case.label)
        result = run_case(case, *arguments)
        return dataclasses.replace(result, invalid_reason="noise" if len(asked) == 2 else None)

    monkeypatch.setattr("pytest_servebench.plugin.load_fixture.run_case", noisy)
    run_bench(PATIENT, test=two("poisson_load(model_server, rate=80)")).assert_outcomes(passed=1)
    assert asked == ["", "rate80", "rate80"]
    assert [len(case["attempts"]) for case in saved_cases()] == [0, 1]


@pytest.mark.slow
def test_each_case_is_held_to_its_own_of_the_baseline(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = two("poisson_load(model_server, rate=80, label='high')")
    run_bench(PATIENT, "--servebench-save=main", test=test).assert_outcomes(passed=1)
    gate = ("--servebench-baseline=main", "--servebench-max-regression=p50:50%")
    monkeypatch.setenv("TOY_DELAY", "0.02")
    result = run_bench(PATIENT, *gate, test=test)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*high: p50:50% against main: broken: *"])
    gates = [case["clauses"][-1] for case in saved_cases()]
    assert [one["clause"] for one in gates] == ["p50:50% against main"] * 2
    assert [one["value"] is not None for one in gates] == [True, True]
    result = run_bench(PATIENT, *gate, test=two("poisson_load(model_server, label='new')"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*new: p50:50% against main: no baseline:*"])


@pytest.mark.slow
def test_a_load_that_is_no_longer_sent_is_missed(run_bench: RunBench) -> None:
    test = two("poisson_load(model_server, label='high')")
    run_bench(PATIENT, "--servebench-save=main", test=test).assert_outcomes(passed=1)
    gate = ("--servebench-baseline=main", "--servebench-max-regression=p50:100000%")
    result = run_bench(PATIENT, *gate, test=two("pass"))
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*did not send test_it.py::test_it?toy-rate40-buffer10?::high*allow=unmatched*"]
    )
    allowed = "--servebench-baseline-allow=unmatched"
    run_bench(PATIENT, *gate, allowed, test=two("pass")).assert_outcomes(passed=1)


def test_an_argument_that_cannot_be_used(run_bench: RunBench) -> None:
    refused = """for arguments, words in (
        ({"rate": 0}, ["rate=0", "above 0"]),
        ({"rate": "many"}, ["rate='many'"]),
        ({"buffer_size": -1}, ["buffer_size=-1"]),
        ({"duration": 0}, ["duration=0"]),
        ({"label": "a b]"}, ["label='a b]'", "letters"]),
        ({"label": 5}, ["label=5", "letters"]),
    ):
        with pytest.raises(pytest.fail.Exception, match="^OptionError: poisson_load") as caught:
            poisson_load(model_server, **arguments)
        assert all(word in str(caught.value) for word in words)
"""
    run_bench(PATIENT, test=two(refused)).assert_outcomes(passed=1)
    assert len(saved_cases()) == 1  # the first load is kept
