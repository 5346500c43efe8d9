"""Servers that are started by a configured command."""

from __future__ import annotations

import dataclasses
import json
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.errors import OptionError, ServerStartError, ServerUnavailableError
from pytest_servebench.model import ServedModel
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.command import Command
from pytest_servebench.servers.engine import OWNER_LABEL
from pytest_servebench.servers.launch import StartedServer
from pytest_servebench.servers.logs import PORT_CLASH, first_fatal

from .test_kit import SERVER

Start = Callable[..., StartedServer]
SERVES = {"GET": [200], "POST": [200]}


@pytest.fixture
def start(
    tmp_path: Path, model: ServedModel, settings: ServerSettings, run_dir: Path,
    request: pytest.FixtureRequest,
) -> Start:  # fmt: skip
    """Start ``python server.py PORT PLAN`` with other options."""
    (tmp_path / "server.py").write_text(SERVER)

    def started(
        plan: object = SERVES, changes: dict[str, Any] | None = None, **options: Any
    ) -> StartedServer:
        told = json.dumps(plan).replace("{", "{{").replace("}", "}}")
        options = {
            "command": ("{python}", "server.py", "{port}", told, *options.pop("more", ())),
            "protocol": {"name": "tensorflow-serving", "model": "m"}, **options,
        }  # fmt: skip
        kind = Command("mine", "Mine", tmp_path, **options)
        server = kind.start(model, dataclasses.replace(settings, **(changes or {})), run_dir)
        assert isinstance(server, StartedServer)
        request.addfinalizer(server.stop)
        return server

    return started


def test_its_command_and_environment_are_filled_in(
    start: Start, tmp_path: Path, run_dir: Path
) -> None:
    (tmp_path / "model.bin").touch()
    texts = {
        "A": "{artifact}", "M": "{model}", "P": "{port}", "P2": "{port3}", "R": "{run_dir}",
        "S": "{scratch}", "T": "{threads} {workers} {host} {{}}", "OMP_NUM_THREADS": "7",
    }  # fmt: skip
    server = start(
        env=texts, artifact=tmp_path / "model.bin", model="net", ready="/ready/{model}",
        changes={"threads": 2, "workers": 3}, version=("numpy", "pytest"),
    )  # fmt: skip
    told = json.loads((tmp_path / "told").read_text())
    got = {name: told["environ"][name] for name in texts}
    assert got.pop("P2") not in (got["P"], "")
    assert got == {
        "A": str(tmp_path / "model.bin"), "M": "net", "P": server.base_url.rpartition(":")[2],
        "R": str(run_dir), "S": told["environ"]["TMPDIR"], "T": "2 3 127.0.0.1 {}",
        "OMP_NUM_THREADS": "7",
    }  # fmt: skip
    assert told["cwd"] == str(tmp_path)
    assert server.implementation.startswith("numpy ")
    assert ", pytest " in server.implementation
    log = server.log_files[0].read_text().splitlines()
    assert log == ["GET /ready/net 200", "POST /v1/models/m:predict 200"]
    scratch = Path(told["environ"]["TMPDIR"])
    server.stop()
    assert not scratch.exists()


def test_an_environment_of_its_own(start: Start, tmp_path: Path) -> None:
    """Its programs come first, as if it was activated."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    (tmp_path / "below").mkdir()
    told = json.dumps(SERVES).replace("{", "{{").replace("}", "}}")
    start(
        command=("python", "../server.py", "{port}", told), directory="below",
        python=tmp_path / "env" / "bin" / "python",
    )  # fmt: skip
    assert json.loads((tmp_path / "below" / "told").read_text())["prefix"] == str(tmp_path / "env")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "error", "facts"),
    [
        ({"plan": {"GET": [200], "POST": [400], "says": ["loading"]}}, ServerStartError,
         ["Mine did not become ready", "1.5 s", "status 400", "not yet", "| POST"]),
        ({"command": ("{python}", "-c", "print('no weights'); exit(3)", "{port}")},
         ServerStartError, ["exit status 3", "| no weights"]),
        ({"command": ("{python}", "-c", "import time; time.sleep(60)", "{port}")},
         ServerStartError, ["1.5 s", "nothing listens on port"]),
        ({"plan": {**SERVES, "port": 0}}, ServerStartError,
         ["nothing listens on port", "it listens on 127.0.0.1:", ", not on 127.0.0.1:"]),
        ({"plan": {**SERVES, "host": "127.0.0.2"}}, ServerStartError,
         ["nothing listens on port", "it listens on 127.0.0.2:", ", not on 127.0.0.1:"]),
        ({"command": ("no-such-program", "{port}")}, ServerStartError,
         ["no-such-program", "No such file"]),
        ({"plan": {"GET": [503], "POST": [200], "says": ["out of Memory"]}, "ready": "/r",
          "fatal": ("of memory$",)}, ServerStartError, ["'of memory$'", "'out of Memory'"]),
        ({"ready": "/r", "plan": {"GET": [404], "POST": [200]}, "version": ("numpy",)},
         ServerStartError, ["Mine (numpy ", "GET /r", "404", "ready"]),
        ({"protocol": {"name": "json", "path": "/typo"}, "plan": {"GET": [200], "POST": [404]}},
         ServerStartError, ["POST /typo", "404", "mine.protocol", "path"]),
        ({"plan": {"GET": [200], "POST": [404]}}, ServerStartError, ["mine.model"]),
        ({"python": Path("/nowhere/python")}, ServerUnavailableError,
         ["mine.python", "/nowhere/python"]),
        ({"version": ("nonesuch",)}, ServerUnavailableError, ["nonesuch", "pip install nonesuch"]),
        ({"env": {"A": "{artifact}"}, "artifact": Path("/nowhere/it")}, ServerStartError,
         ["mine.artifact", "/nowhere/it"]),
        ({"env": {"A": "{artifact}"}, "artifact": "onnx"}, ServerStartError,
         ["onnx", "tensorflow_serving"]),
        ({"directory": "nowhere"}, ServerStartError, ["mine.directory", "nowhere"]),
        ({"changes": {"workers": 2}}, OptionError, ["mine", "2 workers", "{workers}"]),
    ],
)  # fmt: skip
def test_what_keeps_it_from_serving_is_told(
    start: Start, options: dict[str, Any], error: type[Exception], facts: Sequence[str],
    nothing_left: Callable[[], None],
) -> None:  # fmt: skip
    changes = {"start_timeout": 1.5, **options.pop("changes", {})}
    with pytest.raises(error) as caught:
        start(changes=changes, **options)
    assert all(fact in str(caught.value) for fact in facts), str(caught.value)
    nothing_left()


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", ""), ("0.0.0.0", "0.0.0.0:")])
def test_one_that_other_machines_may_reach(start: Start, host: str, shown: str) -> None:
    server = start({**SERVES, "host": host})
    port = server.base_url.rpartition(":")[2]
    assert list(server.exposed) == ([shown + port] if shown else [])


@pytest.mark.parametrize(
    "line",
    [
        "OSError: [Errno 98] Address already in use",
        "[Errno 98] error while attempting to bind on address ('::1', 80): address already in use",
        "[ERROR] Connection in use: ('127.0.0.1', 80)",
        "Error: listen EADDRINUSE: address already in use :::80",
        "java.net.BindException: Address in use",
        "failed to listen: Socket '127.0.0.1:80' already in use",
        "Failed to bind to address: http://127.0.0.1:80",
        "Http port 8000 is not available",
    ],
)
def test_a_port_that_is_taken_is_recognised(line: str) -> None:
    assert first_fatal([line], [PORT_CLASH]) == (PORT_CLASH, line)
    assert PORT_CLASH.port_clash


def test_one_that_runs_is_attached_by_its_url(
    start: Start, model: ServedModel, settings: ServerSettings, run_dir: Path
) -> None:
    server = start()
    kind = Command("it", "It", protocol="tensorflow-serving", model="m", url=server.base_url)
    assert kind.attached
    assert (
        kind.start(model, settings, run_dir).implementation == f"attached It at {server.base_url}"
    )


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"command": ("{port}",), "network": "mapped"}, ("network", "image")),
        ({"command": ("{port}",), "port": 80}, ("port", "image")),
        ({"image": "a"}, ("{port}", "fixed in the image")),
        ({"image": "a", "port": 80, "network": "host"}, ("port = 80", "network")),
        ({"image": "a", "port": 65536}, ("port = 65536", "65535")),
        ({"image": "a", "port": 80, "python": Path("p")}, ("python and image", "own")),
        ({"image": "a", "port": 80, "url": "http://x"}, ("url and image",)),
        ({"image": "a", "port": 80, "command": ("{python}",)}, ("{python}", "python3")),
        ({"image": "a", "port": 80, "run_args": ("-v", "{scratch}:/x")}, ("run_args", "{scratch}")),
        *(
            (
                {"image": "a", "port": 80, "run_args": ("-tv", "/p:/p", *arguments)},
                ("run_args", repr(arguments[0]), remedy),
            )
            for arguments, remedy in [
                (("--network", "none"), "key network"),
                (("--net=host",), "key network"),
                (("--name=mine",), "own"),
                (("--rm",), "removed"),
                (("-itd",), "foreground"),
                (("--restart=always",), "again"),
                (("-p8080:80",), '"mapped"'),
                (("-P",), "127.0"),
                (("--cpuset-cpus=0",), "--servebench-server-cpus"),
                (("--pod=x",), "network"),
                ((f"--label={OWNER_LABEL}=me",), "left behind"),
            ]
        ),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], facts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the facts are looked for below
        Command("boxed", "Boxed", protocol="v1", **options)
    for fact in facts:
        assert fact in str(caught.value)
