"""The program: its flags, what it says when it cannot start, how it ends."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.servers.ports import free_ports
from pytest_servebench.servers.savedmodel_server.flags import FlagError, HelpWanted, parse
from pytest_servebench.servers.savedmodel_server.metrics import DEFAULT_PATH, read_config
from pytest_servebench.servers.savedmodel_server.repository import RepositoryError, newest_version
from tests.savedmodel_server.running import (
    MODULE,
    Running,
    end_quietly,
    environment,
    run_to_end,
    running,
)

NEEDED = ("--rest_api_port=8501", "--model_base_path=/models/m")


def test_flags_have_the_real_servers_defaults() -> None:
    flags = parse(NEEDED)
    assert (flags.rest_api_port, flags.model_base_path) == (8501, Path("/models/m"))
    assert (flags.model_name, flags.rest_api_address) == ("default", "127.0.0.1")
    assert flags.rest_api_timeout_in_ms == 30_000
    assert flags.rest_api_num_threads >= 4
    assert flags.tensorflow_intra_op_parallelism == flags.tensorflow_inter_op_parallelism == 0
    assert flags.metrics is None
    assert flags.ignored == ()


def test_every_flag_of_the_launcher_is_taken() -> None:
    given = (
        "--port=0 --grpc_socket_path=/run/grpc.sock --model_name=fashion "
        "--file_system_poll_wait_seconds=0 --max_num_load_retries=0 "
        "--tensorflow_intra_op_parallelism=1 --tensorflow_inter_op_parallelism=2 "
        "--rest_api_num_threads=16 --rest_api_timeout_in_ms=1000 --enable_batching=false "
        "--rest_api_address=127.0.0.2"
    )
    flags = parse([*NEEDED, *given.split()])
    assert flags.model_name == "fashion"
    assert flags.tensorflow_intra_op_parallelism == 1
    assert flags.tensorflow_inter_op_parallelism == 2
    assert (flags.rest_api_num_threads, flags.rest_api_timeout_in_ms) == (16, 1000)
    assert flags.rest_api_address == "127.0.0.2"
    assert flags.ignored == ("--grpc_socket_path=/run/grpc.sock",)


def test_session_parallelism_sets_what_is_not_set() -> None:
    flags = parse(
        [*NEEDED, "--tensorflow_session_parallelism=3", "--tensorflow_intra_op_parallelism=1"]
    )
    assert flags.tensorflow_intra_op_parallelism == 1
    assert flags.tensorflow_inter_op_parallelism == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rest_api_port", "8501"], "--rest_api_port needs a value, written --rest_api_port="),
        ([*NEEDED, "--nope=1"], "Unknown flag --nope=1"),
        ([*NEEDED, "rest_api_num_threads=1"], "Unknown flag rest_api_num_threads=1"),
        ([*NEEDED, "--rest_api_num_threads=many"], "=many is not a whole number"),
        ([*NEEDED, "--rest_api_num_threads=0"], "=0 is not between 1 and 4096"),
        ([*NEEDED, "--rest_api_port=65536"], "=65536 is not between 0 and 65535"),
        (["--model_base_path=/m"], "Give --rest_api_port=PORT"),
        (["--rest_api_port=0", "--model_base_path=/m"], "Give --rest_api_port=PORT"),
        (["--rest_api_port=1"], "Give --model_base_path=DIR"),
        ([*NEEDED, "--model_name=a/b"], "--model_name=a/b cannot be part of a path"),
        ([*NEEDED, "--enable_batching"], "This server does not batch"),
        ([*NEEDED, "--enable_batching=true"], "This server does not batch"),
        ([*NEEDED, "--enable_batching=maybe"], "--enable_batching=maybe is neither true nor false"),
        ([*NEEDED, "--batching_parameters_file=x"], "This server does not batch"),
        ([*NEEDED, "--max_num_load_retries=5"], "=5: this server loads its model once"),
        ([*NEEDED, "--file_system_poll_wait_seconds=1"], "=1: this server loads its model once"),
        ([*NEEDED, "--monitoring_config_file=/nope"], "cannot read /nope"),
    ],
)
def test_flags_that_cannot_be_used(arguments: list[str], message: str) -> None:
    with pytest.raises(FlagError) as raised:
        parse(arguments)
    assert message in str(raised.value)


@pytest.mark.parametrize("word", ["help", "version"])
def test_help_needs_nothing_else(word: str) -> None:
    with pytest.raises(HelpWanted, match=word):
        parse([f"--{word}"])


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prometheus_config { enable: true }", DEFAULT_PATH),
        ('prometheus_config: {\n  enable: true,  # on\n  path: "/metrics"\n}\n', "/metrics"),
        ('prometheus_config { path: "" enable: true }', DEFAULT_PATH),
        ("prometheus_config { enable: false }", None),
        ("prometheus_config {}", None),
    ],
)
def test_monitoring_configurations(tmp_path: Path, text: str, path: str | None) -> None:
    file = tmp_path / "monitoring.config"
    file.write_text(text)
    metrics = read_config(file)
    assert (metrics and metrics.path) == path


@pytest.mark.parametrize("text", ["", "nonsense", "prometheus_config { enable: maybe }"])
def test_malformed_monitoring_configurations(tmp_path: Path, text: str) -> None:
    file = tmp_path / "monitoring.config"
    file.write_text(text)
    with pytest.raises(ValueError, match="is not of the form"):
        read_config(file)


def saved_model(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "saved_model.pb").touch()
    return directory


def test_the_newest_version_is_served(tmp_path: Path) -> None:
    for version in ("2", "10", "0009"):
        saved_model(tmp_path / version)
    (tmp_path / "7").mkdir()  # an older, broken version is not served
    (tmp_path / "11.tmp").mkdir()
    (tmp_path / "12").touch()
    assert newest_version(tmp_path) == (10, tmp_path / "10")


def test_base_paths_that_cannot_be_served(tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(RepositoryError) as raised:
            newest_version(path)
        assert str(path) in str(raised.value)
        assert "PATH/1/saved_model.pb" in str(raised.value)
        return str(raised.value)

    assert "There is no model at" in refusal(tmp_path / "nope")
    (tmp_path / "file").touch()
    assert "is not a directory" in refusal(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "has no numbered version (found: nothing)" in refusal(tmp_path / "empty")
    version = saved_model(tmp_path / "model" / "1")
    assert f"give its parent, {version.parent}" in refusal(version)
    unnumbered = saved_model(tmp_path / "bare")
    assert "move it into a sub-directory called 1" in refusal(unnumbered)
    (tmp_path / "hollow" / "3").mkdir(parents=True)
    hollow = refusal(tmp_path / "hollow")
    assert f"3, the newest version in {tmp_path / 'hollow'}, has no saved_model.pb" in hollow


def test_wrong_flags_end_it_with_2() -> None:
    done = run_to_end(["--nope=1"])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("savedmodel-server: Unknown flag --nope=1")
    assert done.stderr.count("\n") == 1


def test_help_names_every_flag() -> None:
    done = run_to_end(["--help"])
    assert done.returncode == 0
    for flag in ("--rest_api_port", "--rest_api_address", "--enable_batching", "--model_name"):
        assert flag in done.stdout


@pytest.mark.slow
def test_without_tensorflow_it_says_how_to_get_it(tmp_path: Path) -> None:
    saved_model(tmp_path / "1")
    program = (
        "import importlib.metadata as m, runpy, sys\n"
        "def missing(name): raise m.PackageNotFoundError(name)\n"
        "m.version = missing\n"
        "sys.modules['tensorflow'] = None\n"
        f"runpy.run_module({MODULE!r}, run_name='__main__')\n"
    )
    flags = [f"--rest_api_port={free_ports(1)[0]}", f"--model_base_path={tmp_path}"]
    for arguments in (flags, ["--version"]):
        done = run_to_end(arguments, "-c", program)
        assert done.returncode == 255
        assert "TensorFlow is not installed" in done.stderr
        assert "pip install 'pytest-servebench[tensorflow]'" in done.stderr
        assert "Traceback" not in done.stderr


def test_importing_the_package_does_not_import_tensorflow() -> None:
    program = (
        f"import sys, {MODULE}.server, {MODULE}.__main__\nsys.exit('tensorflow' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=environment())


@pytest.mark.servers
def test_version_names_tensorflow() -> None:
    done = run_to_end(["--version"])
    assert done.returncode == 0
    (line,) = done.stdout.splitlines()
    assert line.startswith("savedmodel-server 0.1.0 (TensorFlow 2.")


def assert_refuses_to_start(flags: list[str], *words: str) -> None:
    done = run_to_end(flags)
    assert done.returncode == 255
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.servers
def test_models_that_cannot_be_served_end_it(models: Path, tmp_path: Path) -> None:
    broken = saved_model(tmp_path / "broken" / "1")
    (broken / "saved_model.pb").write_bytes(b"not a model")
    # Its variables were lost on the way.
    hollow = tmp_path / "hollow" / "1"
    shutil.copytree(models / "fashion" / "1", hollow)
    shutil.rmtree(hollow / "variables")
    nope = tmp_path / "nope"
    flags = [[f"--rest_api_port={free_ports(1)[0]}", f"--model_base_path={path}"]
             for path in (nope, broken.parent, hollow.parent)]  # fmt: skip
    # In one process: importing TensorFlow takes most of the time.
    program = f"import sys; from {MODULE}.__main__ import main; sys.exit(min(map(main, {flags})))"
    done = run_to_end([], "-c", program)
    assert (done.returncode, done.stdout) == (255, "")
    said = [line for line in done.stderr.splitlines() if line.startswith("savedmodel-server: ")]
    for line, path, remedy in zip(
        said, (nope, broken, hollow), ("", "Export", "Export"), strict=True
    ):
        assert str(path) in line
        assert remedy in line
    assert "Traceback" not in done.stderr


@pytest.mark.servers
def test_addresses_that_cannot_be_listened_on_end_it(tmp_path: Path) -> None:
    saved_model(tmp_path / "1")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        flags = [f"--rest_api_port={port}", f"--model_base_path={tmp_path}"]
        said = (f"port {port} of 127.0.0.1", "Address already in use", "--rest_api_port")
        assert_refuses_to_start(flags, *said)
        assert_refuses_to_start([*flags, "--rest_api_address=192.0.2.1"], "192.0.2.1")
        flags[0] = f"--rest_api_port={free_ports(1)[0]}"
        assert_refuses_to_start([*flags, f"--port={port}"], *said[:2], "gRPC", "another --port")


def predict(server: Running, body: object) -> tuple[int, Any]:
    response = server.post("/v1/models/mixed:predict", json.dumps(body).encode())
    return response.status, json.loads(response.body)


@pytest.mark.servers
def test_it_serves_without_uvloop(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError('none for this system')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with running(
        models / "mixed", tmp_path / "log", "--grpc_socket_path=/none", name="mixed"
    ) as server:
        body = {"signature_name": "flip", "instances": [[True, False]]}
        assert predict(server, body) == (200, {"predictions": [[False, True]]})
        # Refusing, too, is done by the other loop's transport.
        assert server.exchange(b"nonsense\r\n\r\n").status == 400
        with server.connect():
            end_quietly(server, signal.SIGINT)
        text = server.log.read_text()
    assert "--grpc_socket_path=/none has no effect" in text
    assert f"ready: http://127.0.0.1:{server.port}/v1/models/mixed, version 7" in text


@pytest.mark.servers
def test_metrics_are_served(mixed: Running) -> None:
    predict(mixed, {"signature_name": "flip", "instances": [[True, False]]})
    page = mixed.get("/monitoring/prometheus/metrics")
    assert (page.status, page.header("Content-Type")) == (200, "text/plain")
    assert b':tensorflow:serving:request_count{model_name="mixed",status="OK"}' in page.body


@pytest.mark.servers
@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (
            {"signature_name": "add", "inputs": {"a": [[1, 2], [3, 4.5]], "b": [10, 20]}},
            {"outputs": {"total": [13.0, 27.5], "twice": [20, 40]}},
        ),
        (
            {"signature_name": "add", "instances": [{"a": [1, 2], "b": 10}]},
            {"predictions": [{"total": 13.0, "twice": 20}]},
        ),
        (
            {"signature_name": "strings", "instances": ["é", {"b64": "AAE="}]},
            {
                "predictions": [
                    {"echo": "é", "echo_bytes": {"b64": "w6k="}, "length": 2},
                    {"echo": "\0\1", "echo_bytes": {"b64": "AAE="}, "length": 2},
                ]
            },
        ),
        ({"signature_name": "flip", "inputs": [[True, False]]}, {"outputs": [[False, True]]}),
        ({"signature_name": "same", "inputs": [0.1, 1e300]}, {"outputs": [0.1, 1e300]}),
        ({"signature_name": "positive", "inputs": [[1], [2]]}, {"outputs": [[1.0], [2.0]]}),
        ({"signature_name": "positive", "inputs": 3}, {"outputs": 3.0}),
    ],
)
def test_signatures_of_many_kinds(mixed: Running, body: object, answer: object) -> None:
    assert predict(mixed, body) == (200, answer)


@pytest.mark.servers
def test_errors_of_the_graph_are_the_clients(mixed: Running) -> None:
    status, answer = predict(mixed, {"signature_name": "positive", "inputs": [-1]})
    assert status == 400
    assert answer["error"].startswith("assertion failed: [must not be negative.")


@pytest.mark.servers
def test_a_model_without_a_default_signature_says_so(mixed: Running) -> None:
    status, answer = predict(mixed, {"inputs": [1]})
    assert status == 400
    assert '"serving_default"' in answer["error"]
    (version,) = json.loads(mixed.get("/v1/models/mixed").body)["model_version_status"]
    assert (version["version"], version["state"]) == ("7", "AVAILABLE")
