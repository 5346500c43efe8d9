"""What a suite of two cases and a search needs to stop at a stage: ``-p tests.interrupted_suite``.

At the stage called ``$STAGE`` it makes the file ``$REACHED`` and waits there for its end;
``$STUBBORN`` has its server ignore SIGTERM.
"""

import os
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from model_build.program import removed_with_us, run_program
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.tensorflow_serving import TensorFlowServingRest
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.launch import StartedServer
from pytest_servebench.servers.process import ServerProcess, scratch_directory
from tests import toy

STAGES = ("build", "start", "load", "answers", "finished", "teardown", "search", "saving", "page")
BEFORE_ANY_CASE = ("build", "start")

_SERVER = """
import os, pathlib, signal, sys
from tests import toy_server
if os.environ.get("STUBBORN"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
answer = toy_server.Handler.answer
def told(self, body):
    if pathlib.Path("second").exists():
        pathlib.Path(os.environ["REACHED"]).touch()
    answer(self, body)
if os.environ["STAGE"] == "load":
    toy_server.Handler.answer = told
toy_server.main()
"""
_BUILD = """
import pathlib, sys, tempfile, time
tempfile.mkdtemp()
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


def reach(stage: str) -> None:
    if os.environ["STAGE"] == stage:
        Path(os.environ["REACHED"]).touch()
        time.sleep(60)


def model(kinds: Collection[str]) -> ServedModel:
    if os.environ["STAGE"] == "build":
        with removed_with_us(Path.cwd(), ".entry.") as entry:
            (entry / "half").touch()
            command = [sys.executable, "-c", _BUILD, os.environ["REACHED"]]
            run_program(command, env=os.environ, scratch=scratch_directory())
    return toy.toy_model(kinds)


class Server(StartedServer):
    def stop(self) -> None:
        Path(os.environ["REACHED"] + "-stop").touch()
        super().stop()


class Kind(toy.ToyKind):
    def start(self, model: ServedModel, settings: ServerSettings, run_dir: Path) -> Any:
        scratch = scratch_directory()
        process = ServerProcess(
            [sys.executable, "-c", _SERVER], cpus=(), stop_grace=settings.stop_grace,
            cwd=Path.cwd(), env=os.environ, log=run_dir / "toy.log",
            stdout_log=run_dir / "port.log", scratch=scratch,
        )  # fmt: skip
        port = ""
        while not port:
            process.check_alive("toy")
            port = (run_dir / "port.log").read_text().strip()
            time.sleep(0.02)
        reach("start")
        url = f"http://127.0.0.1:{port}"
        return Server(self.name, "toy 1.0", url, TensorFlowServingRest("adder"), process)


def pytest_servebench_server_kinds(config: pytest.Config) -> list[toy.ToyKind]:
    return [Kind("toy")]


def pytest_servebench_check_answer(item: pytest.Item) -> None:
    if "second" in item.name:
        reach("answers")


def pytest_servebench_case_finished(result: Any) -> None:
    if result.probe:
        reach("search")
    elif "second" in result.name:
        reach("finished")


def pytest_servebench_update_report(report: dict[str, Any]) -> None:
    reach("saving")


@pytest.fixture
def slow_end() -> Iterator[None]:
    yield
    reach("teardown")


def pytest_configure() -> None:
    import pytest_servebench.report.page as page  # noqa: PLC0415

    write = page.write_page

    def slow(*arguments: Any, **named: Any) -> Path:
        reach("page")
        return write(*arguments, **named)

    page.write_page = slow
