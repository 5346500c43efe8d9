"""Kinds that serve an ONNX file: ONNX Runtime behind uvicorn, MLServer, and Triton."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypedDict

import numpy as np

from pytest_servebench._version import __version__
from pytest_servebench.errors import ServerStartError, ServerUnavailableError
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import HttpAnswer
from pytest_servebench.protocols.grpc import GrpcAnswer
from pytest_servebench.protocols.open_inference import OpenInference
from pytest_servebench.protocols.open_inference_grpc import OpenInferenceGrpc
from pytest_servebench.servers.base import RunningServer, ServerSettings
from pytest_servebench.servers.environment import artifact, environment, output_of
from pytest_servebench.servers.first_prediction import Ask, Refusal, by_status
from pytest_servebench.servers.interpreter import Interpreter
from pytest_servebench.servers.kind_options import at_least, option
from pytest_servebench.servers.launch import Program, launch
from pytest_servebench.servers.logs import PORT_CLASH
from pytest_servebench.servers.readiness import Place
from pytest_servebench.servers.triton_leftovers import remove_leftovers

PROGRAMS: Final = Path(__file__).with_name("onnx_programs")
NAME: Final = "model"
"""The model's name at these servers."""

_LOOK_LIMIT: Final = 120.0  # seconds to import ONNX Runtime and load the file


_Input = tuple[int, np.dtype[Any]]
"""Rank and type of an input."""


class _Form(TypedDict):
    """What the protocols need to know about the file."""

    input: str
    layout: Literal["columns", "single"]


@dataclass(frozen=True)
class _Environment:
    """What an ONNX file is served with.

    Attributes:
        python: the interpreter.
        path: the file.
        inputs: name of each of its inputs to rank and type.
        versions: module to its version.
        libraries: directory of the interpreter's shared library.
    """

    python: Interpreter
    path: Path
    inputs: Mapping[str, _Input]
    versions: Mapping[str, str]
    libraries: str


@dataclass(frozen=True)
class _OnnxKind:
    name: ClassVar[str]
    title: ClassVar[str]
    artifact: ClassVar[str] = "onnx"
    attached: ClassVar[bool] = False
    modules: ClassVar[Sequence[str]]  # that must be there; the first names the server
    requirements: ClassVar[str]  # what pip must install
    ports: ClassVar[int] = 1
    overrides: ClassVar[str] = r"(?!)"  # variables that would change the configuration

    python: Path | None = option(
        None, "the interpreter of an environment with its packages; by default, pytest's"
    )

    def start(self, model: ServedModel, settings: ServerSettings, run_dir: Path) -> RunningServer:
        """Start a server, and return when it has answered a prediction correctly.

        Raises:
            ServerUnavailableError: the interpreter or one of its packages is missing.
            ServerStartError: the file is not an ONNX model, or takes other inputs; or the server
                did not become ready; no process is left running.
        """
        served = self._look(artifact(model, self.artifact), settings)
        self._check_versions(served, settings)
        protocol = self._protocol(model, served)
        program = Program(
            implementation=self._implementation(served.versions),
            command=lambda place: self._command(served, settings, place),
            protocol=protocol,
            ports=self.ports,
            ready=f"/v2/models/{NAME}/ready",
            ready_port=self._http_port,
            environment={
                **served.python.environment,
                **dict.fromkeys(filter(re.compile(self.overrides).fullmatch, os.environ)),
                "PYTHONPATH": str(PROGRAMS),
                **self._environment(served),
            },
            fatal=(PORT_CLASH,),
            judge=self._judge,
        )
        return launch(self, program, model, settings, run_dir)

    @property
    def _http_port(self) -> int:
        """Return which of its ports is for HTTP; the first is for predictions."""
        return 0

    def _look(self, path: Path, settings: ServerSettings) -> _Environment:
        if not path.is_file():
            raise ServerStartError(
                f"There is no ONNX file at {path}, the artifact {self.artifact!r} of the model."
            )
        python = Interpreter(self.python, option=f"{self.name}.python")
        command = [str(python.path), str(PROGRAMS / "look.py"), str(path), *self.modules]
        done = output_of(command, _LOOK_LIMIT, environment(settings, python.environment))
        try:
            said: dict[str, Any] = json.loads(done.stdout if done else "")
        except ValueError:
            errors = done.stderr.strip().splitlines() if done else []
            raise ServerUnavailableError(
                f"{python.path} does not report what it has installed for {self.title}: "
                f"{errors[-1] if errors else 'it did not answer'}"
            ) from None
        missing = [module for module, version in said["versions"].items() if version is None]
        if missing:
            raise ServerUnavailableError(
                f"{self.title} cannot run here: not installed for {python.path}: "
                f"{', '.join(missing)}. {self._remedy(python)}"
            )
        if "error" in said:
            raise ServerStartError(
                f"ONNX Runtime {said['versions']['onnxruntime']} cannot load {path}, the artifact "
                f"{self.artifact!r} of the model: {said['error']}"
            )
        inputs = {name: (rank, np.dtype(of)) for name, (rank, of) in said["inputs"].items()}
        return _Environment(python, path, inputs, said["versions"], said["libraries"])

    def _remedy(self, python: Interpreter) -> str:
        return (
            f"Remedy: {python.path} -m pip install {self.requirements}; or set {self.name}.python "
            "to the interpreter of another environment."
        )

    def _check_versions(self, served: _Environment, settings: ServerSettings) -> None:
        """Refuse versions that are known to fail."""

    def _implementation(self, versions: Mapping[str, str]) -> str:
        return f"{self.title} {versions[self.modules[0]]}, {_runtime(versions)}"

    def _command(
        self, served: _Environment, settings: ServerSettings, place: Place
    ) -> Sequence[str | Path]:
        raise NotImplementedError

    def _environment(self, served: _Environment) -> Mapping[str, str | None]:  # noqa: ARG002
        return {}

    def _protocol(
        self, model: ServedModel, served: _Environment
    ) -> OpenInference | OpenInferenceGrpc:
        """Return how to ask for predictions of this file.

        Raises:
            ServerStartError: the file takes other inputs than the model has.
        """
        return OpenInference(NAME, **self._form(model, served))

    def _form(self, model: ServedModel, served: _Environment) -> _Form:
        first = next(iter(served.inputs))
        layout = _layout(model, served, first) if model.samples else "columns"
        return {"input": first, "layout": layout}

    def _judge(self, answer: HttpAnswer | GrpcAnswer, _: Ask) -> Refusal:
        # It said that it is ready: it is not loading.
        refusal = by_status(answer, self)
        return Refusal(refusal.reason, serving=refusal.loading)


@dataclass(frozen=True)
class _WithGrpc(_OnnxKind):
    transport: Literal["rest", "grpc"] = option("rest", "which API is asked for predictions")

    @property
    def _http_port(self) -> int:
        return int(self.transport == "grpc")

    def _protocol(
        self, model: ServedModel, served: _Environment
    ) -> OpenInference | OpenInferenceGrpc:
        if self.transport == "rest":
            return super()._protocol(model, served)
        return OpenInferenceGrpc(NAME, **self._form(model, served))


@dataclass(frozen=True)
class OnnxServer(_OnnxKind):
    """ONNX Runtime behind uvicorn and Starlette: a baseline for servers that do more."""

    name: ClassVar[str] = "onnx"
    title: ClassVar[str] = "ONNX server"
    modules: ClassVar[Sequence[str]] = ("uvicorn", "starlette", "onnxruntime")
    requirements: ClassVar[str] = "'uvicorn[standard]' starlette onnxruntime"

    def _implementation(self, versions: Mapping[str, str]) -> str:
        return f"onnx-server {__version__}, uvicorn {versions['uvicorn']}, {_runtime(versions)}"

    def _command(
        self, served: _Environment, settings: ServerSettings, place: Place
    ) -> Sequence[str | Path]:
        return [
            *(served.python.path, "-m", "uvicorn", "plain_server:app", "--host", "127.0.0.1"),
            *("--port", str(place.port), "--workers", str(settings.workers)),
            *("--log-level", "warning", "--no-access-log"),
        ]

    def _environment(self, served: _Environment) -> Mapping[str, str | None]:
        return {"SERVED_FILE": str(served.path), "SERVED_NAME": NAME, "WEB_CONCURRENCY": None}


@dataclass(frozen=True)
class MlServer(_WithGrpc):
    """MLServer with a runtime for ONNX files: in its own process, or in several workers."""

    name: ClassVar[str] = "mlserver"
    title: ClassVar[str] = "MLServer"
    modules: ClassVar[Sequence[str]] = ("mlserver", "onnxruntime", "uvloop")
    requirements: ClassVar[str] = (
        "'mlserver>=1.7' onnxruntime 'uvloop<0.22' 'fastapi<0.116' 'protobuf<7'"
    )
    ports: ClassVar[int] = 3
    overrides: ClassVar[str] = r"MLSERVER_\w+"

    def _check_versions(self, served: _Environment, settings: ServerSettings) -> None:
        uvloop = served.versions["uvloop"]
        if settings.workers > 1 and tuple(map(int, re.findall(r"\d+", uvloop)[:2])) >= (0, 22):
            raise ServerUnavailableError(
                f"With uvloop {uvloop}, MLServer's workers end as soon as they start. "
                f"{self._remedy(served.python)}"
            )

    def _command(
        self, served: _Environment, settings: ServerSettings, place: Place
    ) -> Sequence[str | Path]:
        directory = place.scratch / NAME
        directory.mkdir()
        http, grpc, metrics = place.ports
        if self.transport == "grpc":
            http, grpc = grpc, http
        model = {
            "name": NAME,
            "implementation": "mlserver_runtime.OnnxRuntime",
            "parameters": {"uri": str(served.path)},
        }
        server = {
            "host": "127.0.0.1",
            "http_port": http,
            "grpc_port": grpc,
            "metrics_port": metrics,
            # One prediction at a time needs no further process.
            "parallel_workers": settings.workers if settings.workers > 1 else 0,
            "debug": False,
        }
        for name, content in (("model-settings", model), ("settings", server)):
            (directory / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        start = "import sys; from mlserver.cli import main; sys.argv[1:1] = ['start']; main()"
        return [served.python.path, "-c", start, directory]


@dataclass(frozen=True)
class Triton(_WithGrpc):
    """Triton from NVIDIA's wheel, with a Python backend that runs ONNX Runtime."""

    name: ClassVar[str] = "triton"
    title: ClassVar[str] = "Triton"
    modules: ClassVar[Sequence[str]] = ("pytriton", "onnxruntime", "numpy")
    requirements: ClassVar[str] = "'nvidia-pytriton>=0.7' onnxruntime 'numpy<2'"
    ports: ClassVar[int] = 2

    max_batch_size: int = option(64, "most samples that it predicts together", read=at_least(1))
    binary: bool = option(False, "REST: send tensors, and ask for them, in binary form")

    def __post_init__(self) -> None:
        """Check the options that do not go together.

        Raises:
            ValueError: names them.
        """
        if self.binary and self.transport == "grpc":
            raise ValueError(
                "binary is for transport = rest: over gRPC tensors always are; omit it"
            )

    def _implementation(self, versions: Mapping[str, str]) -> str:
        return f"Triton of pytriton {versions['pytriton']}, {_runtime(versions)}"

    def _command(
        self, served: _Environment, settings: ServerSettings, place: Place
    ) -> Sequence[str | Path]:
        remove_leftovers()
        http = place.ports[self._http_port]
        grpc = place.port if self.transport == "grpc" else 0
        numbers = (http, grpc, settings.workers, self.max_batch_size)
        program = PROGRAMS / "pytriton_server.py"
        return [served.python.path, program, served.path, NAME, *map(str, numbers)]

    def _environment(self, served: _Environment) -> Mapping[str, str | None]:
        # Its backend links the interpreter's shared library by its bare name.
        given = os.environ.get("LD_LIBRARY_PATH")
        return {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, (served.libraries, given)))}

    def _protocol(
        self, model: ServedModel, served: _Environment
    ) -> OpenInference | OpenInferenceGrpc:
        protocol = super()._protocol(model, served)
        if isinstance(protocol, OpenInference):
            return replace(protocol, binary=self.binary)
        return protocol


def _runtime(versions: Mapping[str, str]) -> str:
    return f"ONNX Runtime {versions['onnxruntime']}"


def _layout(model: ServedModel, served: _Environment, unnamed: str) -> Literal["columns", "single"]:
    """Return whether the file takes several samples, or one; ``unnamed`` names a single input."""
    given = model.input(0)
    inputs = given if isinstance(given, Mapping) else {unnamed: given}
    sent = {name: (np.ndim(each), np.asarray(each).dtype) for name, each in inputs.items()}
    if sent.keys() == served.inputs.keys() and all(
        _carries(served.inputs[name][1], of) for name, (_, of) in sent.items()
    ):
        more = {served.inputs[name][0] - rank for name, (rank, _) in sent.items()}
        if more == {1}:
            return "columns"
        if more == {0}:
            return "single"
    raise ServerStartError(
        f"The ONNX file {served.path} takes {_described(served.inputs)}, and a sample input of the "
        f"model {model.name!r} is {_described(sent)}: give inputs of the same names and types; the "
        "file may have one more axis, of samples."
    )


def _carries(of: np.dtype[Any], sent: np.dtype[Any]) -> bool:
    """Return whether a type has the values of another; of its size, the values decide."""
    if "text" in (types := {_kind(of), _kind(sent)}):
        return len(types) == 1
    order = ("boolean", "integer", "float")
    return order.index(_kind(sent)) <= order.index(_kind(of))


def _kind(of: np.dtype[Any]) -> str:
    names = {"O": "text", "S": "text", "U": "text", "b": "boolean", "i": "integer", "u": "integer"}
    return names.get(of.kind, "float")


def _described(inputs: Mapping[str, _Input]) -> str:
    return ", ".join(
        f"{name} of rank {rank} ({'text' if _kind(of) == 'text' else of.name})"
        for name, (rank, of) in inputs.items()
    )
