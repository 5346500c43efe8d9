"""TorchServe: attached, or started without its launcher, which would orphan its JVM."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_servebench.errors import OptionError, ServerStartError, ServerUnavailableError
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import HttpAnswer, HttpRequest
from pytest_servebench.protocols.torchserve import TorchServeRest
from pytest_servebench.servers import probe
from pytest_servebench.servers.attached import Attachment, attach
from pytest_servebench.servers.base import RunningServer, ServerSettings
from pytest_servebench.servers.environment import (
    TOKEN_VARIABLE,
    artifact,
    checked_name,
    environment,
)
from pytest_servebench.servers.first_prediction import Ask, Judge, Refusal, by_status, read_json
from pytest_servebench.servers.java import find_java
from pytest_servebench.servers.launch import (
    Readiness,
    StartedServer,
    launching,
    url,
    wait_for_prediction,
    with_fresh_ports,
)
from pytest_servebench.servers.logs import FatalLine
from pytest_servebench.servers.no_answer import NoAnswerError
from pytest_servebench.servers.process import ServerProcess
from pytest_servebench.servers.torchserve_config import config_properties, log_configuration
from pytest_servebench.system.python_child import without_tracers
from pytest_servebench.text.redaction import hide

KIND = "torchserve"
URL_OPTION = "--servebench-torchserve-url"
_EXTRA = "pip install 'pytest-servebench[torchserve]'"
# The wheel of TorchServe forgets to declare pyyaml, without which every worker dies at import.
_PACKAGES = {"ts": "torchserve", "torch": "torch", "yaml": "pyyaml"}
_PORTS = 5  # inference, management, metrics, and gRPC for inference and management
# Any of these in its environment would override the configuration written here.
_OVERRIDES = re.compile(r"TS_\w+|LOG_LOCATION|METRICS_LOCATION|TEMP")

FATAL = (
    FatalLine(
        re.compile(r"BindException|Address already in use|Failed to bind"),
        "one of its ports was taken by another program",
        port_clash=True,
    ),
    FatalLine(
        re.compile(r" - ModuleNotFoundError: "),
        "its worker lacks a Python package, and would be started again for ever",
    ),
    FatalLine(
        re.compile(r"Backend worker process died|Load model failed|Worker died"),
        "its worker failed to load the model, and would be started again for ever",
    ),
    FatalLine(
        re.compile(r"Failed to load (initial )?model|Unable to load"), "it could not load the model"
    ),
)


@dataclass(frozen=True)
class _Installation:
    """A TorchServe that can run: Java, the directory that holds its package, its version."""

    java: Path
    home: Path
    version: str


class TorchServe:
    """Serves a ``.mar`` archive over TorchServe's inference API."""

    @property
    def name(self) -> str:
        """Return the word for options, ids and JSON."""
        return KIND

    @property
    def title(self) -> str:
        """Return the name for people."""
        return "TorchServe"

    def attached(self, settings: ServerSettings) -> bool:
        """Tell whether ``settings`` name a running server of this kind."""
        return bool(settings.torchserve_url)

    def start(self, model: ServedModel, settings: ServerSettings, run_dir: Path) -> RunningServer:
        """Start or attach to a server, and return when it has answered a prediction correctly.

        Raises:
            ServerUnavailableError: Java or a Python package is missing.
            ServerStartError: it did not become ready; nothing of it is left running.
        """
        served = settings.torchserve_model or model.served_name(KIND)
        if settings.torchserve_url:
            protocol = TorchServeRest(served, _checked_token(settings.torchserve_token))
            attachment = Attachment(
                KIND,
                self.title,
                settings.torchserve_url,
                URL_OPTION,
                _judge_by(protocol),
            )
            return attach(attachment, protocol, model, settings)
        checked_name(served)
        installation = find_installation()
        archive = check_archive(artifact(model, KIND))

        def start(ports: list[int]) -> RunningServer:
            return _start(
                installation,
                archive=archive,
                served=served,
                model=model,
                settings=settings,
                run_dir=run_dir,
                ports=ports,
            )

        return with_fresh_ports(_PORTS, start)


def find_installation() -> _Installation:
    """Return the TorchServe that is installed for this Python.

    Raises:
        ServerUnavailableError: a package or Java is missing.
    """
    missing = [name for module, name in _PACKAGES.items() if not importlib.util.find_spec(module)]
    if missing:
        raise ServerUnavailableError(
            f"TorchServe cannot run here: not installed for {sys.executable}: "
            f"{', '.join(missing)}. Remedy: {_EXTRA}."
        )
    spec = importlib.util.find_spec("ts")  # not imported: that would import torch
    package = Path(next(iter((spec and spec.submodule_search_locations) or [""])))
    if not list(package.glob("frontend/*.jar")):
        raise ServerUnavailableError(
            f"The package 'ts' at {package} is not TorchServe: it has no frontend/*.jar. "
            f"Remedy: uninstall it, then {_EXTRA}."
        )
    java = find_java()
    try:
        version = (package / "version.txt").read_text(encoding="utf-8").strip()
    except OSError:
        version = "of unknown version"
    return _Installation(java, package.parent, version)


def check_archive(path: Path) -> Path:
    """Return ``path`` if it is a model archive.

    Raises:
        ServerStartError: it is not; says what is wrong, and what to do.
    """
    remedy = "make one with torch-model-archiver"
    if not path.is_file():
        raise ServerStartError(f"There is no model archive (.mar file) at {path}: {remedy}.")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise ServerStartError(f"{path} is not a model archive: {error}; {remedy}.") from None
    if "MAR-INF/MANIFEST.json" not in names:
        raise ServerStartError(
            f"{path} is not a model archive: it has no MAR-INF/MANIFEST.json; {remedy}."
        )
    return path


def _start(
    installation: _Installation,
    *,
    archive: Path,
    served: str,
    model: ServedModel,
    settings: ServerSettings,
    run_dir: Path,
    ports: list[int],
) -> RunningServer:
    title = f"TorchServe {installation.version}"
    # TorchServe writes its keys to its working directory. That of the run is kept, and uploaded
    # by many a CI; this one is private and goes with the server.
    with launching() as launch:
        config = run_dir.absolute() / "config.properties"
        config.write_text(config_properties(settings, ports), encoding="utf-8")
        log_config = run_dir.absolute() / "log4j2.xml"
        log_config.write_text(log_configuration(), encoding="utf-8")
        store, temporary = launch.scratch / "store", launch.scratch / "tmp"
        store.mkdir()
        temporary.mkdir()
        (store / f"{served}.mar").symlink_to(archive)
        launch.process = ServerProcess(
            [
                str(installation.java),
                # Its default is a quarter of the machine's memory, whatever it needs.
                "-Xmx1g",
                f"-Dmodel_server_home={installation.home}",
                f"-Djava.io.tmpdir={temporary}",
                f"-Dlog4j.configurationFile={log_config.as_uri()}",
                *("-cp", f"{installation.home / 'ts' / 'frontend'}/*"),
                "org.pytorch.serve.ModelServer",
                *("--python", sys.executable),
                *("-f", str(config)),
                *("-s", str(store)),
                "-ncs",
                *("-m", f"{served}={served}.mar"),
            ],
            cpus=settings.cpus,
            stop_grace=settings.stop_grace,
            cwd=launch.scratch,
            env=_environment(settings),
            log=run_dir / "server.log",
            scratch=launch.scratch,
        )
        readiness = Readiness(title, launch.process, settings.start_timeout, FATAL)
        keys = _wait_for_keys(readiness, launch.scratch / "key_file.json")
        for key in keys.values():
            hide(key)
        _wait_for_workers(readiness, ports[1], served, keys["management"])
        protocol = TorchServeRest(served, keys["inference"])
        mismatch = wait_for_prediction(
            readiness, ports[0], protocol, model, _judge_by(protocol), settings.max_body
        )
        return StartedServer(KIND, title, url(ports[0]), protocol, launch.process, mismatch)


def _environment(settings: ServerSettings) -> dict[str, str]:
    inherited = without_tracers(environment(settings, {}))  # which would be its slowness
    return {key: value for key, value in inherited.items() if not _OVERRIDES.fullmatch(key)}


def _wait_for_keys(readiness: Readiness, path: Path) -> dict[str, str]:
    """Return TorchServe's keys by purpose, and remove the file that it wrote them to."""
    keys: dict[str, str] = {}

    def attempt(_: float) -> tuple[bool, str]:
        try:
            content: Mapping[str, Mapping[str, str]] = json.loads(path.read_bytes())
            keys.update((purpose, entry["key"]) for purpose, entry in content.items())
        except FileNotFoundError:
            return False, "no such file"
        except (ValueError, KeyError, TypeError, AttributeError):
            return False, "a file without keys"  # perhaps half written
        return {"management", "inference"} <= keys.keys(), f"keys for {sorted(keys)}"

    readiness.wait_for(f"its keys in {path}", attempt)
    path.unlink(missing_ok=True)
    return keys


def _wait_for_workers(readiness: Readiness, port: int, served: str, key: str) -> None:
    """Wait until every worker of the model is ready; /ping says "Healthy" long before."""
    request = HttpRequest("GET", f"/models/{served}", (("Authorization", f"Bearer {key}"),))

    def attempt(left: float) -> tuple[bool, str]:
        if not readiness.listens(port):
            return False, f"nobody listens on its management port {port}"
        try:
            answer = probe.ask(url(port), request, min(left, 10.0))
        except NoAnswerError as error:
            return False, f"{request.method} {request.path}: {error}"
        if answer.status != 200:
            return False, f"{request.method} {request.path}: {probe.describe(answer)}"
        states = _worker_states(answer.body)
        return bool(states) and set(states) == {"READY"}, f"workers {states}"

    readiness.wait_for(f"every worker of {served!r} to be READY", attempt)


def _worker_states(body: bytes) -> list[str]:
    try:
        versions: list[dict[str, Any]] = json.loads(body)
        return [str(worker["status"]) for version in versions for worker in version["workers"]]
    except (ValueError, KeyError, TypeError):
        return []


def _checked_token(token: str | None) -> str | None:
    """Return a token that can be sent in a header.

    Raises:
        OptionError: it cannot; the message does not repeat it.
    """
    if not token:
        return None
    if not re.fullmatch(r"[!-~]+", token):
        raise OptionError(
            f"{TOKEN_VARIABLE} holds blanks or characters that an HTTP header cannot carry: set it "
            'to the "key" of "inference" in the server\'s key_file.json, and to nothing else.'
        )
    return token


def _judge_by(protocol: TorchServeRest) -> Judge:
    """Return what knows the server's refusals, whose statuses say less than their types."""

    def judge(answer: HttpAnswer, _: Ask) -> Refusal:
        said = read_json(answer.body)
        kind = said.get("type") if isinstance(said, dict) else None
        if kind == "InvalidKeyException":
            state = "wrong or expired" if protocol.token else "not set"
            return Refusal(
                f"it wants its inference key, and {TOKEN_VARIABLE} is {state}: set it to the key "
                'of "inference" in the key_file.json of the server\'s working directory (new after '
                "each start; expires after 60 minutes unless token_expiration_min says otherwise)."
            )
        if kind == "ServiceUnavailableException":
            return Refusal("it has no worker for the model, or its queue is full.", loading=True)
        if kind == "InternalServerException":
            return Refusal(
                'its handler failed; does it take {"instances": […]}? See the server\'s log.',
                serving=True,
            )
        return by_status(answer, TorchServe().title, "--servebench-torchserve-model")

    return judge
