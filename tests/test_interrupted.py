"""What is left of a real run that is killed or interrupted in the middle of a case: nothing."""

from __future__ import annotations

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

ROOT = Path(__file__).parent.parent
GONE_WITHIN = 5.0  # seconds


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ended in the meantime
        return ""


def ports_of(processes: list[psutil.Process]) -> set[int]:
    ports = set()
    for process in processes:
        try:
            connections = process.net_connections("tcp")
        except psutil.Error:
            continue
        ports |= {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
    return ports


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


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
            "pytest_servebench.load.generator" in command_line(child)
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
