"""The kit for kinds of server: a kind of a user's own keeps every promise of ours."""

import dataclasses
import json
import os
import re
import sys
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from pytest_servebench.errors import ServerDiedError, ServerStartError, ServerUnavailableError
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.tensorflow_serving import TensorFlowServingRest
from pytest_servebench.servers import kit
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.readiness import Place, Readiness

from .waiting import until

# Answers what it is told in turn, first to GET and then to POST; the last one for good.
SERVER = """
import http.server, json, os, sys, time
port, plan = int(sys.argv[1]), json.loads(sys.argv[2])

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        length = int(self.headers.get("Content-Length", 0))
        self.rfile.read(length)
        turns = plan[self.command]
        status = turns.pop(0) if len(turns) > 1 else turns[0]
        print(self.command, self.path, status, file=sys.stderr)
        body = b'{"predictions": [[6.5, 4.0]]}' if status == 200 else b"not yet"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET

    def log_message(self, *_):
        pass

print(json.dumps({"prefix": sys.prefix, "cwd": os.getcwd(), "environ": dict(os.environ)}),
      file=open("told", "w"))
time.sleep(plan.get("sleeps", 0))
for word in plan.get("says", []):
    print(word, file=sys.stderr)
place = plan.get("host", "127.0.0.1"), plan.get("port", port)
http.server.ThreadingHTTPServer(place, Handler).serve_forever()
"""


@dataclass(frozen=True)
class Kind:
    """Runs SERVER with a plan of answers."""

    plan: dict[str, Any]
    python: Path | None = None
    ready: str = "/ready"
    prepares: float = 0
    name = "mine"
    title = "Mine"
    attached = False

    def start(
        self, model: ServedModel, settings: ServerSettings, run_dir: Path
    ) -> kit.StartedServer:
        python = kit.Interpreter(self.python)

        def command(place: Place) -> list[str | Path]:
            time.sleep(self.prepares)
            return [python.path, "-c", SERVER, str(place.port), json.dumps(self.plan)]

        program = kit.Program(
            implementation="mine 1.0",
            command=command,
            protocol=TensorFlowServingRest("m"),
            ready=self.ready,
            environment=python.environment,
            fatal=[
                kit.FatalLine(re.compile("no GPU"), "it has no GPU; use another machine"),
                kit.FatalLine(re.compile("worker died"), "its worker died"),
            ],
        )  # fmt: skip
        return kit.launch(self, program, model, settings, run_dir)


@pytest.fixture
def started(
    model: ServedModel, settings: ServerSettings, run_dir: Path, request: pytest.FixtureRequest
) -> Any:
    def start(kind: Kind, **changes: Any) -> kit.StartedServer:
        server = kind.start(model, dataclasses.replace(settings, **changes), run_dir)
        request.addfinalizer(server.stop)
        return server

    return start


def log_of(server: kit.StartedServer) -> list[str]:
    return server.log_files[0].read_text().splitlines()


def test_loading_is_waited_for(started: Any) -> None:
    server = started(Kind({"GET": [503, 400, 204], "POST": [400, 503, 200]}))
    assert log_of(server) == [
        "GET /ready 503", "GET /ready 400", "GET /ready 204",
        *(f"POST /v1/models/m:predict {status}" for status in (400, 503, 200)),
    ]  # fmt: skip
    assert server.mismatch == ""


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "known"), [("[[6.5, 4.0]]", True), ("[[1.0, 4.0]]", False)])
def test_its_start_takes_from_the_spawn_to_the_first_right_answer(
    started: Any, monkeypatch: pytest.MonkeyPatch, answer: str, known: bool
) -> None:
    monkeypatch.setattr(f"{__name__}.SERVER", SERVER.replace("[[6.5, 4.0]]", answer))
    before = time.monotonic()
    server = started(Kind({"GET": [204], "POST": [503, 200], "sleeps": 0.2}, prepares=0.3))
    took = time.monotonic() - before
    if known:
        assert 0.2 <= server.start_seconds <= took - 0.3
    else:
        assert server.start_seconds is None


@pytest.mark.slow
@pytest.mark.parametrize("plan", [{"GET": [503], "POST": [200]}, {"GET": [200], "POST": [400]}])
def test_loading_is_waited_for_as_long_as_the_option_says(
    started: Any, plan: dict[str, list[int]], nothing_left: Callable[[], None]
) -> None:
    with pytest.raises(ServerStartError) as caught:
        started(Kind(plan), start_timeout=1.5)
    nothing_left()
    message = str(caught.value)
    last = next(status for turns in plan.values() for status in turns if status != 200)
    for fact in ("mine 1.0", "--servebench-start-timeout=1.5", f"status {last}", "not yet"):
        assert fact in message


def test_an_attempt_that_the_deadline_cuts_short_hides_no_answer(tmp_path: Path) -> None:
    seen = iter(["status 503", "status 503", "no complete answer"])

    def attempt(left: float) -> tuple[bool, str]:
        answer = next(seen)
        if answer == "no complete answer":
            time.sleep(left)
        return False, answer

    process = SimpleNamespace(
        command=(), log_files=(), ending=lambda: None, log_tail=lambda: "", places=list
    )
    waiting = Readiness("mine", process, Place((1,), tmp_path, tmp_path), 0.5)  # type: ignore[arg-type]
    with pytest.raises(ServerStartError, match="status 503; then: no complete answer"):
        waiting.wait_for("it", attempt)


def test_a_path_that_is_not_there_is_told_at_once(started: Any) -> None:
    with pytest.raises(ServerStartError, match=r"GET /ready with status 404.*readiness path"):
        started(Kind({"GET": [404], "POST": [200]}))


def test_a_prediction_at_a_path_that_is_not_there(started: Any) -> None:
    """A kind that has no option for the model's name is not told to set it."""
    with pytest.raises(ServerStartError, match=r"path does not exist.*status 404") as caught:
        started(Kind({"GET": [200], "POST": [404]}))
    assert "sets another name" not in str(caught.value)


@pytest.mark.slow
def test_the_cause_may_be_logged_after_its_effect(started: Any) -> None:
    with pytest.raises(ServerStartError, match="no GPU; use another machine"):
        started(Kind({"GET": [503], "POST": [200], "says": ["worker died", "no GPU here"]}))


def test_a_fatal_line_ends_the_waiting(started: Any) -> None:
    with pytest.raises(ServerStartError, match=r"use another machine.*'error: no GPU found'"):
        started(Kind({"GET": [503], "POST": [200], "says": ["error: no GPU found"]}))


def test_a_death_is_told_with_the_logs_end(started: Any) -> None:
    server = started(Kind({"GET": [200], "POST": [200], "says": ["about to compute"]}))
    os.kill(server.process.pid, 9)
    until(server.process.ending)
    with pytest.raises(ServerDiedError) as caught:
        server.check_alive()
    assert "mine 1.0 ended: killed by SIGKILL" in str(caught.value)
    assert "| about to compute" in str(caught.value)


def test_an_interpreter_of_its_own(
    started: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its packages are those of its own environment, whatever leads to this one's."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SERVEBENCH_TORCHSERVE_TOKEN", "secret")
    python = Path("env", "bin", "python")
    server = started(Kind({"GET": [200], "POST": [200]}, python=python), threads=3)
    process = psutil.Process(server.process.pid)
    told = json.loads((Path(process.cwd()) / "told").read_text())
    assert told["prefix"] == str(tmp_path / "env")
    environ = told["environ"]
    assert not {"PYTHONPATH", "VIRTUAL_ENV", "SERVEBENCH_TORCHSERVE_TOKEN"} & set(environ)
    assert environ["OMP_NUM_THREADS"] == "3"
    assert environ["TMPDIR"] == told["cwd"] == process.cwd()
    scratch = Path(told["cwd"])
    server.stop()
    assert not scratch.exists()

    with pytest.raises(ServerUnavailableError, match=r"numpy is not installed for .*env/bin/pyth"):
        kit.Interpreter(python).version("numpy")


def test_the_version_of_a_package() -> None:
    assert kit.Interpreter().version("numpy") == np.__version__
    assert kit.Interpreter(sys.executable).version("numpy") == np.__version__


@pytest.mark.parametrize("path", ["nowhere/bin/python", "."])
def test_an_interpreter_that_is_not_there(path: str) -> None:
    with pytest.raises(ServerUnavailableError, match=r"no Python at /.*envs/x/bin/python"):
        kit.Interpreter(path)
    with pytest.raises(ServerUnavailableError, match=r"adder\.python: there is no Python"):
        kit.Interpreter(path, option="adder.python")


def test_attaches_as_our_own_kinds_do(
    started: Any, model: ServedModel, settings: ServerSettings
) -> None:
    kind = Kind({"GET": [200], "POST": [200]})
    server = started(kind)
    attached = kit.attach(kind, server.base_url, server.protocol, model, settings)
    assert (attached.kind, attached.mismatch) == ("mine", "")
    assert attached.implementation == f"attached Mine at {server.base_url}"
