"""Servers in containers, which podman really runs; docker's client talks to podman's service."""

import dataclasses
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest

from pytest_servebench.errors import ServerDiedError, ServerStartError, ServerUnavailableError
from pytest_servebench.measure.monitor import ResourceMonitor
from pytest_servebench.model import ServedModel
from pytest_servebench.servers import ports
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.command import Command
from pytest_servebench.servers.engine import OWNER_LABEL, find_engine, owner_mark
from pytest_servebench.servers.first_prediction import check_mismatch
from pytest_servebench.servers.launch import StartedServer
from pytest_servebench.servers.ports import free_ports
from pytest_servebench.servers.tensorflow_serving import TensorFlowServing
from pytest_servebench.servers.torchserve import TorchServe
from tests.processes import children_with, command_line

from .conftest import HERE, INPUTS, OUTPUTS
from .ended import GONE_WITHIN, check_end_under_load
from .images import PODMAN, PYTHON, RUN_ARGS, built_image
from .waiting import alive, until

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(PODMAN is None, reason="podman is not installed"),
]
FAKE = {"tensorflow_model_server": (HERE / "fake_model_server.py").read_text()}

# Serves gRPC at the first port that it is told; predicts wrongly if asked before it is serving.
FAKE_GRPC = """
import re, sys, time
import numpy as np
from pytest_servebench.protocols import tensorflow_tensors
from pytest_servebench.protocols.grpc_messages import tensorflow_serving_pb2 as tf
from tests.servers.grpc_services import serving

if "--version" in sys.argv:
    print("TensorFlow ModelServer: 2.19.0")
    sys.exit()
port = next(found[1] for word in sys.argv if (found := re.fullmatch(r"--port=(\\d+)", word)))
healths = iter([b"\\x08\\x02"] * 2)

def predict(message, context):
    early = next(healths, None) is not None
    given = tf.PredictRequest.FromString(message).inputs["x"]
    rows = np.frombuffer(given.tensor_content, "<f4").reshape(given.tensor_shape.dim[0].size, -1)
    answer = tf.PredictResponse()
    sums = [[row.sum() + early, row.size] for row in rows]
    tensorflow_tensors.write(answer.outputs["y"], np.array(sums, np.float32))
    return answer.SerializeToString()

methods = {
    "/tensorflow.serving.PredictionService/Predict": predict,
    "/grpc.health.v1.Health/Check": lambda *_: next(healths, b"\\x08\\x01"),
}
with serving(methods, address=f"0.0.0.0:{port}"):
    time.sleep(1000)
"""
PACKAGES = {str(Path(file).parents[1]) for file in (grpc.__file__, np.__file__, HERE)}
OWN_PACKAGES = (
    *(f"--volume={path}:{path}:ro" for path in sorted(PACKAGES)),
    f"--env=PYTHONPATH={os.pathsep.join(sorted(PACKAGES))}",
)


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    with built_image("servebench-tests:1", FAKE) as name:
        try:
            podman("run", "--rm", *RUN_ARGS, name, "/usr/bin/true")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"podman cannot run containers here: {error.stderr}")
        yield name


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Docker's own client, whose containers are no descendants of the supervisor."""
    client = shutil.which("docker")
    if client is None:
        pytest.skip("docker is not installed")
    address = f"unix://{tmp_path}/engine.sock"
    monkeypatch.setenv("DOCKER_HOST", address)
    with subprocess.Popen([str(PODMAN), "system", "service", "--time=0", address]) as service:
        try:
            until(lambda: subprocess.run([client, "ps"], capture_output=True, check=False).stdout)
            yield client
        finally:
            service.terminate()


def podman(*words: str) -> str:
    return subprocess.run(
        [str(PODMAN), *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def containers() -> str:
    return podman("ps", "--all", "--filter", f"label={OWNER_LABEL}", "--format={{.Names}}")


@pytest.fixture(autouse=True)
def no_container_left() -> Iterator[None]:
    yield
    assert containers() == ""


def listening(port: int) -> set[str]:
    """Return the addresses on which something listens."""
    found = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    return {ip for ip, its_port in (each.laddr for each in found if each.laddr) if its_port == port}


Start = Callable[..., StartedServer]


@pytest.fixture
def start(
    image: str, model: ServedModel, settings: ServerSettings, run_dir: Path,
    request: pytest.FixtureRequest,
) -> Start:  # fmt: skip
    """Start the stand-in for tensorflow_model_server in a mode; it is stopped at the end."""

    def start(
        mode: str = "ok", *, run_args: tuple[str, ...] = (), cpus: tuple[int, ...] = (),
        **options: object,
    ) -> StartedServer:  # fmt: skip
        given = {"image": image, "run_args": (*RUN_ARGS, f"--env=FAKE_TFS={mode}", *run_args)}
        kind = TensorFlowServing(**{**given, **options})  # type: ignore[arg-type]
        limited = dataclasses.replace(settings, cpus=cpus or settings.cpus)
        server = kind.start(model, limited, run_dir)
        assert isinstance(server, StartedServer)
        request.addfinalizer(server.stop)
        return server

    return start


@pytest.mark.parametrize(
    ("engine", "network"), [("podman", "host"), ("podman", "mapped"), ("docker", "host")]
)
def test_serves_and_ends(
    start: Start, engine: str, network: str, model: ServedModel, tmp_path: Path,
    settings: ServerSettings, request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """What holds for a process holds for a container: flags, CPUs, threads, log, memory, end."""
    program = request.getfixturevalue("docker") if engine == "docker" else engine
    cpu = max(settings.cpus)
    state = (f"--volume={tmp_path}:{tmp_path}/state", f"--env=FAKE_TFS_STATE={tmp_path}/state")
    server = start(engine=program, network=network, cpus=(cpu,), run_args=state)
    assert server.implementation == "tensorflow_model_server 2.19.0 in servebench-tests:1"
    assert not server.mismatch

    flags = json.loads((tmp_path / "start-1.json").read_text())
    port = server.base_url.rpartition(":")[2]
    base_path = model.artifacts["tensorflow_serving"]
    assert {f"--rest_api_port={port}", f"--model_base_path={base_path}"} <= set(flags)
    assert "--model_name=tiny" in flags

    name = containers()
    assert podman("exec", name, "printenv", "OMP_NUM_THREADS") == "1"
    with pytest.raises(subprocess.CalledProcessError):
        podman("exec", name, "touch", f"{base_path}/new")
    assert not (base_path / "new").exists()
    assert listening(int(port)) == ({"127.0.0.1"} if network == "mapped" else {"0.0.0.0"})

    (pid,) = server.pids()
    assert "tensorflow_model_server" in command_line(psutil.Process(pid))
    assert os.sched_getaffinity(pid) == {cpu}
    with ResourceMonitor(server.pids) as monitor:
        begin = time.monotonic()
        time.sleep(0.6)
    used = monitor.resources(begin, time.monotonic())
    assert used.memory_mean is not None
    assert used.memory_mean > 5e6
    assert used.cpu_mean is not None

    server.check_alive()
    scratch = Path("/tmp") / name
    assert scratch.is_dir()
    server.stop()
    assert alive([pid]) == []
    assert containers() == ""
    assert not scratch.exists()


def test_crash_under_load_is_told(start: Start) -> None:
    server = start("aborts-later")
    podman("kill", containers())
    until(lambda: not alive(server.pids()))
    with pytest.raises(ServerDiedError, match=r"exit status 137: podman or the system killed it"):
        until(server.check_alive, what="its death")


def test_a_killed_supervisor_leaves_no_container(start: Start) -> None:
    server = start()
    (supervisor,) = children_with("supervisor.py")
    supervisor.kill()
    until(server.process.ending)
    assert containers() != ""
    server.stop()
    assert containers() == ""


def test_leftovers_are_removed_but_not_of_the_living(image: str) -> None:
    """Such as of an owner that was killed together with its supervisor."""
    sleeping = [*RUN_ARGS, "--detach", image, "/usr/bin/sleep", "1000"]
    place, pid, start = owner_mark().rsplit("/", 2)
    marks = {
        "living": owner_mark(),
        "dead": f"{place}/{pid}/{int(start) - 1}",
        "elsewhere": f"another/1/{pid}/{start}",
    }
    for name, mark in marks.items():
        podman("run", f"--name=servebench-{name}", f"--label={OWNER_LABEL}={mark}", *sleeping)
    try:
        find_engine("podman", "x.engine")
        assert set(containers().split()) == {"servebench-living", "servebench-elsewhere"}
    finally:
        podman("rm", "--force", "--ignore", "--time=0", *(f"servebench-{name}" for name in marks))


@pytest.mark.parametrize(
    ("options", "error", "facts"),
    [
        ({"engine": "no-such-engine"}, ServerUnavailableError,
         ("tensorflow_serving.engine=no-such-engine", "not found on PATH", "Remedy")),
        ({"engine": f"{PODMAN} --remote --url unix:///nowhere.sock"}, ServerUnavailableError,
         ("nowhere.sock", "connect", "start its service")),
        ({"image": "no/such-image:7"}, ServerUnavailableError,
         ("tensorflow_serving.image=no/such-image:7", "podman pull no/such-image:7")),
        ({"run_args": ("--no-such-argument",)}, ServerStartError,
         ("exit status 125: podman did not run the container", "run_args", "--no-such-argument")),
        ({"mode": "broken-model"}, ServerStartError,
         ("it ended (exit status 255)", "Error loading version 1: bad graph")),
        ({"run_args": ("--entrypoint=/no/such/program",)}, ServerStartError,
         ("/no/such/program", "exit status 127: podman did not find the command")),
    ],
)  # fmt: skip
def test_wrong_options(
    start: Start, options: dict[str, object], error: type[Exception], facts: tuple[str, ...]
) -> None:
    with pytest.raises(error) as caught:
        start(**options)
    for fact in facts:
        assert fact in str(caught.value)


def test_another_port_where_one_is_taken(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (free,) = free_ports(1)
        chosen = iter([taken.getsockname()[1], free])
        monkeypatch.setattr(ports, "free_ports", lambda count: [next(chosen)])
        server = start(network="mapped")
    assert server.base_url == f"http://127.0.0.1:{free}"


def test_a_configured_image(
    image: str, model: ServedModel, settings: ServerSettings, run_dir: Path, tmp_path: Path
) -> None:
    """Placeholders have the values that hold in the container."""
    metadata = tmp_path / "packages" / "net-1.2.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Name: net\nVersion: 1.2\n")
    kind = Command(
        "boxed", "Boxed", image=image, engine="podman", port=8000,
        command=("tensorflow_model_server", "--rest_api_port={port}", "--threads={threads}",
                 "--host={host}", "--artifact={artifact}"),
        env={"FAKE_TFS_STATE": "{scratch}", "KEY": "sesame", "HOME": "/tmp"}, version=("net",),
        protocol="tensorflow-serving", artifact=metadata.parent, fatal=("bad graph",),
        run_args=(*RUN_ARGS, f"--volume={metadata.parent.parent}:/packages:ro",
                  "--env=PYTHONPATH=/packages", "--env=OF={artifact}"),
    )  # fmt: skip
    server = kind.start(model, settings, run_dir)
    try:
        assert server.implementation == "net 1.2 in servebench-tests:1"
        name = containers()
        assert json.loads(Path("/tmp", name, "start-1.json").read_text()) == [
            "--rest_api_port=8000", "--threads=1", "--host=0.0.0.0", f"--artifact={metadata.parent}"
        ]  # fmt: skip
        printed = podman("exec", name, "printenv", "OF", "KEY", "HOME").splitlines()
        assert printed == [str(metadata.parent), "sesame", "/tmp"]
        assert listening(int(server.base_url.rpartition(":")[2])) == {"127.0.0.1"}
    finally:
        server.stop()
    with pytest.raises(ServerUnavailableError, match=r"boxed.version: .* nonesuch .*omit version"):
        dataclasses.replace(kind, version=("nonesuch",)).start(model, settings, run_dir)
    deaf = dataclasses.replace(kind, version=(), port=8001, command=("sleep", "1000"))
    with pytest.raises(
        ServerStartError, match=r"(?s)Boxed in servebench-.*0\.0\.0\.0:8001"
    ) as caught:
        deaf.start(model, dataclasses.replace(settings, start_timeout=2), run_dir)
    assert "sesame" not in str(caught.value)


@pytest.fixture(scope="session")
def grpc_image() -> Iterator[str]:
    with built_image("servebench-tests:grpc", {"tensorflow_model_server": FAKE_GRPC}) as name:
        yield name


@pytest.mark.parametrize("network", ["host", "mapped"])
def test_grpc(start: Start, grpc_image: str, network: str) -> None:
    server = start(
        image=grpc_image, transport="grpc", input="x", network=network, run_args=OWN_PACKAGES
    )
    assert not server.mismatch
    assert server.base_url.startswith("grpc://127.0.0.1:")
    port = int(server.base_url.rpartition(":")[2])
    assert (listening(port) == {"127.0.0.1"}) == (network == "mapped")


def test_a_configured_image_with_grpc(
    image: str, grpc_image: str, model: ServedModel, settings: ServerSettings, run_dir: Path
) -> None:
    """The port is fixed in the image, and its health says when it is ready."""
    kind = Command(
        "boxed", "Boxed", image=grpc_image, engine="podman", port=8500,
        command=("tensorflow_model_server", "--port=8500"), run_args=(*RUN_ARGS, *OWN_PACKAGES),
        protocol={"name": "tensorflow-serving-grpc", "input": "x"},
    )  # fmt: skip
    server = kind.start(model, settings, run_dir)
    try:
        check_mismatch(server)
    finally:
        server.stop()


def test_no_engine(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerUnavailableError, match=r"docker: not found(?s:.*)podman: not found"):
        start()


def test_an_image_without_torchserve(
    image: str, model: ServedModel, settings: ServerSettings, run_dir: Path
) -> None:
    with pytest.raises(ServerUnavailableError, match=f"image={image}: TorchServe is not installed"):
        TorchServe(image=image, run_args=RUN_ARGS).start(model, settings, run_dir)


def test_an_artifact_that_the_container_cannot_read(
    start: Start, model: ServedModel, tmp_path: Path
) -> None:
    """The message names the file: a link that leads out of it, or what only its owner may read."""
    saved = model.artifacts["tensorflow_serving"] / "1" / "saved_model.pb"
    saved.chmod(0o600)
    with (
        built_image("servebench-tests:user", FAKE, "USER=1000") as image,
        pytest.raises(ServerStartError, match=rf"runs as the user '1000'.* read {saved}: chmod"),
    ):
        start("broken-model", image=image)
    (tmp_path / "blob").touch()
    saved.unlink()
    saved.symlink_to(tmp_path / "blob")
    with pytest.raises(ServerStartError, match=f"{saved} is a link to .*blob.*cp -rL"):
        start()


# As far as its launcher can tell, TorchServe: it writes keys, has a worker, and predicts.
FAKE_JAVA = """
import json, os, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer([{"minWorkers": 1, "workers": [{"status": "READY"}]}])

    def do_POST(self):
        self.answer({"predictions": [[6.5, 4.0]]})

    def answer(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

assert sys.argv[1].startswith("-X") and os.environ["TEMP"] == os.getcwd() + "/tmp"
lines = open(sys.argv[sys.argv.index("-f") + 1]).read().splitlines()
config = dict(line.split("=", 1) for line in lines)
open("store/tiny.mar", "rb").close()
json.dump({name: {"key": "k"} for name in ("management", "inference")}, open("key_file.json", "w"))
for which in ("inference", "management"):
    host, port = config[which + "_address"].removeprefix("http://").split(":")
    assert host == "0.0.0.0"
    threading.Thread(target=HTTPServer((host, int(port)), Handler).serve_forever).start()
if os.environ["TRANSPORT"] == "grpc":
    from pytest_servebench.protocols.grpc_messages import torchserve_pb2 as ts
    from tests.servers.grpc_services import serving

    answer = ts.PredictionResponse(prediction=b'{"predictions": [[6.5, 4.0]]}')
    method = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
    address = config["grpc_inference_address"] + ":" + config["grpc_inference_port"]
    with serving({method: lambda *_: answer.SerializeToString()}, address=address):
        threading.Event().wait()
"""


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_torchserve(
    model: ServedModel, settings: ServerSettings, run_dir: Path, tmp_path: Path, transport: Any
) -> None:
    """It works in its scratch directory, as our user; the image's user is another."""
    package = tmp_path / "packages" / "ts"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "version.txt").write_text("0.12.9")
    archive = tmp_path / "tiny.mar"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("MAR-INF/MANIFEST.json", "{}")
    packages = os.pathsep.join(["/packages", *sorted(PACKAGES)])
    run_args = (*RUN_ARGS, *OWN_PACKAGES, f"--volume={package.parent}:/packages:ro",
                f"--env=PYTHONPATH={packages}", f"--env=TRANSPORT={transport}")  # fmt: skip
    programs = {"java": FAKE_JAVA, "python": f"import os, sys; os.execv({PYTHON!r}, sys.argv)"}
    model = dataclasses.replace(model, artifacts={"torchserve": archive})
    with built_image("servebench-tests:ts", programs, "USER=1000") as image:
        kind = TorchServe(image=image, run_args=run_args, network="mapped", transport=transport)
        server = kind.start(model, settings, run_dir)
        try:
            assert server.implementation == "TorchServe 0.12.9 in servebench-tests:ts"
            check_mismatch(server)
            (pid,) = server.pids()
            assert psutil.Process(pid).uids().real == os.getuid()
        finally:
            server.stop()


SUITE = f"""
from pathlib import Path
import numpy as np, pytest
from pytest_servebench.model import ServedModel

def model(kinds):
    version = Path("saved_model/1")
    version.mkdir(parents=True, exist_ok=True)
    (version / "saved_model.pb").touch()
    return ServedModel("tiny", {{"tensorflow_serving": version.parent}},
                       np.array({INPUTS.tolist()}, np.float32), np.array({OUTPUTS.tolist()}))

@pytest.mark.servebench(duration=60)
def test_load(model_server, poisson_load):
    Path("address").write_text(model_server.base_url)
    poisson_load(model_server)
"""


@pytest.mark.parametrize(
    ("signal_", "server"),
    [(signal.SIGKILL, "boxed"), (signal.SIGINT, "tensorflow_serving"), (signal.SIGTERM, "boxed")],
)
def test_nothing_is_left_of_a_load(
    signal_: signal.Signals, server: str, image: str, tmp_path: Path
) -> None:
    """The server is configured by a file, or by options on the command line."""
    (tmp_path / "test_it.py").write_text(SUITE)
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "servebench.toml").write_text(
        "[servers.boxed]\n"
        f"image = '{image}'\nengine = 'podman'\nrun_args = {list(RUN_ARGS)}\n"
        "command = ['tensorflow_model_server', '--rest_api_port={port}']\n"
        "protocol = 'tensorflow-serving'\n"
    )
    given = {"image": image, "run_args": shlex.join(RUN_ARGS), "engine": "podman"}
    if server == "boxed":
        given = {}
    options = (
        "test_it.py", "--servebench-model=test_it:model", f"--servebench-servers={server}",
        "--servebench-rates=20", "--servebench-buffer-sizes=10",
        *(f"--servebench-server-option=tensorflow_serving.{key}={value}"
          for key, value in given.items()),
    )  # fmt: skip
    check_end_under_load(options, tmp_path, signal_)
    until(lambda: not containers(), GONE_WITHIN, "the container's removal")
    assert not listening(int((tmp_path / "address").read_text().rpartition(":")[2]))
