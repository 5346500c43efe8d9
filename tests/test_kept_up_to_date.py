"""A run is saved as it goes: however its session ends, the cases that had ended are there."""

import dataclasses
import errno
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pytest_servebench.commands.cli import main
from pytest_servebench.load.records import Records
from simulation import saved
from tests.conftest import RunBench
from tests.results import RESULTS, saved_case, saved_cases, saved_run
from tests.servers.waiting import gone, until
from tests.test_schema import VALIDATOR
from tests.toy import ToyServer

# The second of two cases does something else first, such as to end the session.
ENDS = """
import os, shutil, signal, pytest

def test_load(model_server, poisson_load, rate):
    if rate == 50:
        {how}
    poisson_load(model_server)
"""
ODD = """
import dataclasses, datetime, enum, math, os
from pathlib import Path
import numpy as np
import pytest
from pytest_servebench import HttpRequest

class Kind(enum.Enum):
    ONE = 1

@dataclasses.dataclass
class Prompt:
    text: str

VALUE = [{1, 2}, Kind.ONE, Prompt("x"), Path("p"), b"bytes", np.arange(2), math.nan, "\\ud800",
         datetime.date(2026, 1, 2), HttpRequest("GET", "/"), {(1, 2): math.inf}]

@pytest.mark.parametrize("value", [VALUE], ids=["解释一下" * 80])
def test_load(model_server, poisson_load, value, request, record_property):
    record_property("kind", Kind.ONE)
    load = poisson_load(model_server)

def test_other(benchmark):
    benchmark.pedantic(lambda: None)
    benchmark.extra_info["value"] = VALUE
"""
HOOK = """
import numpy as np

def pytest_servebench_update_report(config, report):
    report["cost"] = {"nan": float("nan"), "array": np.ones(2), "where": {1}}
    report["cases"][0]["commit"] = b"abc"
"""


@pytest.fixture
def run_bench(run_bench: RunBench) -> RunBench:
    """Run it as elsewhere, on a machine as busy as it may be."""
    return functools.partial(run_bench, "--servebench-max-lag=60")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGTERM); signal.pause()", 128 + signal.SIGTERM),
        pytest.param(
            "os.kill(os.getpid(), signal.SIGHUP); signal.pause()",
            128 + signal.SIGHUP,
            marks=pytest.mark.slow,
        ),
        ("raise KeyboardInterrupt", pytest.ExitCode.INTERRUPTED),
    ],
    ids=["SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"],
)
def test_an_end_in_the_second_case(
    run_bench: RunBench, how: str, status: int,
    capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    result = run_bench(
        "--servebench-rates=40,50", "--servebench-save=main", "--servebench-page=true",
        test=ENDS.format(how=how), subprocess=how.startswith("os.kill"), interrupted=True,
    )  # fmt: skip
    assert result.ret == status
    directory, run = saved_run()
    VALIDATOR.validate(run["servebench"])
    assert [case["rate"] for case in run["servebench"]["cases"]] == [40.0]
    assert (run["servebench"]["finished"], run["servebench"]["not_measured"]) == (False, 1)
    assert (directory / run["servebench"]["cases"][0]["records_file"]).is_file()
    assert not [one for one in directory.rglob("*") if one.name.startswith(".")]
    assert not (RESULTS / "main").exists()
    if status < 0:
        return
    result.stdout.fnmatch_lines(["not finished: *", "servebench: *--servebench-save=main*"])
    assert not (directory / "report.html").exists()  # it is to end at once
    assert main(["show", str(directory)]) == 0
    assert "not finished" in capsys.readouterr().out


def test_a_run_that_goes_on(run_bench: RunBench) -> None:
    """After each case; and a whole run says that it is."""
    test = """
import json
from pathlib import Path

def test_load(model_server, poisson_load, rate):
    if rate == 50:
        (path,) = Path("servebench_results").glob("2*/run.json")
        run = json.loads(path.read_text())["servebench"]
        assert [case["rate"] for case in run["cases"]] == [40.0]
        assert run["finished"] is False
    poisson_load(model_server)
"""
    run_bench("--servebench-rates=40,50", test=test).assert_outcomes(passed=2)
    _, run = saved_run()
    assert run["servebench"]["finished"] is True
    assert len(run["benchmarks"]) == len(run["servebench"]["cases"]) == 2


@pytest.mark.slow
def test_a_handler_of_the_users_stays(run_bench: RunBench) -> None:
    test = """
import os, signal

def test_load(model_server, poisson_load):
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)
    poisson_load(model_server)
    assert SEEN == [signal.SIGTERM]

from conftest import SEEN
"""
    conftest = """
import os
import signal
import subprocess
import sys
SEEN = []
signal.signal(signal.SIGTERM, lambda number, frame: SEEN.append(number))
signal.signal(signal.SIGHUP, signal.SIG_IGN)
"""
    result = run_bench(test=test, conftest=conftest, subprocess=True)
    result.assert_outcomes(passed=1)


def test_sessions_without_loads_keep_their_signals(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import signal\n"
        "def test_it(): assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL"
    )  # fmt: skip
    assert pytester.runpytest_inprocess().ret == pytest.ExitCode.OK


def test_values_that_json_does_not_have_and_a_long_id(run_bench: RunBench) -> None:
    result = run_bench(
        "--benchmark-json=bench.json", "--servebench-save=main", "--junitxml=junit.xml",
        test=ODD, conftest=HOOK,
    )  # fmt: skip
    result.assert_outcomes(passed=2)
    directory, run = saved_run()
    assert run["servebench"]["cost"] == {"nan": "nan", "array": [1.0, 1.0], "where": [1]}
    (case,) = run["servebench"]["cases"]
    assert case["commit"] == "abc"
    assert (directory / case["records_file"]).is_file()
    bench = json.loads(Path("bench.json").read_text(), parse_constant=pytest.fail)
    for report in (run, bench):
        load, other = report["benchmarks"]
        assert load["params"]["value"] == other["extra_info"]["value"]
        assert load["params"]["value"][:3] == [[1, 2], "Kind.ONE", {"text": "x"}]
    assert main(["show", str(directory)]) == 0


def test_records_that_cannot_be_written_cost_no_case(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Records, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Records, "save", full)
    result = run_bench("--servebench-slo=success_rate>1%")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["servebench: *records of test_load*No space left on device*"])
    case = saved_case()
    assert (case["records_file"], case["verdict"]) == ("", "passed")


def test_a_directory_that_is_removed_under_way(run_bench: RunBench) -> None:
    test = ENDS.format(how="shutil.rmtree('servebench_results')")
    run_bench("--servebench-rates=40,50", test=test).assert_outcomes(passed=2)
    assert [case["verdict"] for case in saved_cases()] == ["passed", "passed"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "ret", "told"),
    [
        ("case_finished(result): raise ValueError('mine')", 1, "*ValueError: mine*"),
        ("update_report(report): pytest.fail('mine')", 0, "servebench: *update_report*mine*"),
        ("update_report(report): raise Mute", 0, "servebench: *update_report*Mute*"),
        ("update_report(report): report['cases'][0]['rate'] = 'quick'", 0, "servebench: *rate*"),
    ],
    ids=["finished", "fail", "mute", "damage"],
)  # fmt: skip
def test_hooks_that_raise_cost_nothing(run_bench: RunBench, hook: str, ret: int, told: str) -> None:
    conftest = f"""
import pytest

class Mute(Exception):
    def __str__(self):
        raise RuntimeError

def pytest_servebench_{hook}
"""
    result = run_bench("--servebench-slo=success_rate>1%", conftest=conftest)
    assert result.ret == ret
    result.stdout.fnmatch_lines([told])
    directory, run = saved_run()
    (case,) = run["servebench"]["cases"]
    assert [one["verdict"] for one in case["clauses"]] == ["passed"]
    assert main(["show", str(directory)]) == 0


@pytest.mark.slow
def test_a_server_that_cannot_be_stopped_costs_nothing(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = ToyServer.stop

    def stop_and_fail(self: ToyServer) -> None:
        stop(self)
        raise OSError("it does not end")

    monkeypatch.setattr(ToyServer, "stop", stop_and_fail)
    test = """
import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_load(model_server, poisson_load, n):
    poisson_load(model_server)
    if n == 2:
        pytest.exit("enough")
"""
    result = run_bench(test=test)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["servebench: *it does not end*"])
    assert len(saved_cases()) == 2


def test_an_unfinished_run_is_not_taken_for_a_whole_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "servebench_results"
    whole = saved.queue_run("whole", number=200)
    saved.save(whole, results)
    part = dataclasses.replace(whole, name="part", finished=False, not_measured=3)
    saved.save(part, results)
    assert main(["compare", "whole", "part"]) == 2
    assert "--allow unfinished" in capsys.readouterr().out
    assert main(["compare", "whole", "part", "--allow=unfinished"]) == 0
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "part: not finished" in listed
    assert "whole: not finished" not in listed


@pytest.mark.servers
@pytest.mark.skipif(sys.platform != "linux", reason="the signal is Linux's")
def test_the_end_of_tox_ends_its_session(pytester: pytest.Pytester, run_bench: RunBench) -> None:
    """It does not end its commands where it is killed itself."""
    run_bench("--collect-only", "-q")  # writes the files
    pytester.makepyfile(
        test_it="""
import pathlib, signal

def test_first(model_server, poisson_load):
    poisson_load(model_server)

def test_second(model_server, poisson_load):
    pathlib.Path("reached").touch()
    signal.pause()
"""
    )
    tox = pytester.path / "tox"
    tox.write_text(
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'pytest', '-p', 'tests.toy', 'test_it.py',"
        " '--servebench-max-lag=60', '-p', 'no:hypothesispytest'])"
    )  # fmt: skip
    with subprocess.Popen(
        [sys.executable, tox], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
        env={**os.environ, "TOX_ENV_NAME": "bench"},
    ) as parent:  # fmt: skip
        until(lambda: parent.poll() is not None or (pytester.path / "reached").exists(), 60)
        family = [one.pid for one in psutil.Process(parent.pid).children(recursive=True)]
        parent.kill()
        parent.wait()
        gone(family, 20)
    _, run = saved_run()
    assert len(run["servebench"]["cases"]) == 1
    assert not run["servebench"]["finished"]
