"""The interfaces of a kind of model server and of a running server."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeGuard

from pytest_servebench.load.tls import Tls
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import PredictionProtocol


@dataclass(frozen=True)
class ServerSettings:
    """Settings for starting servers; the same for every kind, to be fair.

    Attributes:
        cpus: CPUs on which the server's whole process tree may run.
        threads: threads within one operation of the model (intra-op).
        workers: predictions that the server computes concurrently.
        start_timeout: seconds until a server must answer its first prediction.
        stop_grace: seconds between SIGTERM and SIGKILL.
        tls: TLS settings for an attached server (https).
        max_body: most bytes of an answer's body.
    """

    cpus: tuple[int, ...]
    threads: int = 1
    workers: int = 1
    start_timeout: float = 120.0
    stop_grace: float = 3.0
    tls: Tls = field(default_factory=Tls)
    max_body: int = 16 * 2**20


class RunningServer(Protocol):
    """A server that answers predictions; stopped by :meth:`stop`."""

    @property
    def kind(self) -> str:
        """Return the name of its kind, such as ``"torchserve"``."""
        ...

    @property
    def implementation(self) -> str:
        """Return the program and its version, such as ``"TorchServe 0.12.0"``."""
        ...

    @property
    def base_url(self) -> str:
        """Return scheme, host and port, such as ``"http://127.0.0.1:8501"``."""
        ...

    @property
    def protocol(self) -> PredictionProtocol:
        """Return how to ask for predictions, including authorization."""
        ...

    @property
    def log_files(self) -> Sequence[Path]:
        """Return its logs; empty for an attached server."""
        ...

    def pids(self) -> list[int]:
        """Return the ids of all its current processes; empty for an attached server."""
        ...

    def check_alive(self) -> None:
        """Check that the server is running.

        Raises:
            ServerDiedError: it exited; with its exit status and the tail of its log.
        """
        ...

    def stop(self) -> None:
        """End the whole process tree and wait for it; harmless when called twice."""
        ...


def is_running_server(given: object) -> TypeGuard[RunningServer]:
    """Return whether this is a running server, and not, for example, its URL."""
    return callable(getattr(given, "check_alive", None)) and callable(getattr(given, "pids", None))


class ServerKind(Protocol):
    """One kind of server, registered by ``pytest_servebench_server_kinds``.

    A kind with its own options is a frozen dataclass with these as fields; see
    :func:`~pytest_servebench.servers.kit.option`. A kind that serves what others serve too, such as
    an ONNX file, has an attribute ``artifact``: its key in ``ServedModel.artifacts``, by default
    the kind's name.
    """

    @property
    def name(self) -> str:
        """Return the name in options, ids and JSON, such as ``"torchserve"``."""
        ...

    @property
    def title(self) -> str:
        """Return the display name, such as ``"TorchServe"``."""
        ...

    @property
    def attached(self) -> bool:
        """Return whether its options name a server that already runs; it needs no artifact."""
        ...

    def start(self, model: ServedModel, settings: ServerSettings, run_dir: Path) -> RunningServer:
        """Start a server for ``model`` and return when it has answered a prediction correctly.

        ``run_dir`` is an existing, empty directory for this server's configuration and logs.

        Raises:
            ServerUnavailableError: what the kind needs is not installed or not found.
            ServerStartError: it did not become ready; no process is left running.
        """
        ...


def artifact_of(kind: ServerKind) -> str:
    """Return the key in ``ServedModel.artifacts`` of what a kind serves.

    It is the kind's attribute ``artifact``, else its name; empty if it needs nothing of the model,
    or serves its own file.
    """
    artifact: object = getattr(kind, "artifact", kind.name)
    return artifact if isinstance(artifact, str) else ""


def own_model(kind: ServerKind) -> ServedModel | None:
    """Return what a kind serves instead of the session's model, such as a language model.

    It is the kind's attribute ``own_model``, if it has one.
    """
    model: object = getattr(kind, "own_model", None)
    return model if isinstance(model, ServedModel) else None


def is_attached(kind: ServerKind, settings: ServerSettings) -> bool:
    """Return whether a kind's server already runs; kinds that do not say start theirs.

    It may be a method that takes the settings: the method itself would count as true.
    """
    attached: object = getattr(kind, "attached", False)
    return bool(attached(settings) if callable(attached) else attached)
