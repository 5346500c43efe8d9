"""TensorFlow Serving: attached, the real ``tensorflow_model_server``, or the embedded server."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import unquote

from pytest_servebench.errors import ServerStartError, ServerUnavailableError
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.grpc import GrpcStatus
from pytest_servebench.protocols.tensorflow_serving import TensorFlowServingRest
from pytest_servebench.protocols.tensorflow_serving_grpc import TensorFlowServingGrpc
from pytest_servebench.servers.attached import attach
from pytest_servebench.servers.base import RunningServer, ServerSettings
from pytest_servebench.servers.container import Container, ContainerOptions
from pytest_servebench.servers.environment import artifact, checked_name, output_of
from pytest_servebench.servers.first_prediction import Ask, Judge, Refusal, by_status
from pytest_servebench.servers.kind_options import at_least, check_started, option, pairs, spelled
from pytest_servebench.servers.launch import Program, launch
from pytest_servebench.servers.logs import PORT_CLASH, FatalLine
from pytest_servebench.servers.no_answer import NoAnswerError
from pytest_servebench.servers.readiness import Place
from pytest_servebench.servers.savedmodel_server.repository import RepositoryError, newest_version
from pytest_servebench.servers.tensorflow_serving_flags import (
    BATCHING,
    arguments,
    check_flags,
    lacking,
    names_in,
)
from pytest_servebench.system.python_child import python_child
from pytest_servebench.text.safe import joined

KIND = "tensorflow_serving"
BINARY = "tensorflow_model_server"
_EMBEDDED = "pytest_servebench.servers.savedmodel_server"
GRPC_THREADS = 1024
_UNAUTHORIZED = (401, 403, GrpcStatus.UNAUTHENTICATED, GrpcStatus.PERMISSION_DENIED)
_NO_MODEL = (404, GrpcStatus.NOT_FOUND)
_VERSION_LIMIT = 60.0  # seconds for PROGRAM --version

FATAL = (
    FatalLine(
        # The real server continues without its REST API; the other program would answer.
        re.compile(r"Failed to start HTTP Server"),
        "another program took its REST port",
        port_clash=True,
    ),
    PORT_CLASH,
    FatalLine(re.compile(r"Failed to start server\. Error"), "it refused to start"),
    FatalLine(
        # It would start without it.
        re.compile(r"^unknown argument: "),
        "it has no such flag; check the option flags",
    ),
    FatalLine(
        re.compile(r"Couldn't interpret value"),
        "a flag has a wrong value; check the option flags",
    ),
    FatalLine(
        re.compile(r"Could not find base path|No versions of servable \S+ found under base path"),
        "it found no model, and waits for one forever",
    ),
)

_MODEL_URL = re.compile(
    r"(?P<address>[a-z+]+://[^/?#]+(?:/[^?#]+?)?)/v1/models/(?P<model>[^/:?#]+(?:/(?:versions|labels)/[^/:?#]+)?)"
    r"(?:/|:predict)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Program:
    """What to run: the command without flags, its name and version, and its environment."""

    command: tuple[str, ...]
    implementation: str
    environment: Mapping[str, str] = field(default_factory=dict)
    container: Container | None = None


@dataclass(frozen=True)
class TensorFlowServing(ContainerOptions):
    """Serves a SavedModel over TensorFlow Serving's REST API, or over its gRPC API."""

    name: ClassVar[str] = KIND
    title: ClassVar[str] = "TensorFlow Serving"

    binary: Path | None = option(None, f"the {BINARY} to run; by default, the one on PATH")
    require_real: bool = option(False, "never fall back to the embedded server", compared=False)
    url: str = option("", "attach to the TensorFlow Serving at this URL", compared=False)
    model: str = option("", "the model's name at TensorFlow Serving", compared=False)
    transport: Literal["rest", "grpc"] = option("rest", "which API is asked for predictions")
    layout: Literal["rows", "columns", "single"] = option(
        "rows", "`instances`, `inputs`, or `inputs` without an axis of samples; gRPC has no rows"
    )
    input: str = option(
        "", "gRPC: the name of an input without a name; by default, the server is asked"
    )
    max_batch_size: int | None = option(
        None, "batch requests: most samples in a batch", read=at_least(1)
    )
    batch_timeout_micros: int | None = option(
        None, "batch requests: how long one waits for others, µs"
    )
    num_batch_threads: int | None = option(
        None,
        "batch requests: batches computed at once; default workers",
        read=at_least(1),
    )
    max_enqueued_batches: int | None = option(
        None, "batch requests: batches that may wait", read=at_least(1)
    )
    flags: Mapping[str, str] | None = option(None, f"other flags of {BINARY}", read=pairs)
    model_config_file: Path | None = option(
        None, "serve the models of this file instead, and ask `model` of them", compared="content"
    )

    def __post_init__(self) -> None:
        """Check the options that do not go together.

        Raises:
            ValueError: names them.
        """
        super().__post_init__()
        given = [key for key in ("image", "binary", "url") if getattr(self, key)]
        if self.input and self.transport == "rest":
            raise ValueError(f"input = {self.input!r} is for transport = grpc: omit it")
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} do not go together: give one of them")
        check_started(self, self.url, (*BATCHING, "flags", "model_config_file"))
        check_flags(self.flags or {}, [*self._batching])

    @property
    def artifact(self) -> str:
        """Return the key of the artifact that it serves; empty with files of the user's own."""
        return "" if self.model_config_file else self.name

    @property
    def _batching(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in BATCHING if getattr(self, name) is not None}

    @property
    def attached(self) -> bool:
        """Return whether its options name a server that already runs."""
        return bool(self.url)

    def start(self, model: ServedModel, settings: ServerSettings, run_dir: Path) -> RunningServer:
        """Start or attach to a server, and return when it has answered a prediction correctly.

        Raises:
            ServerUnavailableError: there is no program to run.
            ServerStartError: it did not become ready; no process is left running.
        """
        address, named = _address_and_model(self.url)
        served = self.model or named or model.served_name(self.name)
        protocol = self._protocol(served, model.signature).named(served)
        judge = self._judge_by(protocol)
        if address:
            return attach(self, address, protocol, model, settings, judge)
        checked_name(protocol.model)
        found = self._in_container() if self.image else self._find_program()
        config = self.model_config_file
        source = config or check_saved_model(artifact(model, self.name))
        told = (
            self._of_file(config, protocol.model)
            if config
            else {"model_name": protocol.model, "model_base_path": str(source)}
        )
        program = Program(
            implementation=found.implementation,
            command=lambda place: [
                *found.command,
                *arguments(
                    {**self._listening(place), **told},
                    settings,
                    place,
                    self._batching,
                    self.flags or {},
                ),
            ],
            protocol=protocol,
            ports=1 if self.transport == "rest" else 2,
            environment=found.environment,
            fatal=FATAL,
            judge=judge,
            two_logs=True,  # start-up errors go to standard output, all others do not
            container=found.container and found.container.serving(source),
            public=True,  # the real one has no flag for its address
        )  # fmt: skip
        return launch(self, program, model, settings, run_dir)

    def _protocol(
        self, served: str, signature: str
    ) -> TensorFlowServingRest | TensorFlowServingGrpc:
        if self.transport == "rest":
            return TensorFlowServingRest(served, layout=self.layout, signature=signature)
        layout = "columns" if self.layout == "rows" else self.layout
        return TensorFlowServingGrpc(served, layout=layout, signature=signature, input=self.input)

    def _listening(self, place: Place) -> dict[str, object]:
        """Return the flags for ports; the first is for predictions."""
        if self.transport == "rest":
            # --port=0 alone is refused, and without it 8500 is opened on all addresses.
            socket = place.scratch / "grpc.sock"
            return {"rest_api_port": place.port, "port": 0, "grpc_socket_path": socket}
        return {
            "port": place.port,
            "rest_api_port": place.ports[1],
            # Calls beyond it are not queued, but refused with RESOURCE_EXHAUSTED; the default is
            # four a CPU. The generator's buffer sets the limit; this one must never fill.
            "grpc_max_threads": GRPC_THREADS,
        }

    def _judge_by(self, protocol: TensorFlowServingRest | TensorFlowServingGrpc) -> Judge:
        """Return a judge that asks the server which versions of the model are loaded."""

        def judge(answer: Any, ask: Ask) -> Refusal:
            plain = by_status(answer, self)
            if answer.status in _UNAUTHORIZED:
                return plain
            try:
                states = protocol.states(ask(protocol.status_request()))
            except NoAnswerError:
                return plain
            if "AVAILABLE" in states and answer.status not in _NO_MODEL:
                reason = "the model is loaded, but rejects its first input."
                return Refusal(reason, serving=True)
            if states and states <= {"START", "LOADING"}:
                return Refusal("it is loading the model.", loading=True)
            if states and states <= {"UNLOADING", "END"}:
                return Refusal("it could not load the model, or has unloaded it; see its log.")
            return plain

        return judge

    def _of_file(self, file: Path, served: str) -> dict[str, str]:
        """Return the flags for the models of a file, of which one must be ``served``.

        Raises:
            ServerStartError: it cannot be read, or does not have that model.
        """
        try:
            names = names_in(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ServerStartError(
                f"{self._spelled('model_config_file')}={file}: cannot be read: {error}"
            ) from None
        if served not in names:
            raise ServerStartError(
                f"{self._spelled('model_config_file')}={file} has no model {served!r}, only "
                f"{joined(names) or 'none'}: name one of them by {self._spelled('model')}."
            )
        return {"model_config_file": str(file.absolute())}

    def _in_container(self) -> _Program:
        container = self.container(self.name, entrypoint=BINARY)
        version = _version(container.output_of(BINARY, "--version"))
        return _Program((), f"{BINARY} {version} in {self.image}", container=container)

    def _spelled(self, key: str) -> str:
        """Return one of its options as on the command line."""
        return spelled(self.name, key)

    @property
    def _get_one(self) -> str:
        return (
            "install the Debian package tensorflow-model-server, and set "
            f"{self._spelled('binary')}=PATH; or run its container image with "
            f"{self._spelled('image')}=tensorflow/serving:TAG; or attach to a running server with "
            f"{self._spelled('url')}={'http' if self.transport == 'rest' else 'grpc'}://HOST:PORT"
        )

    def _find_program(self) -> _Program:
        option = self._spelled("binary")
        if self.binary is not None:
            problem = _not_executable(self.binary)
            if problem:
                raise ServerUnavailableError(
                    f"{option}={self.binary}: {problem}. Give an executable {BINARY}, or "
                    "omit the option to use the one on PATH or the embedded server."
                )
            return _real(str(self.binary.absolute()))
        on_path = shutil.which(BINARY)
        if on_path is not None:
            return _real(on_path)
        if self.require_real:
            raise ServerUnavailableError(
                "TensorFlow Serving itself is required "
                f"({self._spelled('require_real')}=true), but {option} is not given and there is "
                f"no {BINARY} on PATH ({os.environ.get('PATH', '')}). "
                f"Remedy: {self._get_one}."
            )
        if importlib.util.find_spec("tensorflow") is None:
            raise ServerUnavailableError(
                "TensorFlow Serving cannot run here. Checked:\n"
                f"  {option}: not given\n"
                f"  {BINARY} on PATH: not found\n"
                f"  the embedded server: TensorFlow is not installed for {sys.executable}\n"
                f"Remedy: pip install 'pytest-servebench[tensorflow]'; or {self._get_one}."
            )
        self._check_embedded()
        return _embedded()

    def _check_embedded(self) -> None:
        given = [*self._batching, *(f"flags.{name}" for name in lacking(self.flags or {}))]
        given += ["model_config_file"] if self.model_config_file else []
        if given:
            raise ServerUnavailableError(
                f"{joined([self._spelled(name) for name in given])} needs TensorFlow Serving "
                f"itself, and there is no {BINARY} on PATH: the embedded server, which replaces "
                f"it, does not have that. Remedy: {self._get_one}."
            )


def _address_and_model(url: str) -> tuple[str, str]:
    """Return the address in a URL, and the model that its path names, in the server's own form."""
    found = _MODEL_URL.fullmatch(url.strip())
    return (found["address"], unquote(found["model"])) if found else (url, "")


def check_saved_model(base_path: Path) -> Path:
    """Return ``base_path`` if it is a directory of numbered SavedModel versions.

    Otherwise the real server would run forever without opening a port.

    Raises:
        ServerStartError: it is not; says what is wrong, and what to do.
    """
    try:
        newest_version(base_path)
    except RepositoryError as error:
        raise ServerStartError(str(error)) from None
    return base_path


def _not_executable(binary: Path) -> str | None:
    if not binary.exists():
        return "there is no such file"
    if not binary.is_file():
        return "it is not a file"
    return None if os.access(binary, os.X_OK) else "it is not executable"


def _real(binary: str) -> _Program:
    return _Program((binary,), f"{BINARY} {_version(_version_output([binary], {}))}")


def _version(output: str) -> str:
    match = re.search(r"TensorFlow ModelServer: (\d+(?:\.\d+)+)", output)
    # A released binary reports 2.19.0-rc0+dev.sha.…: the release is 2.19.0.
    return match[1] if match else "of unknown version"


def _embedded() -> _Program:
    command, told = python_child(_EMBEDDED)
    lines = _version_output(command, told).splitlines()
    implementation = lines[0].strip() if lines else "savedmodel-server of unknown version"
    return _Program(tuple(command), implementation, told)


def _version_output(command: Sequence[str], extra: Mapping[str, str]) -> str:
    """Return what ``--version`` prints, or nothing: the start itself will show what is wrong."""
    done = output_of([*command, "--version"], _VERSION_LIMIT, {**os.environ, **extra})
    return "" if done is None else done.stdout
