"""What is left of a run that is killed or interrupted, at any stage of it: nothing."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pytest_servebench.runs.run_names import read_run
from pytest_servebench.servers.ports import sockets_of
from tests.interrupted_suite import BEFORE_ANY_CASE, STAGES
from tests.processes import GENERATOR, command_line

ROOT = Path(__file__).parent.parent
GONE_WITHIN = 5.0  # seconds


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def ports_of(processes: list[psutil.Process]) -> set[int]:
    ports = set()
    for process in processes:
        try:
            connections = sockets_of(process, "tcp")
        except psutil.Error:
            continue
        ports |= {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
    return ports


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


SUITE = """
import os, pathlib, pytest

def test_first(model_server, poisson_load):
    poisson_load(model_server)

@pytest.mark.servebench(duration=60 if os.environ["STAGE"] == "load" else 0.3)
def test_second(model_server, poisson_load, slow_end):
    pathlib.Path("second").touch()
    poisson_load(model_server)
"""


@pytest.mark.servers
@pytest.mark.parametrize(
    ("signal_", "times", "stage"),
    [
        *itertools.product((signal.SIGKILL, signal.SIGTERM, signal.SIGINT), (1,), STAGES),
        (signal.SIGHUP, 1, "load"),
        *itertools.product((signal.SIGTERM, signal.SIGINT), (2,), ("build", "load", "saving")),
    ],
)
def test_every_stage(signal_: signal.Signals, times: int, stage: str, tmp_path: Path) -> None:
    """No process, port or file is left, and every case that had ended is in a readable run.json."""
    temporary, reached = tmp_path / "tmp", tmp_path / "reached"
    temporary.mkdir()
    (tmp_path / "test_it.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    with (tmp_path / "output").open("wb") as output:
        run = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "tests.interrupted_suite", "test_it.py",
             "--servebench-model=tests.interrupted_suite:model", "--servebench-servers=toy",
             "--servebench-rates=40", "--servebench-buffer-sizes=10", "--servebench-duration=0.3",
             "--servebench-warmup=0.1", "--servebench-max-lag=60", "--servebench-plots=false",
             "-p", "no:cacheprovider", "-p", "no:hypothesispytest"],
            cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "STAGE": stage,
                 "REACHED": str(reached), "STUBBORN": "1" if times == 2 else ""},
        )  # fmt: skip
    family: list[psutil.Process] = []
    try:
        assert wait_until(lambda: run.poll() is not None or reached.exists(), 60)
        assert run.poll() is None, (tmp_path / "output").read_text()
        family = psutil.Process(run.pid).children(recursive=True)
        ports = ports_of(family)
        assert ports or stage in ("build", "saving", "page")
        run.send_signal(signal_)
        if times == 2:
            stops = tmp_path / "reached-stop"  # at the last stages that is behind it
            wait_until(lambda: run.poll() is not None or stops.exists(), 2)
            with contextlib.suppress(ProcessLookupError):
                run.send_signal(signal_)
        run.wait(30)
        assert wait_until(lambda: not any(map(lives, family)), GONE_WITHIN), [
            command_line(process) for process in family if lives(process)
        ]
        assert wait_until(lambda: not list(temporary.iterdir()), GONE_WITHIN)
        assert all(map(is_free, ports))
        hidden = {path.name for path in tmp_path.rglob(".*")}
        assert hidden <= {".benchmarks"}  # pytest-benchmark's own
        if times == 1 and signal_ in (signal.SIGTERM, signal.SIGHUP):
            assert run.returncode == 128 + signal_
    finally:
        for process in filter(lives, family):
            process.kill()
        run.kill()
        run.wait()
    runs = [
        path for path in tmp_path.glob("servebench_results/*/run.json")
        if not path.parent.is_symlink()
    ]  # fmt: skip
    if stage in BEFORE_ANY_CASE:
        assert runs == []
        return
    found = read_run(runs[0])
    names = [case.name.partition("[")[0] for case in found.cases]
    if stage in ("load", "answers"):
        assert names == ["test_first"]
    else:
        assert names == ["test_first", "test_second"]
    if stage not in ("saving", "page"):
        assert not found.finished


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["torchserve", "tensorflow_serving"])
@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left(kind: str, signal_: signal.Signals, tmp_path: Path) -> None:
    results = tmp_path / "results"
    with (tmp_path / "output").open("wb") as output:
        run = subprocess.Popen(
            [sys.executable, "-m", "pytest", "bench_tests", f"--servebench-servers={kind}",
             "-k", "rate10 and buffer10", "--servebench-duration=60",
             f"--servebench-results={results}", "-p", "no:cacheprovider"],
            cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def generator_runs() -> bool:
        return any(
            GENERATOR in command_line(child)
            for child in psutil.Process(run.pid).children(recursive=True)
        )

    family: list[psutil.Process] = []
    try:
        assert wait_until(lambda: run.poll() is None and generator_runs(), 120)
        time.sleep(2)  # into the case
        family = psutil.Process(run.pid).children(recursive=True)
        ports = ports_of(family)
        assert ports
        if signal_ is signal.SIGINT:
            os.killpg(run.pid, signal_)  # as the terminal's Ctrl-C does
        else:
            run.send_signal(signal_)
        assert wait_until(
            lambda: not any(process.is_running() for process in family), GONE_WITHIN
        ), [command_line(process) for process in family if process.is_running()]
        assert wait_until(lambda: all(map(is_free, ports)), GONE_WITHIN)
        run.wait(30)
    finally:
        for process in family:
            if process.is_running():
                process.kill()
        run.kill()
        run.wait()
