"""The plugin as its user meets it, on a toy model and a toy server."""

import json
import os
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import psutil
import pytest

from pytest_servebench.errors import OptionError
from pytest_servebench.load.records import Records
from pytest_servebench.plugin.option_reading import read_settings
from pytest_servebench.plugin.options import OPTIONS
from tests.conftest import TEST_FILE, RunBench
from tests.results import RESULTS, saved_case, saved_cases, saved_run

pytestmark = pytest.mark.usefixtures("own_process")


def collected(result: pytest.RunResult) -> list[str]:
    return re.findall(r"::test_load\[(.*)\]", result.stdout.str())


def test_ids_name_server_rate_and_buffer(run_bench: RunBench) -> None:
    result = run_bench(
        "--collect-only", "-q", "--servebench-servers=toy,toy2",
        "--servebench-rates=1,10,100,0.5", "--servebench-buffer-sizes=0,50",
    )  # fmt: skip
    ids = collected(result)
    assert len(ids) == 16
    assert "toy-rate10-buffer50" in ids
    assert "toy2-rate0.5-buffer0" in ids
    # Every case of a server comes before the first of the next: each is started once.
    assert [name.split("-")[0] for name in ids] == ["toy"] * 8 + ["toy2"] * 8


@pytest.mark.parametrize(
    ("selection", "number"),
    [
        (("-k", "rate1"), 2),
        (("-k", "rate0.5 or RATE100"), 4),
        (("-k", "rate10", "--servebench-exact-keywords=false"), 4),
        (("-m", "servebench(rate=10)"), 2),
        (("-m", "servebench(server='toy', buffer=50)"), 4),
    ],
)
def test_selection_is_exact(run_bench: RunBench, selection: tuple[str, ...], number: int) -> None:
    result = run_bench(
        "--collect-only", "-q", "--servebench-rates=1,10,100,0.5",
        "--servebench-buffer-sizes=5,50", *selection,
    )  # fmt: skip
    assert len(collected(result)) == number


def test_rewritten_keyword_is_shown(run_bench: RunBench) -> None:
    result = run_bench("--collect-only", "-k", "rate40")
    result.stdout.fnmatch_lines(["servebench: -k 'rate40' means '(rate40- or rate40])'*"])


def test_a_run_is_saved_whole(run_bench: RunBench) -> None:
    result = run_bench(
        "--servebench-slo=p50<500ms", "--benchmark-json=bench.json",
        "--servebench-duration=1",  # so long that the memory is looked at
        subprocess=True,
    )  # fmt: skip
    result.assert_outcomes(passed=1)
    directory, run = saved_run()
    (case,) = run["servebench"]["cases"]
    assert case["name"] == "test_load[toy-rate40-buffer10]"
    assert case["verdict"] == "passed"
    assert case["server"]["implementation"] == "toy 1.0"
    assert [clause["clause"] for clause in case["clauses"]] == ["p50<500ms"]
    summary = case["summary"]
    assert sum(summary["outcomes"].values()) == summary["arrivals"] > 5
    assert case["resources"]["memory_mean"] > 1e6
    assert case["server"]["rest_memory"] > 1e6
    assert case["server"]["start_seconds"] is None  # its kind starts it without the launcher
    if sys.platform == "linux":
        assert case["server"]["rest_measure"] == "pss"
        assert case["resources"]["pss_before"] > 1e6
        assert case["resources"]["pss_after"] > 1e6
    assert summary["estimates"]["cpu_per_request"]["value"] == pytest.approx(
        case["resources"]["cpu_mean"] / 100 / summary["throughput"]
    )
    records = Records.load(directory / case["records_file"])
    assert len(records) == summary["arrivals"]
    assert (directory / "metrics_summary.txt").read_text()
    assert list(directory.glob("servers/toy/*.log"))
    # The benchmark's samples are the requests' latencies.
    bench = json.loads(Path("bench.json").read_text())
    (entry,) = bench["benchmarks"]
    assert entry["stats"]["data"] == pytest.approx(records.latency()[records.ok].tolist())
    assert entry["params"] == {"model_server": "toy", "rate": 40.0, "buffer_size": 10}
    assert entry["extra_info"]["servebench"]["summary"] == summary
    assert run["benchmarks"][0]["extra_info"]["servebench"]["schema_version"] == 1


@pytest.mark.slow
def test_a_case_without_a_success_is_saved_and_tells_which_lines_its_servers_log_gained(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_FAULT", "errors")
    slos = ("--servebench-slo=success_rate>=50%", "--servebench-slo=p50<1s")
    result = run_bench("--servebench-rates=20,40", *slos, "--benchmark-json=b.json")
    result.assert_outcomes(failed=2)
    directory, run = saved_run()
    summary = run["servebench"]["cases"][0]["summary"]
    assert summary["outcomes"]["error_status"] == summary["arrivals"]
    assert summary["estimates"]["p50"]["value"] is None
    first, second = ([dict(part) for part in one["logs"]] for one in run["servebench"]["cases"])
    assert [part["file"] for part in first] == [part["file"] for part in second]
    (log,) = (directory / part["file"] for part in first)
    lines = log.read_text().splitlines()
    assert first[0]["added"] >= run["servebench"]["cases"][0]["summary"]["arrivals"] > 0
    assert second[0]["before"] >= first[0]["before"] + first[0]["added"]
    assert len(lines) >= second[0]["before"] + second[0]["added"]


def test_broken_slo_fails_with_its_message_and_is_saved(run_bench: RunBench) -> None:
    slos = ("--servebench-slo=p50<0.01ms", "--servebench-slo=success_rate>=10%")
    result = run_bench(*slos, "--benchmark-json=b.json", "--junitxml=junit.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["p50<0.01ms: broken: *", "success_rate>=10%: met: *", "FAILED * - Failed: p50<0.01ms: b*"]
    )
    case = saved_case()
    assert case["verdict"] == "failed"
    assert [clause["verdict"] for clause in case["clauses"]] == ["failed", "passed"]
    assert len(json.loads(Path("b.json").read_text())["benchmarks"]) == 1
    text = Path("junit.xml").read_text()
    assert 'name="servebench.verdict" value="failed"' in text
    assert 'failures="1"' in text


MARKED = """
import pytest

@pytest.mark.slo("p50<400ms", "drop_rate<50%")
@pytest.mark.servebench(rates=[60], buffer_sizes=[3, 4], duration=0.2)
def test_load(model_server, poisson_load):
    case = poisson_load(model_server)
    case.check("mean<400ms")
    assert case.summary.arrivals == case.result.summary.arrivals

def test_check(model_server, poisson_load):
    poisson_load(model_server).check("p50<1us")
"""


def test_marker_sets_load_and_slos(run_bench: RunBench) -> None:
    result = run_bench("--servebench-slo=p50<0.5s", test=MARKED)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["FAILED *test_check*p50<1us*"])
    for case in saved_cases()[:2]:
        assert case["rate"] == 60
        assert case["duration"] == 0.2
        clauses = [clause["clause"] for clause in case["clauses"]]
        assert set(clauses) == {"mean<400ms", "p50<400ms", "drop_rate<50%", "p50<0.5s"}


@pytest.mark.parametrize(("policy", "outcome"), [("fail", "failed"), ("skip", "skipped")])
def test_inconclusive_policy(run_bench: RunBench, policy: str, outcome: str) -> None:
    result = run_bench("--servebench-slo=p99.9<10s", f"--servebench-on-inconclusive={policy}")
    assert result.parseoutcomes()[outcome] == 1
    result.stdout.fnmatch_lines(["*inconclusive*"])


def test_hooks_see_results_and_change_the_report(run_bench: RunBench) -> None:
    result = run_bench(
        "--benchmark-json=b.json",
        conftest="""
        def pytest_servebench_case_finished(config, result):
            print("seen", result.name)

        def pytest_servebench_update_report(config, report):
            report["pipeline"] = report.get("pipeline", 0) + 1
        """,
    )
    result.assert_outcomes(passed=1)
    _, run = saved_run()
    assert run["servebench"]["pipeline"] == 1
    assert json.loads(Path("b.json").read_text())["servebench"]["pipeline"] == 1


@pytest.mark.slow
def test_wrong_answers_are_no_success(run_bench: RunBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_FAULT", "wrong")
    result = run_bench("--servebench-slo=success_rate>=50%")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*success_rate>=50%*"])


def test_server_that_dies_ends_the_case_with_its_log(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_FAULT", "dies")
    result = run_bench("--servebench-duration=60")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ServerDiedError*status 3*", "*giving up*"])


BAD_OPTIONS = [
    ("rates=0", "--servebench-rates='0'*above 0"),
    ("rates=-1", "--servebench-rates='-1'*above 0"),
    ("rates=nan", "--servebench-rates='nan'*above 0"),
    ("rates=inf", "--servebench-rates='inf'*above 0"),
    ("rates=ten", "--servebench-rates='ten'*not a number"),
    ("rates=", "--servebench-rates=''*empty"),
    ("rates=5,5.0", "--servebench-rates='5,5.0'*twice"),
    ("buffer-sizes=-1", "--servebench-buffer-sizes='-1'*0 or more"),
    ("buffer-sizes=1.5", "--servebench-buffer-sizes='1.5'*whole number"),
    ("duration=0", "--servebench-duration='0'*above 0"),
    ("worker-threads=0", "--servebench-worker-threads='0'*1 or more"),
    ("streams=0", "--servebench-streams='0'*1 or more"),
    ("priority=high", "--servebench-priority='high'*auto, realtime, normal"),
    ("server-cpus=99999", "--servebench-server-cpus='99999'*CPUs"),
    ("slo=p50<<3ms", "p50<<3ms"),
    ("slo=p50<3", "p50<3"),
    ("arrivals=often", "--servebench-arrivals='often'*give poisson, constant"),
    ("arrivals=gama:4", "unknown pattern 'gama'*gamma?*give poisson"),
    ("rates=10,x", "--servebench-rates='10,x': 'x'*not a number"),
    ("arrivals=gamma:0", "burstiness 0*give 0.01 to 100"),
    ("arrivals=trace:none.csv", "none.csv*No such file"),
    ("check-answers=-1", "--servebench-check-answers='-1'*0 or more"),
    ("repeats=0", "--servebench-repeats='0'*1 or more"),
    ("repeats=x", "--servebench-repeats='x'*1 or more"),
    ("retries=-1", "--servebench-retries='-1'*0 or more"),
    ("baseline=main max-regression=p98:10%", "there is no metric 'p98'"),
    ("baseline=main max-regression=p99", "METRIC:NUMBER%"),
    ("save=a/b", "--servebench-save='a/b'*letters, digits"),
    ("save=latest", "--servebench-save='latest'*is reserved"),
    ("baseline-allow=weather", "--servebench-baseline-allow='weather'*unmatched, machine"),
    ("on-missing-baseline=cry", "give one of warn, fail, skip"),
]


def test_bad_options_name_option_value_and_remedy(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pytester.parseconfig()
    lists = [option.name for option in OPTIONS if option.repeatable]
    for options, words in BAD_OPTIONS:
        with monkeypatch.context() as given:
            for option in options.split():
                name, _, value = option.partition("=")
                given.setattr(
                    config.option,
                    f"servebench_{name.replace('-', '_')}",
                    [value] if name in lists else value,
                )
            with pytest.raises(OptionError) as refused:
                read_settings(config)
        assert fnmatch(str(refused.value), f"*{words}*"), refused.value


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("rates=0", "--servebench-rates='0'*above 0"),
        ("servers=nosuch", "unknown server kind 'nosuch'*tensorflow_serving, *toy*rootdir"),
        ("model=nosuch_module:f", "servebench_model='nosuch_module:f'*No module"),
        ("model=tests.toy:nosuch", "no callable 'nosuch'"),
        ("model=tests.toy:broken_model", "returned str, not a ServedModel"),
        ("model=", "servebench_model=''*module:callable"),
        ("servers=torchserv", "unknown server kind 'torchserv'*'torchserve'?*Known kinds: "),
        ("max-regression=p99:10%", "--servebench-max-regression=p99:10%: *--servebench-baseline"),
        ("baseline=main", "--servebench-baseline=main: *--servebench-max-regression="),
    ],
)
def test_bad_input_ends_the_session_or_its_tests_in_a_sentence(
    run_bench: RunBench, option: str, words: str
) -> None:
    result = run_bench(f"--servebench-{option}")
    assert result.ret != 0
    text = result.stdout.str() + result.stderr.str()
    assert fnmatch(text, f"*{words}*"), text
    assert "INTERNALERROR" not in text
    assert "Traceback" not in text


def test_results_that_cannot_be_written(run_bench: RunBench) -> None:
    Path("taken").write_text("a file")
    result = run_bench("--servebench-results=taken")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--servebench-results=*taken*Give a *directory*"])


@pytest.mark.slow
def test_kind_without_an_artifact_is_skipped(run_bench: RunBench) -> None:
    result = run_bench("--servebench-servers=torchserve,toy")
    result.assert_outcomes(skipped=1, passed=1)


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ("servebench(rats=[1])", "does not take rats; it takes rates,"),
        ("servebench(rates=[0])", "(rates=[0]): give requests per second above 0"),
        ("slo('p99<50mss')", "p99 has no unit 'mss'"),
        ("slo(50)", ": (50,): give strings, such as"),
        ("slo(p99='50ms')", ": {'p99': '50ms'}: give strings, such as"),
    ],
)
def test_a_wrong_marker_is_one_usage_error_that_names_the_test(
    run_bench: RunBench, marker: str, words: str
) -> None:
    test = f"import pytest\n\n@pytest.mark.{marker}\n" + TEST_FILE.split("\n\n")[1]
    result = run_bench("--servebench-rates=40,80", test=test)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    name = marker.partition("(")[0]
    (line,) = [one for one in result.stderr.lines if "@pytest.mark." in one]
    assert line.startswith(f"ERROR: test_it.py::test_load: @pytest.mark.{name}")
    assert words in line
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert "ERROR collecting" not in result.stdout.str()
    assert not RESULTS.exists()


@pytest.mark.slow
def test_a_wrong_marker_of_a_test_that_is_not_selected_is_no_error(run_bench: RunBench) -> None:
    test = """
    import pytest

    def test_plain(): pass

    def test_good(model_server, poisson_load): poisson_load(model_server)

    @pytest.mark.servebench(rate=5)
    def test_wrong(model_server, poisson_load): poisson_load(model_server)
    """
    for chosen in (("-k", "test_plain"), ("test_it.py::test_good",)):
        run_bench(*chosen, test=test).assert_outcomes(passed=1)
    for where in ("wrong", "wrong and rate40"):
        refused = run_bench("-k", where, test=test)
        assert refused.ret == pytest.ExitCode.USAGE_ERROR
        refused.stderr.fnmatch_lines(["ERROR: test_it.py::test_wrong: *did you mean rates=?5]?"])


@pytest.mark.parametrize(
    ("fails", "warned"), [("raise RuntimeError('early')", False), ("pass", True)]
)
def test_a_test_that_fails_before_its_load_is_not_told_so_twice(
    run_bench: RunBench, fails: str, warned: bool
) -> None:
    result = run_bench(test=f"def test_load(poisson_load):\n    {fails}\n")
    result.assert_outcomes(**{"passed" if warned else "failed": 1}, warnings=int(warned))
    assert "Benchmark fixture was not used" not in result.stdout.str()
    assert ("NoLoadWarning: poisson_load" in result.stdout.str()) is warned


@pytest.mark.slow
def test_benchmark_compare_works_on_latencies(run_bench: RunBench) -> None:
    run_bench("--benchmark-autosave").assert_outcomes(passed=1)
    result = run_bench("--benchmark-compare", "--benchmark-autosave")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*(NOW)*"])


@pytest.mark.slow
def test_no_process_is_left(run_bench: RunBench, pytester: pytest.Pytester) -> None:
    test = TEST_FILE + "    print('SERVER', *model_server.pids())\n"
    result = run_bench("-s", subprocess=True, test=test)
    result.assert_outcomes(passed=1)
    (server,) = re.findall(r"SERVER (\d+)$", result.stdout.str(), re.MULTILINE)
    assert not psutil.pid_exists(int(server))
    # All that a run starts is in its directory, and no other run on this machine is.
    left = {
        process.pid: process.info["cmdline"]
        for process in psutil.process_iter(["cwd", "cmdline"])
        if process.info["cwd"] == str(pytester.path) and process.pid != os.getpid()
    }
    assert left == {}


@pytest.mark.slow
def test_kinds_that_serve_an_artifact_of_another_name(run_bench: RunBench) -> None:
    conftest = """
from tests import toy

def pytest_servebench_server_kinds(config):
    mine, lacking = toy.ToyKind("mine"), toy.ToyKind("lacking")
    mine.artifact, lacking.artifact = "toy", "onnx"
    return [mine, lacking]

def model(kinds):
    assert sorted(kinds) == ["onnx", "toy"]
    return toy.toy_model(kinds)
"""
    result = run_bench(
        "--servebench-servers=mine,lacking", "--servebench-model=conftest:model", "-rs",
        conftest=conftest,
    )  # fmt: skip
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*not packaged for lacking (artifact 'onnx'), only for toy*"])
