"""The embedded TensorFlow server, started as the real one is, with a model of three lines."""

import importlib.metadata
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_servebench.model import ServedModel
from pytest_servebench.servers import ports, probe
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.tensorflow_serving import TensorFlowServing

from .conftest import INPUTS, OUTPUTS
from .waiting import alive

pytestmark = pytest.mark.servers


@pytest.fixture
def tiny(models: Path) -> ServedModel:
    return ServedModel("tiny", {"tensorflow_serving": models / "tiny"}, INPUTS, OUTPUTS)


@pytest.fixture
def embedded(cpus: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> ServerSettings:
    """Settings on a machine without the real program."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    return ServerSettings(cpus=cpus, start_timeout=90, stop_grace=3.0)


def test_from_start_to_stop(
    tiny: ServedModel,
    embedded: ServerSettings,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)  # it is found although neither installed nor in this directory
    server = TensorFlowServing().start(tiny, embedded, run_dir)
    try:
        tensorflow = importlib.metadata.version("tensorflow-cpu")
        assert server.implementation.startswith("savedmodel-server ")
        assert server.implementation.endswith(f" (TensorFlow {tensorflow})")
        answer = probe.ask(server.base_url, server.protocol.request(INPUTS[0]), 30)
        np.testing.assert_array_equal(server.protocol.read(answer), OUTPUTS[0])
        pids = server.pids()
        listening = ports.listening(pids)
        assert [f"http://{ip}:{port}" for ip, port in listening] == [server.base_url]
    finally:
        server.stop()
    assert alive(pids) == []
    socket.create_server(listening[0]).close()


def test_a_taken_port_is_tried_again(
    tiny: ServedModel,
    embedded: ServerSettings,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        choices = [[taken.getsockname()[1], *ports.free_ports(1)], ports.free_ports(2)]
        accepts = ports.accepts
        # The first attempt is left to the server's own log.
        monkeypatch.setattr(ports, "accepts", lambda *where: not choices and accepts(*where))
        monkeypatch.setattr(ports, "free_ports", lambda _: choices.pop(0))
        server = TensorFlowServing(transport="grpc").start(tiny, embedded, run_dir)
        server.stop()
    assert choices == []
