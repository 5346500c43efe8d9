"""TorchServe itself, with a model that needs no framework: what it does when it is started."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from pytest_servebench.errors import ServerDiedError, ServerStartError
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import HttpAnswer
from pytest_servebench.protocols.torchserve import TorchServeRest
from pytest_servebench.servers import ports, probe
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.first_prediction import check_mismatch
from pytest_servebench.servers.launch import StartedServer
from pytest_servebench.servers.torchserve import TorchServe

from .conftest import HERE, INPUTS, OUTPUTS
from .waiting import alive, gone, until, written

pytestmark = pytest.mark.servers

HANDLER = """
import json
import os

def numbers(value):
    return [n for each in value for n in numbers(each)] if isinstance(value, list) else [value]

def body_of(request):
    if "body" in request:
        return request["body"]  # parsed by TorchServe
    return json.loads(bytes(request["data"]))  # as gRPC has it

class Handler:
    def initialize(self, context):
        {initialize}

    def handle(self, requests, context):
        {handle}
        return [self.one(body_of(request)) for request in requests]

    def one(self, body):
        return {{"predictions": [[sum(numbers(i)), len(numbers(i))] for i in body["instances"]]}}
"""


def archive(folder: Path, initialize: str = "pass", handle: str = "pass", config: str = "") -> Path:
    """Make a model archive whose outputs are the sum and the number of its inputs."""
    manifest = {
        "runtime": "python",
        "model": {
            "modelName": "tiny", "handler": "handler.py", "modelVersion": "2.1",
            **({"configFile": "model-config.yaml"} if config else {}),
        },
    }  # fmt: skip
    with zipfile.ZipFile(folder / "tiny.mar", "w") as file:
        file.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        handle = textwrap.indent(handle, 8 * " ").lstrip()
        file.writestr("handler.py", HANDLER.format(initialize=initialize, handle=handle))
        if config:
            file.writestr("model-config.yaml", config)
    return folder / "tiny.mar"


def tiny(path: Path) -> ServedModel:
    return ServedModel("tiny", {"torchserve": path}, INPUTS, OUTPUTS)


def grpc_url(run_dir: Path) -> str:
    """Return where the started server listens for gRPC, which its configuration has."""
    config = (run_dir / "config.properties").read_text()
    port = config.partition("grpc_inference_port=")[2].partition("\n")[0]
    return f"grpc://127.0.0.1:{port}"


Start = Callable[..., StartedServer]


@pytest.fixture
def start(
    tmp_path: Path, cpus: tuple[int, ...], run_dir: Path, request: pytest.FixtureRequest
) -> Start:
    def start(
        initialize: str = "pass",
        handle: str = "pass",
        *,
        config: str = "",
        kind: TorchServe | None = None,
        **changes: object,
    ) -> StartedServer:
        settings = dataclasses.replace(
            ServerSettings(cpus=cpus, start_timeout=90, stop_grace=0.3),
            **changes,  # type: ignore[arg-type]
        )
        model = tiny(archive(tmp_path, initialize, handle, config))
        server = (kind or TorchServe()).start(model, settings, run_dir)
        assert isinstance(server, StartedServer)
        request.addfinalizer(server.stop)
        return server

    return start


def test_from_start_to_stop(
    start: Start, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One start for all that can be seen of a server that is well."""
    monkeypatch.setenv("TS_CONFIG_FILE", str(tmp_path / "none.properties"))
    monkeypatch.setenv("LOG_LOCATION", str(tmp_path / "elsewhere"))
    server = start(
        initialize='print("keys of the environment:", os.environ.get("OMP_NUM_THREADS"))',
        handle="print(context.get_all_request_header(0))",
        workers=2,
        threads=3,
        stop_grace=20,
    )
    assert (server.kind, server.implementation) == ("torchserve", "TorchServe 0.12.0")
    answer = probe.ask(server.base_url, server.protocol.request(INPUTS[0]), 30)
    np.testing.assert_array_equal(server.protocol.read(answer), OUTPUTS[0])
    server.check_alive()

    # All workers were ready, and nothing else runs, such as a collector of metrics.
    pids = server.pids()
    programs = [Path(psutil.Process(pid).cmdline()[0]).name for pid in pids]
    assert programs.count("java") == 1
    assert len(programs) == 3
    assert "keys of the environment: 3" in server.log_files[0].read_text()

    # The environment did not override the configuration.
    assert not (tmp_path / "elsewhere").exists()
    assert f"Config file: {run_dir}/config.properties" in server.log_files[0].read_text()

    # It listens on loopback alone, and on no port that was not chosen.
    connections = psutil.Process(server.process.pid).net_connections("tcp")
    listening = {c.laddr for c in connections if c.status == psutil.CONN_LISTEN}
    assert len(listening) == 5
    assert {address.ip for address in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert listening.isdisjoint(
        (ip, port) for ip, _ in listening for port in (8080, 8081, 8082, 7070, 7071)
    )

    # Its key is wanted, lasts, and is nowhere to be read.
    assert isinstance(server.protocol, TorchServeRest)
    key = server.protocol.token
    assert key is not None
    refused = probe.ask(server.base_url, TorchServeRest("tiny").request(INPUTS[0]), 30)
    assert (refused.status, b"InvalidKeyException" in refused.body) == (400, True)
    scratch = Path(psutil.Process(server.process.pid).cwd())
    assert scratch.name.startswith("servebench-")
    assert not (scratch / "key_file.json").exists()
    until(lambda: key in server.log_files[0].read_text())  # the handler's doing
    assert key not in server.process.log_tail()
    assert all(key not in " ".join(psutil.Process(pid).cmdline()) for pid in pids)
    assert key not in repr(server)

    server.stop()
    assert server.process.ending() == "exit status 143"
    assert alive(pids) == []
    assert not scratch.exists()
    for path in run_dir.iterdir():
        assert key not in path.read_text(), path
    for address in listening:
        socket.create_server(("127.0.0.1", address.port)).close()


def answers(server: StartedServer, inputs: Sequence[Any]) -> list[HttpAnswer]:
    """Return the answers to requests that are sent at once."""

    def ask(each: Any) -> HttpAnswer:
        answer: HttpAnswer = probe.ask(server.base_url, server.protocol.request(each), 60)
        return answer

    with ThreadPoolExecutor(len(inputs)) as pool:
        return list(pool.map(ask, inputs))


def test_a_batch_and_an_attached_run_outlived_by_nothing(
    start: Start, model: ServedModel, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_servebench.servers.attached._LOOK_INTERVAL", 0)
    kind = TorchServe(
        batch_size=4,
        max_batch_delay=3000,
        vmargs=("-Xmx512m", "-Dmine=1"),
        properties={"max_request_size": "20000"},
    )
    server = start(handle='print("batch of", len(requests), "requests")', kind=kind)
    inputs = [np.full((2, 2), number, np.float32) for number in range(8)]
    found = [server.protocol.read(answer) for answer in answers(server, inputs)]
    np.testing.assert_array_equal(found, [[4 * number, 4] for number in range(8)])
    until(lambda: "batch of 4 requests" in server.log_files[0].read_text())
    arguments = psutil.Process(server.process.pid).cmdline()
    assert arguments.index("-Xmx1g") < arguments.index("-Xmx512m")  # the last one counts
    (refused,) = answers(server, [np.zeros((100, 100), np.float32)])
    assert refused.status == 413

    assert isinstance(server.protocol, TorchServeRest)
    settings = ServerSettings(cpus=())
    right = TorchServe(url=server.base_url, token=server.protocol.token or "")
    for token, name, reason in (
        ("", "", "SERVEBENCH_TORCHSERVE_TOKEN is not set"),
        ("wrongkey", "", "SERVEBENCH_TORCHSERVE_TOKEN is wrong or expired"),
        (right.token, "other", "no model with this name; --.*torchserve.model"),
    ):
        changed = dataclasses.replace(right, token=token, model=name)
        with pytest.raises(ServerStartError, match=reason):
            changed.start(model, settings, run_dir)
    attached = right.start(model, settings, run_dir)
    attached.check_alive()

    # The JVM ends: the end of the log tells, and its worker does not stay.
    pids = server.pids()
    os.kill(server.process.pid, signal.SIGKILL)
    gone(pids, 20)
    with pytest.raises(ServerDiedError, match=r"TorchServe 0\.12\.0 ended: killed by SIGKILL"):
        server.check_alive()
    with pytest.raises(ServerDiedError, match="does not accept connections"):
        attached.check_alive()


@pytest.mark.parametrize(
    ("options", "config", "facts"),
    [
        ({"vmargs": ("-Xmx1x",)}, "", ["torchserve.vmargs=-Xmx1x", "Invalid maximum heap size"]),
        ({"vmargs": ("-Xnope",)}, "", ["torchserve.vmargs=-Xnope", "Unrecognized option: -Xnope"]),
        (
            {"batch_size": 4},
            "batchSize: 2\nminWorkers: 2\nmaxWorkers: 2",
            ["batchSize 2, not 4", "minWorkers 2, not 1", "model-config.yaml"],
        ),
    ],
    ids=["heap", "java", "archive"],
)
def test_settings_that_would_not_hold(
    start: Start, options: dict[str, Any], config: str, facts: list[str]
) -> None:
    with pytest.raises(ServerStartError) as caught:
        start(config=config, kind=TorchServe(**options))
    assert all(fact in str(caught.value) for fact in facts), str(caught.value)


def test_two_at_once_and_their_owner_killed(tmp_path: Path, cpus: tuple[int, ...]) -> None:
    """Both have a temporary directory of their own, and neither JVM nor worker stays."""
    archive(tmp_path)
    code = f"""
import os, time
from pathlib import Path
import numpy as np
from pytest_servebench.model import ServedModel
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.first_prediction import check_mismatch
from pytest_servebench.servers.torchserve import TorchServe

model = ServedModel("tiny", {{"torchserve": Path("tiny.mar")}},
                    np.float32({INPUTS.tolist()}), np.float32({OUTPUTS.tolist()}))
for name in "ab":
    Path(name).mkdir()
    server = TorchServe().start(model, ServerSettings(cpus={cpus!r}), Path(name))
    print(server.base_url, *server.pids(), file=open("up", "a"), flush=True)
time.sleep(1000)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
    ) as owner:
        try:
            written(tmp_path / "up", lines=2, by=owner)
            tree = [child.pid for child in psutil.Process(owner.pid).children(recursive=True)]
            assert len(tree) == 6
        finally:
            owner.kill()
    gone(tree, 5)
    for line in written(tmp_path / "up", lines=2):
        socket.create_server(("127.0.0.1", int(line.split()[0].rpartition(":")[2]))).close()


@pytest.mark.parametrize(
    ("initialize", "reason"),
    [
        ("import no_such_module", "worker lacks a Python package.*No module named 'no_such_module"),
        ("raise RuntimeError('weights are broken')", "load the mod.*weights are broken"),
        ("os._exit(3)", "its worker cannot load the model"),
    ],
    ids=["import", "load", "exit"],
)
def test_model_that_does_not_work(start: Start, initialize: str, reason: str) -> None:
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(ServerStartError, match=f"(?s){reason}"):
        start(initialize)
    assert set(psutil.Process().children(recursive=True)) <= before


def test_broken_manifest(tmp_path: Path, cpus: tuple[int, ...], run_dir: Path) -> None:
    path = tmp_path / "tiny.mar"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("MAR-INF/MANIFEST.json", '{"model": ')
    settings = ServerSettings(cpus=cpus, stop_grace=0.3)
    with pytest.raises(ServerStartError, match="could not load the model"):
        TorchServe().start(tiny(path), settings, run_dir)


@pytest.fixture
def two_clashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[int]]]:
    """Ports of the first two starts are taken: that of management, and one of gRPC."""
    free_ports = ports.free_ports
    chosen: list[list[int]] = []
    wrong = [1, 3]
    with socket.create_server(("127.0.0.1", 0)) as taken:

        def choose(count: int) -> list[int]:
            chosen.append(free_ports(count))
            if wrong:
                chosen[-1][wrong.pop()] = taken.getsockname()[1]
            return chosen[-1]

        monkeypatch.setattr(ports, "free_ports", choose)
        yield chosen


# By the sum of the numbers that it gets; 6.5 is that of the model's first input.
HANDLE = """
import time
asked = [sum(numbers(body_of(request)["instances"])) for request in requests]
if 6.5 in asked: raise ValueError("no such key")
if 2 in asked: os._exit(3)
if 3 in asked: return [{"predictions": [[6.5, 5.0]]}]
if 4 in asked: return [[6.5, 4.0]]
if 5 in asked: time.sleep(0.5)
"""


def test_taken_ports_a_full_queue_and_a_handler_of_its_own(
    start: Start, two_clashes: list[list[int]], run_dir: Path
) -> None:
    server = start(handle=HANDLE, kind=TorchServe(job_queue_size=1))
    assert len(two_clashes) == 3
    assert server.base_url.endswith(f":{two_clashes[-1][0]}")

    found = answers(server, [np.full((1, 5), 1, np.float32)] * 8)
    assert {answer.status for answer in found} == {200, 503}
    assert all(b"ServiceUnavailable" in each.body for each in found if each.status == 503)

    # It may serve requests of the test's own, though it does not predict what the model does.
    with pytest.raises(ServerStartError, match=r"(?s)handler failed.*503.*no such key"):
        check_mismatch(server)
    assert isinstance(server.protocol, TorchServeRest)
    kind = TorchServe(url=server.base_url, token=server.protocol.token or "")
    over_grpc = dataclasses.replace(kind, transport="grpc", url=grpc_url(run_dir))
    refused = over_grpc.start(tiny(Path()), ServerSettings(cpus=()), run_dir)
    with pytest.raises(ServerStartError, match=r"its handler failed.*UNAVAILABLE"):
        check_mismatch(refused)
    for number, reason in (
        (3, "not with what 'tiny' predicts"),
        (4, r"not answer .* with a prediction.*is a JSON list"),
        (2, "handler failed.*status 500.*Worker died"),
    ):
        model = ServedModel("tiny", {}, np.full((1, 1, number), 1, np.float32), OUTPUTS)
        attached = kind.start(model, ServerSettings(cpus=()), run_dir)
        with pytest.raises(ServerStartError, match=reason) as caught:
            check_mismatch(attached)
        assert "requests=[" in str(caught.value)
