"""A toy model and a toy server kind, as a pytest plugin: ``-p tests.toy``.

The model adds up its inputs; what the server can be told is in :mod:`tests.toy_server`.
"""

import copy
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import pytest_benchmark.plugin

from pytest_servebench.errors import ServerDiedError, ServerStartError
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import PredictionProtocol
from pytest_servebench.protocols.tensorflow_serving import TensorFlowServingRest
from pytest_servebench.servers.base import RunningServer, ServerSettings

PROGRAM = Path(__file__).with_name("toy_server.py")


def toy_model(kinds: Collection[str]) -> ServedModel:
    inputs = np.random.default_rng(0).random((8, 3), dtype=np.float32)
    return ServedModel(
        name="adder",
        artifacts={kind: Path(__file__) for kind in ("toy", "toy2")},
        inputs=inputs,
        outputs=inputs.sum(axis=1, keepdims=True),
        weights_sha256="0" * 64,
        input_source="random numbers",
    )


def broken_model(kinds: Collection[str]) -> str:
    return "not a model"


def kill(server: RunningServer) -> None:
    """Kill a server's only process, and wait until it has ended."""
    (pid,) = server.pids()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


class ToyServer:
    def __init__(self, kind: str, process: subprocess.Popen[str], log: Path) -> None:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise ServerStartError(f"the toy server ended: {log.read_text()}")
        self.kind = kind
        self.implementation = "toy 1.0"
        self.base_url = f"http://127.0.0.1:{int(line)}"
        self.log_files: Sequence[Path] = (log,)
        self.exposed = os.environ.get("TOY_EXPOSED", "").split()
        self._process = process

    @property
    def protocol(self) -> PredictionProtocol:
        return TensorFlowServingRest("adder")

    def pids(self) -> list[int]:
        return [self._process.pid] if psutil.pid_exists(self._process.pid) else []

    def check_alive(self) -> None:
        if self._process.poll() is not None:
            raise ServerDiedError(
                f"the toy server ended with status {self._process.returncode}; its log ends:\n"
                + self.log_files[0].read_text()
            )

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class ToyKind:
    title = "Toy"
    attached = False

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self, model: ServedModel, settings: ServerSettings, run_dir: Path) -> RunningServer:
        log = run_dir / "toy.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", PROGRAM, "--until-input-ends"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        return ToyServer(self.name, process, log)


def pytest_servebench_server_kinds(config: pytest.Config) -> list[ToyKind]:
    return [ToyKind("toy"), ToyKind("toy2")]


@functools.cache
def _machine() -> dict[str, Any]:
    facts: dict[str, Any] = pytest_benchmark.plugin.pytest_benchmark_generate_machine_info()  # type: ignore[no-untyped-call]
    return facts


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any]:
    """Look at the machine once for all runs: pytest-benchmark starts several programs for it."""
    return copy.deepcopy(_machine())
