"""TorchServe: attached, or started without its launcher, which would orphan the JVM."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from pytest_servebench.errors import OptionError, ServerUnavailableError
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import HttpAnswer
from pytest_servebench.protocols.grpc import GrpcAnswer, GrpcStatus
from pytest_servebench.protocols.raw_bodies import BINARY
from pytest_servebench.protocols.torchserve import TorchServeRest
from pytest_servebench.protocols.torchserve_grpc import UNNAMED, TorchServeGrpc
from pytest_servebench.servers.attached import attach
from pytest_servebench.servers.base import RunningServer, ServerSettings
from pytest_servebench.servers.container import Container, ContainerOptions
from pytest_servebench.servers.environment import artifact, checked_name
from pytest_servebench.servers.first_prediction import Ask, Refusal, by_status, no_model, read_json
from pytest_servebench.servers.java import find_java
from pytest_servebench.servers.kind_options import (
    at_least,
    check_started,
    option,
    pairs,
    spelled,
    variable,
    words,
)
from pytest_servebench.servers.launch import Program, launch
from pytest_servebench.servers.logs import PORT_CLASH, FatalLine
from pytest_servebench.servers.readiness import Place
from pytest_servebench.servers.torchserve_archive import check_archive, version_of
from pytest_servebench.servers.torchserve_config import (
    JOB_QUEUE,
    LOG4J2,
    ModelConfig,
    config_properties,
)
from pytest_servebench.servers.torchserve_properties import check_properties, check_vmarg
from pytest_servebench.servers.torchserve_ready import with_key

KIND = "torchserve"
_EXTRA = "pip install 'pytest-servebench[torchserve]'"
# TorchServe's wheel does not declare pyyaml, without which every worker crashes on import.
_PACKAGES = {"ts": "torchserve", "torch": "torch", "yaml": "pyyaml"}
_JAVA = "java"  # in an image, which has it on its PATH
# Options of a server that is started, not attached to.
_STARTED = ("batch_size", "max_batch_delay", "job_queue_size", "vmargs", "properties")
_PORTS = 5  # inference, management, metrics, and gRPC for inference and management
# Prints the directory that holds TorchServe's package, and its version.
_WHERE = (
    "import importlib.util as u, pathlib as p; h = p.Path(u.find_spec('ts').origin).parent; "
    "print(h.parent, (h / 'version.txt').read_text().strip())"
)
# Any of these in the environment would override the configuration written here.
_OVERRIDES = re.compile(r"TS_\w+|LOG_LOCATION|METRICS_LOCATION|TEMP")

FATAL = (
    PORT_CLASH,
    FatalLine(
        re.compile(r" - ModuleNotFoundError: "),
        "its worker lacks a Python package, and keeps being restarted",
    ),
    FatalLine(
        re.compile(r"Backend worker process died|Load model failed|Worker died"),
        "its worker cannot load the model, and keeps being restarted",
    ),
    FatalLine(
        re.compile(r"Failed to load (initial )?model|Unable to load"), "it could not load the model"
    ),
)


@dataclass(frozen=True)
class _Installation:
    java: str | None  # in a container, its entrypoint
    home: Path
    version: str
    python: str = sys.executable
    container: Container | None = None


@dataclass(frozen=True)
class TorchServe(ContainerOptions):
    """Serves a ``.mar`` archive over TorchServe's inference API, as REST or gRPC."""

    name: ClassVar[str] = KIND
    title: ClassVar[str] = "TorchServe"

    url: str = option(
        "",
        "attach to the TorchServe at this URL; "
        f"set its inference key in ${variable(KIND, 'token')}",
        compared=False,
    )
    model: str = option("", "the model's name at TorchServe", compared=False)
    token: str = option("", "inference key of an attached TorchServe", secret=True)
    transport: Literal["rest", "grpc"] = option("rest", "which API is asked for predictions")
    body: Literal["json", "bytes", "multipart"] = option(
        "json",
        "`instances` in JSON, the one input as it is, or a form (in gRPC: each input by its name)",
    )
    content_type: str = option(BINARY, "content type of bytes; gRPC has none")
    input: str = option("", "gRPC: the name of an input without a name; by default `data`")
    answer: str = option("", "path to the prediction in the answer to bytes or a form")
    batch_size: int | None = option(
        None,
        "most requests that the handler gets at once; default 1, or the archive's",
        read=at_least(1),
    )
    max_batch_delay: int | None = option(
        None,
        "how long a request waits for others, ms; default 100, or the archive's",
        read=at_least(1),
    )
    job_queue_size: int | None = option(
        None,
        f"requests that may wait before it answers 503; default {JOB_QUEUE}",
        read=at_least(1),
    )
    vmargs: tuple[str, ...] = option((), "arguments of the JVM, after -Xmx1g", read=words)
    properties: Mapping[str, str] | None = option(
        None, "other entries of config.properties", read=pairs
    )

    def __post_init__(self) -> None:
        """Check the options that do not go together.

        Raises:
            ValueError: names them.
        """
        super().__post_init__()
        if self.image and self.url:
            raise ValueError("image and url do not go together: give one of them")
        if self.answer and self.body == "json":
            raise ValueError(
                f"answer = {self.answer!r} is for body = bytes or multipart: the answer to json "
                'is "predictions"'
            )
        if self.input and self.transport == "rest":
            raise ValueError(f"input = {self.input!r} is for transport = grpc: omit it")
        if self.content_type != BINARY and self.transport == "grpc":
            raise ValueError(f"content_type = {self.content_type!r}: gRPC has none: omit it")
        check_started(self, self.url, _STARTED)
        for argument in self.vmargs:
            check_vmarg(argument)
        check_properties(self.properties or {})

    @property
    def attached(self) -> bool:
        """Return whether its options name a server that already runs."""
        return bool(self.url)

    def start(self, model: ServedModel, settings: ServerSettings, run_dir: Path) -> RunningServer:
        """Start or attach to a server, and return when it has answered a prediction correctly.

        Raises:
            ServerUnavailableError: Java or a Python package is missing.
            ServerStartError: it did not become ready; no process is left running.
        """
        served = self.model or model.served_name(self.name)
        protocol = self._protocol(served)
        if self.url:
            protocol = replace(protocol, token=_checked_token(self.token, self.name))
            return attach(self, self.url, protocol, model, settings, self._judge)
        checked_name(served)
        installation = self._in_container() if self.image else find_installation()
        archive = check_archive(artifact(model, self.name))
        config = ModelConfig(served, version_of(archive), self._batching)
        program = Program(
            implementation=f"TorchServe {installation.version}"
            + (f" in {self.image}" if self.image else ""),
            command=lambda place: self._command(installation, archive, config, settings, place),
            protocol=lambda readiness: with_key(
                readiness, protocol, {**config.batching, "minWorkers": settings.workers}
            ),
            ports=_PORTS,
            environment=_environment if self.image else _inherited(),
            fatal=(*FATAL, self._jvm_refuses),
            judge=self._judge,
            container=installation.container and installation.container.serving(archive),
        )
        return launch(self, program, model, settings, run_dir)

    def _in_container(self) -> _Installation:
        container = self.container(self.name, entrypoint=_JAVA)
        home, _, version = container.output_of("python", "-c", _WHERE).strip().rpartition(" ")
        if not home:
            raise ServerUnavailableError(
                f"{spelled(self.name, 'image')}={self.image}: TorchServe is not installed for the "
                "Python of this image. Remedy: give an image such as pytorch/torchserve:TAG."
            )
        return _Installation(None, Path(home), version, "python", container.at_home())

    @property
    def _batching(self) -> dict[str, int]:
        named = {"batchSize": self.batch_size, "maxBatchDelay": self.max_batch_delay}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def _jvm_refuses(self) -> FatalLine:
        return FatalLine(
            re.compile(r"Could not create the Java Virtual Machine|Unrecognized (VM )?option"),
            f"Java refuses an argument; check {spelled(self.name, 'vmargs')}="
            f"{shlex.join(self.vmargs)}",
        )

    def _command(
        self,
        installation: _Installation,
        archive: Path,
        model: ModelConfig,
        settings: ServerSettings,
        place: Place,
    ) -> list[str]:
        """Write the configuration, and return what to run.

        TorchServe writes its keys to its working directory, which is private and removed with the
        server; the run's directory is kept, and many CI jobs upload it.
        """
        config = place.run_dir / "config.properties"
        text = config_properties(
            model,
            settings,
            self._with_ports_in_order(place),
            job_queue_size=self.job_queue_size,
            properties=self.properties,
        )
        config.write_text(text, encoding="utf-8")
        log_config = place.run_dir / "log4j2.xml"
        log_config.write_text(LOG4J2, encoding="utf-8")
        store, temporary = place.scratch / "store", place.scratch / "tmp"
        store.mkdir()
        temporary.mkdir()
        (store / f"{model.name}.mar").symlink_to(archive)
        return [
            *([installation.java] if installation.java else ()),
            # The default is a quarter of the machine's memory.
            "-Xmx1g",
            *self.vmargs,
            f"-Dmodel_server_home={installation.home}",
            f"-Djava.io.tmpdir={temporary}",
            f"-Dlog4j.configurationFile={log_config.as_uri()}",
            *("-cp", f"{installation.home / 'ts' / 'frontend'}/*"),
            "org.pytorch.serve.ModelServer",
            *("--python", installation.python),
            *("-f", str(config)),
            *("-s", str(store)),
            "-ncs",
            *("-m", f"{model.name}={model.name}.mar"),
        ]

    def _with_ports_in_order(self, place: Place) -> Place:
        """Return the place with the ports as the configuration takes them.

        Predictions have the first port of a place, and gRPC's is the fourth.
        """
        if self.transport == "rest":
            return place
        grpc, management, metrics, http, grpc_management = place.ports
        return replace(place, ports=(http, management, metrics, grpc, grpc_management))

    def _protocol(self, served: str) -> TorchServeRest | TorchServeGrpc:
        if self.transport == "rest":
            return TorchServeRest(
                served, body=self.body, content_type=self.content_type, answer=self.answer
            )
        return TorchServeGrpc(
            served, body=self.body, answer=self.answer, input=self.input or UNNAMED
        )

    @property
    def _sent(self) -> str:
        return {
            "json": '{"instances": […]}', "bytes": "one input as it is",
            "multipart": "a form" if self.transport == "rest" else "inputs by their names",
        }[self.body]  # fmt: skip

    def _judge(self, answer: HttpAnswer | GrpcAnswer, _: Ask) -> Refusal:
        """Judge by the error types in the answers, which say more than the statuses of HTTP."""
        kind = _error_type(answer)
        if kind == "InvalidKeyException":
            state = "wrong or expired" if self.token else "not set"
            return Refusal(
                f"it requires its inference key, and {variable(self.name, 'token')} is {state}: "
                'set it to the key of "inference" in the key_file.json of the server\'s working '
                "directory (new after each start; expires after 60 minutes unless "
                "token_expiration_min differs)."
            )
        if kind == "ServiceUnavailableException":
            return Refusal("it has no worker for the model, or its queue is full.", loading=True)
        if kind == "InternalServerException":
            return Refusal(
                f"its handler failed; does it take {self._sent}? See the server's log, and "
                f"{spelled(self.name, 'body')}.",
                serving=True,
            )
        if kind in ("ModelNotFoundException", "ModelVersionNotFoundException"):
            return no_model(self)
        return by_status(answer, self)


def _error_type(answer: HttpAnswer | GrpcAnswer) -> str | None:
    """Return TorchServe's name of an error; ``None`` if it has none.

    In JSON it is the type; in gRPC, whose statuses hardly differ, the end of the details.
    """
    if isinstance(answer, HttpAnswer):
        said = read_json(answer.body)
        return said.get("type") if isinstance(said, dict) else None
    if answer.status in (GrpcStatus.UNAUTHENTICATED, GrpcStatus.PERMISSION_DENIED):
        return "InvalidKeyException"
    return answer.details.rpartition("\n")[2].rpartition(".")[2].strip()


def _inherited() -> Mapping[str, None]:
    """Return what it must not inherit from this process."""
    return dict.fromkeys(filter(_OVERRIDES.fullmatch, os.environ))


def _environment(place: Place) -> Mapping[str, str]:
    """Return what an image has, too: the image's own directory is its user's."""
    return {"TEMP": str(place.scratch / "tmp")}


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
    return _Installation(str(java), package.parent, version)


def _checked_token(token: str, kind: str) -> str | None:
    """Return the token for a server of ``kind``.

    Raises:
        OptionError: it cannot be sent in a header; the message does not repeat it.
    """
    if not token:
        return None
    if not re.fullmatch(r"[!-~]+", token):
        raise OptionError(
            f"{variable(kind, 'token')} has spaces or characters not allowed in a header: set it "
            'to the "key" of "inference" in the server\'s key_file.json, and nothing else.'
        )
    return token
