"""TensorFlow Serving's launcher knows what the real program does when something is wrong.

The program is a stand-in (fake_model_server.py) which fails in the same ways.
"""

import dataclasses
import importlib.util
import json
import os
import re
import socket
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from pytest_servebench.errors import ServerStartError, ServerUnavailableError
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols import TensorFlowServingGrpc
from pytest_servebench.servers import launch, ports, probe
from pytest_servebench.servers.base import RunningServer, ServerSettings, artifact_of
from pytest_servebench.servers.first_prediction import check_mismatch
from pytest_servebench.servers.kind_options import set_options
from pytest_servebench.servers.readiness import Place
from pytest_servebench.servers.tensorflow_serving import (
    GRPC_THREADS,
    TensorFlowServing,
    check_saved_model,
)

from .conftest import OUTPUTS, make_program
from .waiting import alive

Start = Callable[..., RunningServer]


@pytest.fixture
def start(
    model: ServedModel,
    settings: ServerSettings,
    fake_binary: Path,
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Start:
    """Start the stand-in in a mode; it is stopped at the end."""
    monkeypatch.setenv("FAKE_TFS_STATE", str(tmp_path))

    def start(
        mode: str = "ok",
        *,
        kind: TensorFlowServing | None = None,
        without_inputs: bool = False,
        **changes: object,
    ) -> RunningServer:
        monkeypatch.setenv("FAKE_TFS", mode)
        changed = dataclasses.replace(settings, **changes)  # type: ignore[arg-type]
        kind = kind or TensorFlowServing(binary=fake_binary)
        nothing = np.zeros((0, 1), np.float32)
        served = dataclasses.replace(model, inputs=nothing, outputs=nothing)
        server = kind.start(served if without_inputs else model, changed, run_dir)
        request.addfinalizer(server.stop)
        return server

    return start


def test_starts_answers_and_stops(start: Start, model: ServedModel, run_dir: Path) -> None:
    server = start()
    assert server.kind == "tensorflow_serving"
    assert server.implementation == "tensorflow_model_server 2.19.0"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.base_url)
    assert list(server.log_files) == [run_dir / "server.log", run_dir / "server.stdout.log"]
    answer = probe.ask(server.base_url, server.protocol.request(model.input(0)), 10)
    np.testing.assert_array_equal(server.protocol.read(answer), OUTPUTS[0])
    server.check_alive()
    pids = server.pids()
    assert len(pids) == 1
    server.stop()
    server.stop()
    assert alive(pids) == []
    assert server.pids() == []
    socket.create_server(("127.0.0.1", int(server.base_url.rpartition(":")[2]))).close()


def test_flags(start: Start, tmp_path: Path, model: ServedModel, cpus: tuple[int, ...]) -> None:
    server = start(threads=3, workers=2)
    given = json.loads((tmp_path / "start-1.json").read_text())
    # With "--a b" the real one prints its usage and starts all the same.
    assert all(re.fullmatch(r"--[a-z_]+=\S*", flag) for flag in given)
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in given)
    assert flags == {
        "rest_api_port": server.base_url.rpartition(":")[2],
        "port": "0",
        "grpc_socket_path": flags["grpc_socket_path"],
        "model_name": "tiny",
        "model_base_path": str(model.artifacts["tensorflow_serving"]),
        "file_system_poll_wait_seconds": "0",
        "max_num_load_retries": "0",
        "tensorflow_intra_op_parallelism": "3",
        "tensorflow_inter_op_parallelism": "2",
        "rest_api_num_threads": flags["rest_api_num_threads"],
    }
    assert int(flags["rest_api_num_threads"]) >= 16
    assert len(flags["grpc_socket_path"]) < 108


def test_flags_of_grpc(tmp_path: Path) -> None:
    """The embedded server cannot show them: it has no limit that calls could hit."""
    kind = TensorFlowServing(transport="grpc")
    given = kind._listening(Place((7001, 7002), tmp_path, tmp_path))
    assert given == {"port": 7001, "rest_api_port": 7002, "grpc_max_threads": GRPC_THREADS}
    assert isinstance(kind._protocol("m", ""), TensorFlowServingGrpc)


def test_batching_and_other_flags(
    start: Start, tmp_path: Path, run_dir: Path, fake_binary: Path
) -> None:
    kind = TensorFlowServing(
        binary=fake_binary, max_batch_size=8, batch_timeout_micros=0,
        flags={"rest_api_num_threads": "64", "enable_model_warmup": "false"},
    )  # fmt: skip
    start(kind=kind, workers=2)
    given = json.loads((tmp_path / "start-1.json").read_text())
    flags = [flag.removeprefix("--").partition("=")[::2] for flag in given]
    assert len(dict(flags)) == len(flags)
    assert dict(flags)["rest_api_num_threads"] == "64"
    assert dict(flags)["enable_model_warmup"] == "false"
    assert dict(flags)["enable_batching"] == "true"
    text = Path(dict(flags)["batching_parameters_file"]).read_text()
    assert text.splitlines() == [
        "num_batch_threads { value: 2 }", "max_batch_size { value: 8 }",
        "batch_timeout_micros { value: 0 }",
    ]  # fmt: skip


def test_models_of_a_file(
    start: Start, tmp_path: Path, model: ServedModel, settings: ServerSettings, fake_binary: Path
) -> None:
    """The model needs no artifact, and must be one of the file's."""
    file = tmp_path / "models.conf"
    file.write_text(
        "model_config_list { config { name: 'a' base_path: '/m/a' }\n# name: 'c'\n"
        'config { name: "tiny", base_path: "/m/b" } }'
    )
    kind = TensorFlowServing(binary=fake_binary, model_config_file=file)
    assert artifact_of(kind) == ""
    start(kind=kind)
    given = json.loads((tmp_path / "start-1.json").read_text())
    assert f"--model_config_file={file}" in given
    assert not [flag for flag in given if flag.startswith(("--model_name", "--model_base_path"))]
    before = set_options(kind)
    file.write_text(file.read_text() + " ")
    assert set_options(kind) != before
    with pytest.raises(ServerStartError, match=r"models\.conf has no model 'c', only a and tiny"):
        start(kind=dataclasses.replace(kind, model="c"))
    with pytest.raises(ServerStartError, match=r"model_config_file=.*none: cannot be read"):
        start(kind=dataclasses.replace(kind, model_config_file=tmp_path / "none"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"flags": {"port": "8500"}}, r"flags\.port = 8500: it cannot be set: ports"),
        ({"flags": {"--port": "8500"}}, "without dashes"),
        ({"flags": {"tensorflow_session_parallelism": "2"}}, "threads and workers"),
        ({"flags": {"enable_batching": "true"}, "max_batch_size": 8}, "max_batch_size sets it too"),
        ({"flags": {"monitoring_config_file": "m.txt"}}, "absolute path"),
        ({"url": "http://h:1", "num_batch_threads": 2}, "num_batch_threads .* omit url"),
        ({"input": "x"}, "input = 'x' is for transport = grpc"),
    ],
)
def test_flags_that_cannot_be_set(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TensorFlowServing(**options)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"max_batch_size": 8}, "max_batch_size"),
        ({"flags": {"rest_api_num_threads": "9", "enable_batching": "true"}}, "flags.enable_batch"),
        ({"model_config_file": Path("/c")}, "model_config_file"),
    ],
)
def test_the_embedded_server_does_not_pretend(
    start: Start, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], name: str
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: ModuleSpec(name, None))
    with pytest.raises(ServerUnavailableError) as caught:
        start(kind=TensorFlowServing(**options))
    for fact in (f"tensorflow_serving.{name}", "embedded", "tensorflow_serving.binary"):
        assert fact in str(caught.value).replace("=", "")


def test_environment(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVEBENCH_TORCHSERVE_TOKEN", "secret")
    environment = psutil.Process(start(threads=2).pids()[0]).environ()
    assert environment["OMP_NUM_THREADS"] == "2"
    assert "SERVEBENCH_TORCHSERVE_TOKEN" not in environment


def test_relative_paths(
    model: ServedModel, settings: ServerSettings, fake_binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = model.artifacts["tensorflow_serving"].parent
    monkeypatch.chdir(base)
    (base / "r").mkdir()
    relative = dataclasses.replace(model, artifacts={"tensorflow_serving": Path("saved_model")})
    TensorFlowServing(binary=fake_binary).start(relative, settings, Path("r")).stop()
    assert (base / "r" / "server.log").exists()


DIES, STAYS = "--rest_api_port=", "requests=["


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "reason", "remedy"),
    [
        ("broken-model", r"it ended \(exit status 255\).*Error loading version 1: bad graph", DIES),
        ("aborts", r"killed by SIGABRT.*oneDNN check failed", DIES),
        ("unknown-flag", r"it has no such flag.*option flags.*argument: --nope=1", DIES),
        ("bad-flags", r"it refused to start.*Failed to start server\. Error: INVALID_ARG", DIES),
        ("background", r"exit status 0 \(.*foreground", DIES),
        # One that serves is told to loads of its inputs alone.
        (
            "wrong-answer",
            r"answers .*, but not with what 'tiny' predicts.*by up to 1 .*7\.5",
            STAYS,
        ),
        ("wrong-shape", r"its prediction has shape \(3,\), the model's has \(2,\)", STAYS),
        ("web-page", r"not answer .* with a prediction.*is not JSON.*<html>Welcome", STAYS),
        ("refuses", r"refuses POST .*status 400.*size: 784", STAYS),
    ],
)
def test_a_server_that_does_not_fit_is_told(
    start: Start, mode: str, reason: str, remedy: str, nothing_left: Callable[[], None]
) -> None:
    server = start(mode) if remedy == STAYS else None
    with pytest.raises(ServerStartError) as caught:
        check_mismatch(server or start(mode))
    message = str(caught.value)
    assert re.search(reason, message, re.DOTALL), message
    for fact in ("tensorflow_model_server 2.19.0", "server.log", remedy):
        assert fact in message
    if remedy == DIES:
        nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["loading", "loading-without-word", "gateway"])
def test_a_model_that_loads_is_waited_for(start: Start, mode: str) -> None:
    check_mismatch(start(mode))


def test_a_model_without_inputs_is_ready_when_its_port_is(start: Start) -> None:
    check_mismatch(start("refuses", without_inputs=True))


@pytest.mark.parametrize(
    ("mode", "seen", "limit"),
    [
        ("no-port", "nothing listens on port", 0.5),
        # It has to be up by then.
        pytest.param("deaf", r"no answer within \S+ s", 1.5, marks=pytest.mark.servers),
    ],
)
def test_gives_up_in_time(
    start: Start, mode: str, seen: str, limit: float, nothing_left: Callable[[], None]
) -> None:
    with pytest.raises(ServerStartError) as caught:
        start(mode, start_timeout=limit)
    expected = rf"gave up after {limit} s of waiting for a prediction.*:predict; last seen:.*{seen}"
    assert re.search(expected, str(caught.value)), caught.value
    nothing_left()


@pytest.mark.slow
def test_a_taken_port_is_tried_again_on_another(start: Start, tmp_path: Path) -> None:
    """The real program goes on without its REST API when the port is taken."""
    start("clashes-once")
    tried = [json.loads(path.read_text())[0] for path in tmp_path.glob("start-*.json")]
    assert len(tried) == len(set(tried)) == 2


@pytest.mark.servers
def test_taken_ports_are_not_tried_for_ever(
    start: Start, nothing_left: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "PORT_ATTEMPTS", 2)
    with pytest.raises(ServerStartError, match=r"(?s)After 2 attempts.*took its REST port"):
        start("always-clashes")
    nothing_left()


def test_a_foreign_program_on_the_port_is_not_measured(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        free = ports.free_ports(1)
        choices = [[foreign.getsockname()[1]], free]
        monkeypatch.setattr(ports, "free_ports", lambda _: choices.pop(0))
        server = start()
    assert server.base_url == f"http://127.0.0.1:{free[0]}"


def test_a_chatty_server_is_not_blocked_by_its_log(start: Start) -> None:
    start("chatty").check_alive()


def test_an_interrupt_leaves_nothing(
    start: Start, nothing_left: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ServedModel, "check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        start()
    nothing_left()


def test_model_directory_that_the_server_would_wait_for(tmp_path: Path) -> None:
    (tmp_path / "final").mkdir()
    with pytest.raises(ServerStartError, match=r"no numbered version \(found: final\)"):
        check_saved_model(tmp_path)


def test_model_without_artifact(
    model: ServedModel, settings: ServerSettings, fake_binary: Path, run_dir: Path
) -> None:
    other = dataclasses.replace(model, artifacts={"torchserve": Path("x.mar")})
    with pytest.raises(ServerStartError, match=r"no artifact for tensorflow_serving.*torchserve"):
        TensorFlowServing(binary=fake_binary).start(other, settings, run_dir)


def test_model_name_that_is_none(
    model: ServedModel, settings: ServerSettings, run_dir: Path
) -> None:
    other = dataclasses.replace(model, name="a/b c")
    with pytest.raises(ServerStartError, match=r"'a/b c'.*served_names"):
        TensorFlowServing().start(other, settings, run_dir)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: p / "missing", "there is no such file"),
        (lambda p: p, "it is not a file"),
        (lambda p: p.joinpath("f").touch() or p / "f", "it is not executable"),
    ],
)
def test_binary_that_cannot_be_run(
    start: Start, tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    binary = make(tmp_path)
    expected = re.escape(f"tensorflow_serving.binary={binary}: {reason}. Give an executable")
    with pytest.raises(ServerUnavailableError, match=expected):
        start(kind=TensorFlowServing(binary=binary))


def test_binary_that_is_another_program(start: Start, tmp_path: Path) -> None:
    other = make_program(tmp_path / "other", "#!/bin/sh\necho usage: other >&2\nexit 2\n")
    with pytest.raises(ServerStartError, match=r"of unknown version.*exit status 2"):
        start(kind=TensorFlowServing(binary=other))


def test_binary_from_path(start: Start, fake_binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(fake_binary.parent), prepend=os.pathsep)
    server = start(kind=TensorFlowServing(require_real=True))
    assert server.implementation == "tensorflow_model_server 2.19.0"


def test_real_binary_required_but_not_there(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ServerUnavailableError) as caught:
        start(kind=TensorFlowServing(require_real=True))
    for part in (
        "--servebench-server-option=tensorflow_serving.require_real=true",
        "--servebench-server-option=tensorflow_serving.binary is not given",
        "PATH (/nowhere)",
        "tensorflow-model-server",
        "--servebench-server-option=tensorflow_serving.url=",
    ):
        assert part in str(caught.value)


def test_neither_binary_nor_tensorflow(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def without_tensorflow(name: str) -> ModuleSpec | None:
        return None if name == "tensorflow" else find_spec(name)

    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(importlib.util, "find_spec", without_tensorflow)
    with pytest.raises(ServerUnavailableError) as caught:
        start(kind=TensorFlowServing())
    for part in (
        "--servebench-server-option=tensorflow_serving.binary: not given",
        "tensorflow_model_server on PATH: not found",
        f"TensorFlow is not installed for {sys.executable}",
        "pip install 'pytest-servebench[tensorflow]'",
    ):
        assert part in str(caught.value)
