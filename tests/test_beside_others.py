"""The plugin beside what else a session may have: other plugins, switches, fixtures, warnings."""

import sys
from pathlib import Path

import pytest

from pytest_servebench.runs.run_names import read_run
from tests.conftest import TEST_FILE, RunBench
from tests.results import RESULTS

UNIT = "\ndef test_unit():\n    pass\n"

OWN_FIXTURE = """
import pytest

@pytest.fixture
def benchmark(request):
    assert "poisson_load" not in request.fixturenames, "nobody asked for it"
    return "a user's own"
"""

# What a plugin does that takes the place of pytest-benchmark for a session.
TAKEN_PLACE = """
import pytest

def taken():
    raise RuntimeError("nobody asked for it")

@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session):
    if hasattr(pytest, "register_fixture"):  # since 9.1
        pytest.register_fixture(name="benchmark", func=taken, node=session)
    else:
        session._fixturemanager._register_fixture(name="benchmark", func=taken, nodeid="")

@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if "benchmark" in item.fixturenames]
"""


def verdicts() -> list[str]:
    return [case.verdict for case in read_run("latest").cases]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "conftest"),
    [
        (["-p", "no:benchmark", "--strict-markers"], ""),
        (["-p", "no:benchmark"], OWN_FIXTURE),
        ([], OWN_FIXTURE),
        (["--benchmark-only"], OWN_FIXTURE),
        ([], TAKEN_PLACE),
    ],
    ids=["off", "off, own fixture", "own fixture", "only benchmarks", "another plugin"],
)
def test_loads_do_without_pytest_benchmark_s_fixture(
    run_bench: RunBench, arguments: list[str], conftest: str
) -> None:
    result = run_bench(*arguments, "-W", "error", conftest=conftest)
    result.assert_outcomes(passed=1)
    assert result.stdout.str().count("cannot use pytest-benchmark's fixture") == 1
    assert verdicts() == ["passed"]


@pytest.mark.slow
@pytest.mark.parametrize("further", [(), ("-p", "pytest_benchmark.plugin")])
def test_loads_without_plugins_that_load_themselves(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch, further: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    result = run_bench(
        "-p", "pytest_servebench.plugin", *further, test=TEST_FILE + UNIT, subprocess=True
    )
    result.assert_outcomes(passed=2)
    assert verdicts() == ["passed"]
    assert ("cannot use pytest-benchmark" in result.stdout.str()) is (not further)


@pytest.mark.parametrize("arguments", [(), ("-p", "no:benchmark"), ("--benchmark-disable",)])
def test_a_user_s_own_benchmark_fixture_is_a_fixture_like_others(
    run_bench: RunBench, arguments: tuple[str, ...]
) -> None:
    test = 'def test_own(benchmark): assert benchmark == "a user\'s own"\n'
    result = run_bench(*arguments, "-W", "error", test=test, conftest=OWN_FIXTURE)
    result.assert_outcomes(passed=1)


def test_a_user_s_fixture_that_extends_pytest_benchmark_s_still_records(
    run_bench: RunBench,
) -> None:
    conftest = """
        import pytest

        @pytest.fixture
        def benchmark(benchmark):
            benchmark.group = "served"
            return benchmark
    """
    run_bench("--benchmark-json=b.json", conftest=conftest).assert_outcomes(passed=1)
    (entry,) = Path("b.json").read_text().split('"group": ')[1:]
    assert entry.startswith('"served"')


@pytest.mark.parametrize(
    ("switch", "outcomes"),
    [
        ("--benchmark-skip", {"skipped": 1, "passed": 1}),
        ("--benchmark-only", {"skipped": 1, "passed": 1}),
        ("--benchmark-disable", {"passed": 2}),
    ],
)
def test_switches_of_pytest_benchmark_hold_for_loads(
    run_bench: RunBench, switch: str, outcomes: dict[str, int]
) -> None:
    result = run_bench(switch, "-W", "error", test=TEST_FILE + UNIT)
    result.assert_outcomes(**outcomes)
    assert (RESULTS / "latest").exists() is (switch != "--benchmark-skip")
    assert switch == "--benchmark-skip" or verdicts() == ["passed"]


def test_a_test_may_use_its_benchmark_for_something_else(run_bench: RunBench) -> None:
    test = """
def test_load(model_server, poisson_load, benchmark):
    assert benchmark(lambda: 3) == 3
    poisson_load(model_server)
"""
    run_bench("--benchmark-max-time=0.01", test=test).assert_outcomes(passed=1)
    assert verdicts() == ["passed"]


# -- warnings that are errors ---------------------------------------------------------------------

KILLS = """
from tests.toy import kill

def test_1_kills(model_server, poisson_load):
    poisson_load(model_server)
    kill(model_server)

def test_2_healthy(model_server, poisson_load):
    poisson_load(model_server)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [["-W", "error"], ["-o", "filterwarnings=error"]])
def test_a_new_start_stays_a_warning_where_warnings_are_errors(
    run_bench: RunBench, how: list[str]
) -> None:
    result = run_bench(*how, test=KILLS)
    result.assert_outcomes(passed=2, warnings=1)
    result.stdout.fnmatch_lines(["*toy was restarted for this test*"])
    assert verdicts() == ["passed", "passed"]


def test_an_undecided_case_fails_in_one_sentence_where_warnings_are_errors(
    run_bench: RunBench,
) -> None:
    result = run_bench("-W", "error", "--servebench-slo=p99.9<10s", "--junitxml=j.xml")
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert "InconclusiveWarning: p99.9<10s" in text
    assert "pytest_servebench/" not in text
    assert "INTERNALERROR" not in text
    (case,) = read_run("latest").cases
    assert (case.verdict, case.test_outcome) == ("inconclusive", "failed")
    assert 'failures="1"' in Path("j.xml").read_text()


def test_a_warning_may_be_left_out(run_bench: RunBench) -> None:
    ignored = "ignore::pytest_servebench.plugin.judgement.InconclusiveWarning"
    result = run_bench("-W", "error", "-W", ignored, "--servebench-slo=p99.9<10s")
    result.assert_outcomes(passed=1, warnings=0)


@pytest.mark.slow
@pytest.mark.parametrize("load", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_nothing_is_left_open_and_nothing_warned_of(
    pytester: pytest.Pytester, run_bench: RunBench, load: bool
) -> None:
    """As ``python -X dev -W error -m pytest``: an unclosed file would be told at the end."""
    run_bench("--version")  # for the files
    pytester.makepyfile(test_it=TEST_FILE + UNIT if load else UNIT)
    result = pytester.run(
        sys.executable, "-X", "dev", "-W", "error", "-m", "pytest", "-p", "tests.toy",
        "--servebench-plots=true", "--servebench-page=true",
    )  # fmt: skip
    result.assert_outcomes(passed=1 + load)
    assert len(list(RESULTS.glob("2*/plots/*.png"))) == 8 * load  # as there are figures
    assert len(list(RESULTS.glob("2*/report.html"))) == load
    assert "could not be written" not in result.stdout.str()
    assert "Warning" not in result.stdout.str() + result.stderr.str()


# -- switches of pytest ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "switches",
    [
        "-p no:terminal --junitxml=j.xml",
        "-qq --no-header --no-summary",
        "-p no:capture -p no:logging -p no:warnings -p no:junitxml",
        "--import-mode=importlib -p no:skipping -p no:cacheprovider --capture=tee-sys",
        "-p no:benchmark -p no:terminal -p no:unittest -p no:doctest -p no:tmpdir",
    ],
)
def test_a_load_needs_none_of_pytest_s_own_plugins(run_bench: RunBench, switches: str) -> None:
    result = run_bench(*switches.split(), test=TEST_FILE + UNIT)
    assert result.ret == pytest.ExitCode.OK
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    assert verdicts() == ["passed"]


@pytest.mark.parametrize("switches", ["--setup-plan", "--collect-only", "--fixtures-per-test"])
def test_what_runs_no_test_leaves_nothing(run_bench: RunBench, switches: str) -> None:
    result = run_bench(*switches.split(), "-W", "error", test=TEST_FILE + UNIT)
    assert result.ret == pytest.ExitCode.OK
    assert not list(RESULTS.glob("*"))


@pytest.mark.servers
def test_workers_of_xdist_run_tests_that_are_no_loads(run_bench: RunBench) -> None:
    arguments = ("-n", "2", "-m", "not servebench", "--servebench-rates=ten", "-W", "error")
    result = run_bench(*arguments, test=TEST_FILE + UNIT, subprocess=True)
    result.assert_outcomes(passed=1)
