import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from pytest_servebench.model import ServedModel
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.process import ServerProcess

from .waiting import alive

HERE = Path(__file__).parent
INPUTS = np.array([[[0.5, 1.0], [2.0, 3.0]]], np.float32)
OUTPUTS = np.array([[6.5, 4.0]], np.float32)


def make_program(path: Path, source: str) -> Path:
    path.write_text(source)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def cpus() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0)))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


@pytest.fixture
def model(tmp_path: Path) -> ServedModel:
    """A model whose outputs are the sum and the number of its inputs."""
    version = tmp_path / "saved_model" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"")
    return ServedModel("tiny", {"tensorflow_serving": version.parent}, INPUTS, OUTPUTS)


@pytest.fixture
def fake_binary(tmp_path: Path) -> Path:
    """A program that its launcher takes for tensorflow_model_server; FAKE_TFS says how it fails."""
    source = (HERE / "fake_model_server.py").read_text()
    return make_program(tmp_path / "tensorflow_model_server", f"#!{sys.executable}\n{source}")


@pytest.fixture
def settings(cpus: tuple[int, ...]) -> ServerSettings:
    return ServerSettings(cpus=cpus, start_timeout=30, stop_grace=1.0)


@pytest.fixture
def nothing_left() -> Callable[[], None]:
    """Check that no process below this one runs which did not before the test."""
    before = set(psutil.Process().children(recursive=True))

    def check() -> None:
        left = set(psutil.Process().children(recursive=True)) - before
        assert alive(process.pid for process in left) == []

    return check


StartChild = Callable[..., ServerProcess]


@pytest.fixture
def start_child(
    tmp_path: Path, cpus: tuple[int, ...], request: pytest.FixtureRequest
) -> StartChild:
    """Start Python code under a supervisor; all are stopped at the end."""

    def start(
        code: str,
        *,
        command: list[str] | None = None,
        cpus: tuple[int, ...] = cpus,
        stop_grace: float = 0.5,
        stdout_log: Path | None = None,
        scratch: Path | None = None,
    ) -> ServerProcess:
        process = ServerProcess(
            command or [sys.executable, "-u", "-c", code],
            cpus=cpus,
            stop_grace=stop_grace,
            cwd=tmp_path,
            env=dict(os.environ),
            log=tmp_path / "child.log",
            stdout_log=stdout_log,
            scratch=scratch,
        )
        request.addfinalizer(process.stop)
        return process

    return start
