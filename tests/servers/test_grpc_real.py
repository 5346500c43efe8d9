"""TorchServe and the embedded TensorFlow server over gRPC: as over REST, from start to end."""

import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_servebench.errors import ServerDiedError, ServerStartError
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols import GrpcStatus, TorchServeGrpc
from pytest_servebench.servers import probe
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.launch import StartedServer
from pytest_servebench.servers.tensorflow_serving import TensorFlowServing
from pytest_servebench.servers.torchserve import TorchServe
from pytest_servebench.values.expectations import disagreement

from .conftest import INPUTS, OUTPUTS
from .ended import check_end_under_load
from .test_torchserve_real import archive
from .waiting import alive, until

pytestmark = pytest.mark.servers

Start = Callable[..., StartedServer]


@pytest.fixture
def start(
    tmp_path: Path,
    models: Path,
    cpus: tuple[int, ...],
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Start]:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))  # without the real program
    started: list[StartedServer] = []

    def start(kind: Any, **changes: Any) -> StartedServer:
        artifacts = {
            "torchserve": archive(tmp_path, **changes), "tensorflow_serving": models / "tiny"
        }  # fmt: skip
        model = ServedModel("tiny", artifacts, INPUTS, OUTPUTS)
        settings = ServerSettings(cpus=cpus, start_timeout=90, stop_grace=5, workers=2)
        server: StartedServer = kind.start(model, settings, run_dir)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


def check_key_and_name(kind: TorchServe, server: StartedServer) -> None:
    assert isinstance(server.protocol, TorchServeGrpc)
    assert server.protocol.token
    bare = probe.ask(server.base_url, TorchServeGrpc("tiny").request(INPUTS[0]), 30)
    assert bare.status in (GrpcStatus.UNAUTHENTICATED, GrpcStatus.PERMISSION_DENIED)
    assert "SERVEBENCH_TORCHSERVE_TOKEN" in kind._judge(bare, lambda _: None).reason
    other = TorchServeGrpc("none", token=server.protocol.token)
    missing = probe.ask(server.base_url, other.request(INPUTS[0]), 30)
    assert "no model" in kind._judge(missing, lambda _: None).reason


def check_names(kind: TensorFlowServing, server: StartedServer) -> None:
    def attached(**options: str) -> Any:
        return dataclasses.replace(kind, url=server.base_url, **options).start(  # type: ignore[arg-type]
            ServedModel("tiny", {}, INPUTS, OUTPUTS), ServerSettings(cpus=(0,), start_timeout=10),
            Path("/nonexistent"),
        )  # fmt: skip

    mismatch = attached(input="none").mismatch
    assert "rejects its first input" in mismatch
    assert "Missing but required: {image}" in mismatch
    with pytest.raises(ServerStartError, match=r"tensorflow_serving\.model"):
        attached(model="other")


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (TorchServe(transport="grpc"), check_key_and_name),
        (TensorFlowServing(transport="grpc"), check_names),
    ],
    ids=["torchserve", "tensorflow_serving"],
)
def test_from_start_to_kill(start: Start, kind: Any, check: Callable[..., None]) -> None:
    server = start(kind)
    assert server.base_url.startswith("grpc://127.0.0.1:")
    assert not server.mismatch
    for given, expected in zip(INPUTS, OUTPUTS, strict=True):
        answer = probe.ask(server.base_url, server.protocol.request(given), 30)
        assert disagreement(server.protocol.read(answer), expected, rtol=1e-6, atol=0) is None
    check(kind, server)
    port = int(server.base_url.rpartition(":")[2])
    pids = server.pids()
    listening = {
        connection.laddr
        for pid in pids
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert port in {address.port for address in listening}
    assert {address.ip for address in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert not server.exposed
    os.kill(server.process.pid, signal.SIGKILL)
    until(lambda: server.process.ending() is not None)
    with pytest.raises(ServerDiedError):
        server.check_alive()
    server.stop()
    assert alive(pids) == []


def test_nothing_outlives_pytest(tmp_path: Path) -> None:
    """TorchServe over gRPC, under load; other servers and signals are tried over REST."""
    archive(tmp_path)
    (tmp_path / "test_it.py").write_text(
        "def test_it(model_server, poisson_load): poisson_load(model_server)"
    )
    (tmp_path / "serving.py").write_text(
        "from pathlib import Path\n"
        "from pytest_servebench import ServedModel\n"
        "from tests.servers.conftest import INPUTS, OUTPUTS\n"
        "def model(kinds):\n"
        "    files = {'torchserve': Path('tiny.mar').absolute()}\n"
        "    return ServedModel('tiny', files, INPUTS, OUTPUTS)\n"
    )
    options = (
        "--servebench-servers=torchserve", "--servebench-model=serving:model",
        "--servebench-server-option=torchserve.transport=grpc", "--servebench-rates=50",
        "--servebench-buffer-sizes=10",
    )  # fmt: skip
    check_end_under_load(options, tmp_path, signal.SIGKILL, program="java")
