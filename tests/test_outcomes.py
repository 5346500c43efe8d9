"""Attempts of one test, and what pytest makes of a test, which may differ from its verdict."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_servebench.plugin.conclusion import outcome_of
from tests.conftest import RunBench
from tests.results import saved_case, saved_cases, saved_run

PATIENT = "--servebench-max-lag=5000"  # what a test is made of is asked here, not the machine

# As the plugins that repeat failed tests do it: the whole protocol again, on the same item.
RERUN = """
import pytest
from _pytest.runner import runtestprotocol

class Again:
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item, nextitem):
        for attempt in (1, 2):
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            again = attempt == 1 and any(report.failed for report in reports)
            for report in reports:
                if again and report.failed:
                    report.outcome = "rerun"
                item.ihook.pytest_runtest_logreport(report=report)
            if not again:
                return True

def pytest_configure(config):
    config.pluginmanager.register(Again())
"""
FLAKY = """
import pytest

TRIES = []

@pytest.fixture
def fresh():
    TRIES.append(1)
    if len(TRIES) == {broken_setup}:
        pytest.fail("no setup today")

def test_flaky(fresh, model_server, poisson_load):
    case = poisson_load(model_server)
    if len(TRIES) == 1:
        case.check("p50<1us")
    case.check("p50<5s")

def test_beside(poisson_load):
    pytest.skip("nothing to load")
"""


def test_a_wrong_slo_of_a_check_is_shown_where_it_was_written(run_bench: RunBench) -> None:
    test = """
    import copy

    def test_load(model_server, poisson_load):
        case = poisson_load(model_server)
        assert copy.copy(case).summary == copy.deepcopy(case).result.summary
        case.check("ttfb<30ms")
        case.check("p51ms")
    """
    result = run_bench("--tb=short", test=test)
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert "SLOSyntaxError" in text
    assert re.findall(r"^(\S+\.py):\d+: in ", text, re.MULTILINE) == ["test_it.py"]


def properties(path: Path) -> list[tuple[str, str]]:
    found = ET.parse(path).iter("property")
    return [(one.attrib["name"], one.attrib["value"]) for one in found]


def test_the_last_attempt_alone_counts(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = run_bench(
        PATIENT, "--junitxml=junit.xml", "--benchmark-json=bench.json",
        test=FLAKY.format(broken_setup=0), conftest=RERUN,
    )  # fmt: skip
    result.assert_outcomes(passed=1, skipped=1)
    directory, run = saved_run()
    (case,) = run["servebench"]["cases"]
    assert (case["verdict"], case["test_outcome"]) == ("passed", "passed")
    assert run["servebench"]["not_measured"] == 1
    assert [path.name for path in (directory / "records").iterdir()] == [
        Path(case["records_file"]).name
    ]
    for data in (run, json.loads(Path("bench.json").read_text())):
        (entry,) = data["benchmarks"]
        assert entry["extra_info"]["servebench"] == case
    verdicts = [value for name, value in properties(Path("junit.xml")) if name.endswith("verdict")]
    assert verdicts == ["passed"]
    assert "::error" not in result.stdout.str()
    assert "FAILED" not in result.stdout.str()


def test_a_last_attempt_without_load_leaves_none(run_bench: RunBench) -> None:
    result = run_bench(
        PATIENT, "--junitxml=junit.xml", test=FLAKY.format(broken_setup=2), conftest=RERUN
    )
    result.assert_outcomes(errors=1, skipped=1)
    assert not list(Path("servebench_results").glob("*/run.json"))
    assert not properties(Path("junit.xml"))


FATES = """
import pytest

@pytest.mark.slo("p50<1us")
@pytest.mark.xfail(reason="known")
def test_known(model_server, poisson_load):
    poisson_load(model_server)

@pytest.mark.slo("p50<5s")
@pytest.mark.xfail(reason="known", strict=True)
def test_better_than_known(model_server, poisson_load):
    poisson_load(model_server)

@pytest.mark.slo("p50<5s")
@pytest.mark.xfail(reason="known")
def test_surprise(model_server, poisson_load):
    poisson_load(model_server)

@pytest.mark.slo("p50<1us")
def test_skips(model_server, poisson_load):
    poisson_load(model_server)
    pytest.skip("enough")

@pytest.mark.slo("p50<5s")
def test_own_assertion(model_server, poisson_load):
    poisson_load(model_server)
    assert 1 + 1 == 3

@pytest.fixture
def broken_end():
    yield
    raise RuntimeError("at the end")

@pytest.mark.slo("p50<5s")
def test_teardown(broken_end, model_server, poisson_load):
    poisson_load(model_server)

@pytest.mark.slo("p50<1us")
def test_broken(model_server, poisson_load):
    poisson_load(model_server)
"""


@pytest.mark.slow
def test_reports_follow_the_outcome_that_pytest_has(
    run_bench: RunBench, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path.parent))
    result = run_bench(
        PATIENT, "--servebench-markdown=report.md", "--servebench-page=true", test=FATES
    )
    result.assert_outcomes(xfailed=1, failed=3, xpassed=1, skipped=1, errors=1, passed=1)
    found = {
        case["name"].partition("[")[0]: (case["verdict"], case["test_outcome"])
        for case in saved_cases()
    }
    assert found == {
        "test_known": ("failed", "xfailed"),
        "test_better_than_known": ("passed", "failed"),
        "test_surprise": ("passed", "xpassed"),
        "test_skips": ("failed", "skipped"),
        "test_own_assertion": ("passed", "failed"),
        "test_teardown": ("passed", "error"),
        "test_broken": ("failed", "failed"),
    }
    text = result.stdout.str()
    words = " ".join(text.split())
    errors = re.findall(r"^::error file=(.*),line=\d+,title=(.*)%3A (\w+)\[", text, re.MULTILINE)
    name = f"{pytester.path.name}/test_it.py"
    assert sorted(errors, key=lambda one: one[2]) == [
        (name, "test failed", "test_better_than_known"),
        (name, "failed", "test_broken"),
        (name, "test failed", "test_own_assertion"),
        (name, "test failed", "test_teardown"),
    ]
    assert "::warning" not in text
    assert re.search(r"FAILED: the SLO is broken \(1 of 7 cases\)", words)
    assert re.search(r"test failed: .*\(3 of 7 cases\)", words)
    assert re.search(r"excused: ", words)
    assert Path("report.md").read_text().count("❌ **failed**") == 1
    page = next(Path("servebench_results").glob("*/report.html")).read_text()
    assert 'class="card attention excused"' in page
    assert 'class="card attention test-failed"' in page


@pytest.mark.parametrize("phase", ["setup", "teardown"])
def test_a_load_outside_the_test_s_own_code_is_judged(run_bench: RunBench, phase: str) -> None:
    test = """
    import pytest

    @pytest.fixture
    def measured(model_server, poisson_load):
        if PHASE == "setup":
            poisson_load(model_server)
        yield
        if PHASE == "teardown":
            poisson_load(model_server)

    @pytest.fixture
    def broken(measured):
        assert PHASE != "setup"

    @pytest.mark.slo("p50<1us")
    def test_it(measured, broken): pass
    """
    result = run_bench(PATIENT, test=test.replace("PHASE", repr(phase)))
    result.assert_outcomes(errors=1, passed=int(phase == "teardown"))
    case = saved_case()
    assert (case["verdict"], case["test_outcome"]) == ("failed", "error")


def report(when: str, outcome: str, **more: Any) -> Any:
    words = {word: outcome == word for word in ("passed", "failed", "skipped")}
    return SimpleNamespace(when=when, outcome=outcome, **words, **more)


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([report("setup", "passed")], None),
        ([report("setup", "failed")], "error"),
        ([report("call", "rerun")], None),
        ([report("call", "failed"), report("teardown", "failed")], "failed"),
        ([report("call", "skipped", wasxfail="known"), report("teardown", "passed")], "xfailed"),
        ([report("call", "skipped", wasxfail=""), report("teardown", "failed")], "error"),
        ([report("call", "passed", wasxfail="")], "xpassed"),
    ],
)
def test_outcome_of_reports(reports: list[Any], expected: str | None) -> None:
    outcome = None
    for one in reports:
        outcome = outcome_of(one, outcome)
    assert outcome == expected
