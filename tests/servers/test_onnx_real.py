"""Servers of ONNX files themselves, each in an environment of its own."""

import dataclasses
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_servebench.servers import ports, probe
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.onnx import MlServer, OnnxServer, Triton
from tests.conftest import ROOT
from zoo.environments import InstallationError, python_of

from .ended import check_end_under_load
from .onnx_models import two_types
from .waiting import alive

pytestmark = pytest.mark.servers


def python(example: str) -> Path:
    try:
        return python_of(ROOT / "examples" / example / "requirements.txt")
    except InstallationError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("kind", "options", "workers"),
    [
        (OnnxServer, {}, 1), (MlServer, {}, 2), (Triton, {}, 1),
        (MlServer, {"transport": "grpc"}, 1), (Triton, {"transport": "grpc"}, 1),
    ],
    ids=["onnx", "mlserver-2", "triton", "mlserver-grpc", "triton-grpc"],
)  # fmt: skip
def test_integers_and_text(
    tmp_path: Path, settings: ServerSettings, run_dir: Path, kind: Any, options: Any, workers: int
) -> None:
    model = two_types(tmp_path / "made.onnx")
    settings = dataclasses.replace(settings, start_timeout=120, stop_grace=10, workers=workers)
    server = kind(python=python(kind.name), **options).start(model, settings, run_dir)
    try:
        assert server.mismatch == ""
        assert server.base_url.startswith("grpc://" if options else "http://")
        pids = server.pids()
        listening = {ip for ip, _ in ports.listening(pids)}
        assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}
        answer = probe.ask(server.base_url, server.protocol.request(model.input(1)), 30)
        assert model.check(1, server.protocol.read(answer)) is None
        # Inputs that do not fit are refused, and the server goes on.
        wrong = server.protocol.request({"ids": np.zeros(4, np.int64)})
        assert probe.ask(server.base_url, wrong, 30).status not in (answer.OK, answer.status)
        right = probe.ask(server.base_url, server.protocol.request(model.input(0)), 30)
        assert right.status == right.OK
    finally:
        server.stop()
    assert alive(pids) == []
    # Triton's shared memory is called after its process.
    left = [path.name for path in Path("/dev/shm").iterdir()]
    assert not any(name.startswith(f"pytrtion{pid}-") for name in left for pid in pids)


def test_nothing_outlives_pytest(tmp_path: Path) -> None:
    """MLServer with its workers, under load; other signals are tried with other servers."""
    (tmp_path / "test_it.py").write_text(
        "def test_it(model_server, poisson_load): poisson_load(model_server)"
    )
    (tmp_path / "serving.py").write_text(
        "from pathlib import Path\n"
        "from tests.servers.onnx_models import two_types\n"
        "def model(kinds): return two_types(Path('made.onnx').absolute())\n"
    )
    options = (
        "--servebench-servers=mlserver", "--servebench-server-workers=2",
        f"--servebench-server-option=mlserver.python={python('mlserver')}",
        "--servebench-model=serving:model", "--servebench-rates=50",
        "--servebench-buffer-sizes=10",
    )  # fmt: skip
    check_end_under_load(options, tmp_path, signal.SIGKILL)
