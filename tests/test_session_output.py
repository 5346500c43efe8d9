"""What a session says around its cases: pytest-benchmark's table, empty selections, refusals."""

import re
from pathlib import Path

import pytest

from pytest_servebench.commands.cli import main
from tests.conftest import TEST_FILE, RunBench
from tests.results import RESULTS, saved_case

WIDE = ("StdDev", "IQR", "Outliers", "OPS", "Iterations")
PLAIN = "\ndef test_plain(benchmark):\n    benchmark(list)\n"


def benchmark_table(result: pytest.RunResult) -> list[str]:
    """Return the lines of pytest-benchmark's table, from the columns' names to the last row."""
    lines = result.stdout.lines
    start = next(number for number, line in enumerate(lines) if line.startswith("Name (time in"))
    end = next(number for number, line in enumerate(lines) if line.startswith("Legend:"))
    return [line for line in lines[start:end] if line.strip("- ")]


@pytest.mark.slow
def test_the_benchmark_table_of_loads_is_narrow_and_in_the_order_of_the_tests(
    run_bench: RunBench,
) -> None:
    result = run_bench(
        "--servebench-servers=toy,toy2", "--servebench-rates=100,20", "--servebench-duration=200ms"
    )
    result.assert_outcomes(passed=4)
    heading, *rows = benchmark_table(result)
    assert heading.split() == ["Name", "(time", "in", "ms)", "Median", "Max", "Rounds"]
    assert max(map(len, rows)) <= 100
    assert [row.split()[0] for row in rows] == [
        f"test_load[{server}-rate{rate}-buffer10]"
        for server in ("toy", "toy2")
        for rate in (100, 20)
    ]


def test_the_benchmark_table_has_the_same_unit_where_the_plugin_is_loaded_first(
    run_bench: RunBench,
) -> None:
    result = run_bench("-p", "servebench")
    result.assert_outcomes(passed=1)
    assert benchmark_table(result)[0].startswith("Name (time in ms)")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "further", "columns"),
    [
        (("--benchmark-columns=mean,ops",), "", {"Mean", "OPS"}),
        (("--benchmark-sort=name",), "", set(WIDE)),
        ((), PLAIN, set(WIDE)),
    ],
    ids=["columns", "sort", "other-benchmarks"],
)
def test_a_benchmark_table_that_is_not_of_loads_alone_or_asked_for_is_left_as_it_is(
    run_bench: RunBench, arguments: tuple[str, ...], further: str, columns: set[str]
) -> None:
    result = run_bench(*arguments, test=TEST_FILE + further)
    heading = benchmark_table(result)[0]
    assert columns <= set(heading.split())


@pytest.mark.parametrize(
    ("selection", "shown"),
    [
        (("-k", "rate7"), "-k 'rate7'"),
        (("-k", "rate7 and buffer10"), "-k 'rate7 and buffer10'"),
        (("-m", "servebench(rate=7)"), "-m 'servebench(rate=7)'"),
    ],
)
def test_a_rate_that_selects_nothing_says_which_there_are(
    run_bench: RunBench, selection: tuple[str, ...], shown: str
) -> None:
    result = run_bench("--servebench-rates=0.5,40,5", "--servebench-buffer-sizes=10,5", *selection)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert (
        f"servebench: {shown} selects no case; available: rates 0.5, 5, 40 (--servebench-rates), "
        "buffer sizes 5, 10 (--servebench-buffer-sizes)"
    ) in result.stdout.lines


def test_a_test_s_own_sizes_are_named_if_they_are_numbers(run_bench: RunBench) -> None:
    test = "import pytest\n\n@pytest.mark.parametrize('rate', ['slow', 7.5, 30])\n"
    result = run_bench("-k", "rate9", test=test + TEST_FILE.split("\n\n")[1])
    result.stdout.fnmatch_lines(["* rates 7.5, 30 (@pytest.mark.parametrize), *"])


def test_only_what_would_change_the_sizes_is_named(run_bench: RunBench) -> None:
    marked = TEST_FILE.replace("\n\ndef", "\n\n@pytest.mark.servebench(rates=[5])\ndef")
    test = marked + TEST_FILE.split("\n\n")[1].replace("test_load", "test_other")
    result = run_bench("-k", "rate9", "--servebench-rates=10", test=test)
    assert (
        "servebench: -k 'rate9' selects no case; available: rates 5 (@pytest.mark.servebench), "
        "10 (--servebench-rates), buffer sizes 10 (--servebench-buffer-sizes)"
    ) in result.stdout.lines


@pytest.mark.parametrize("keyword", ["nosuch", "rate40", "not rate40", "generate10"])
def test_other_selections_say_nothing_of_rates(run_bench: RunBench, keyword: str) -> None:
    result = run_bench("--servebench-rates=40,5", "--collect-only", "-k", keyword)
    result.stdout.no_fnmatch_line("*selects no case*")


@pytest.mark.servers
def test_several_processes_are_refused_once(run_bench: RunBench) -> None:
    result = run_bench("-n", "2", "--servebench-rates=40,60,80", subprocess=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [one for one in result.stderr.lines if "-n: " in one]
    assert line.startswith("ERROR: -n: ")
    assert "without -n" in line
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert "INTERNALERROR" not in result.stdout.str()
    assert not RESULTS.exists()


@pytest.mark.servers
@pytest.mark.parametrize(
    ("marker", "arguments"),
    [
        ("slo('p50<5mss')", ()),
        ("servebench(rates='x')", ("-m", "not servebench")),  # also where it is left out
    ],
)
def test_several_processes_are_told_of_wrong_markers(
    run_bench: RunBench, marker: str, arguments: tuple[str, ...]
) -> None:
    test = TEST_FILE.replace("\n\ndef", f"\n\n@pytest.mark.{marker}\ndef")
    result = run_bench("-n", "2", *arguments, test=test, subprocess=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    value = marker.partition("(")[2].strip("')").rpartition("<")[2]
    (line,) = [one for one in result.stderr.lines if value in one and one.startswith("ERROR")]
    assert f"test_it.py::test_load: @pytest.mark.{marker.partition('(')[0]}" in line
    assert "INTERNALERROR" not in result.stdout.str()


def test_a_time_has_a_unit_in_option_and_marker(run_bench: RunBench) -> None:
    test = TEST_FILE.replace("\n\ndef", "\n\n@pytest.mark.servebench(duration='250ms')\ndef")
    run_bench("--servebench-warmup=0.1s", "--servebench-max-lag=1s", test=test)
    assert saved_case()["duration"] == 0.25
    result = run_bench("--servebench-duration=10m")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --servebench-duration='10m': not a number; give seconds *(ms, s, min, h)."]
    )
    result = run_bench(test=test.replace("250ms", "250m"))
    result.stdout.fnmatch_lines(["*servebench(duration='250m'): not a number; give seconds *"])


INTERRUPTED = """
import pytest

@pytest.fixture
def interrupted(model_server):
    raise KeyboardInterrupt

def test_load(interrupted, poisson_load):
    pass
"""


def test_a_session_that_is_interrupted_before_its_first_case_leaves_no_directory(
    run_bench: RunBench,
) -> None:
    result = run_bench(test=INTERRUPTED, interrupted=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert list(RESULTS.iterdir()) == []
    result.stdout.fnmatch_lines(["servebench: interrupted before a case was measured*"])


def test_a_module_that_does_not_import_is_no_interrupt(
    run_bench: RunBench, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(test_broken="import nothing_of_this_name")
    result = run_bench(test=INTERRUPTED)
    assert result.ret == pytest.ExitCode.INTERRUPTED  # so pytest calls it
    result.stdout.no_fnmatch_line("servebench: *")


def test_what_went_wrong_is_told_without_any_case_too(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        from pytest_servebench.plugin.state import session_of

        def pytest_sessionstart(session):
            def stop_all():
                raise RuntimeError("it hangs")
            session_of(session.config).servers.stop_all = stop_all
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["servebench: a server could not be stopped: *it hangs*"])


def test_what_a_session_without_cases_leaves_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "20260101-120000" / "servers" / "toy").mkdir(parents=True)
    (tmp_path / "unrelated").mkdir()
    assert main(["list", "--results", str(tmp_path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{tmp_path}/")
    assert "no saved runs" in first
    assert re.match(rf"{re.escape(str(tmp_path))}/20260101-120000/.* no run.json", second)
