"""What a kind of model server is, and what a running one offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeGuard

from pytest_servebench.load.tls import Tls
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import PredictionProtocol


@dataclass(frozen=True)
class ServerSettings:
    """How servers are started; the same for every kind, so that none is favoured.

    Attributes:
        cpus: processors on which the server's whole process tree may run.
        threads: threads within one operation of the model (intra-op).
        workers: predictions that the server computes at once.
        start_timeout: seconds until a server must answer its first prediction.
        stop_grace: seconds between SIGTERM and SIGKILL.
        tls: how TLS is spoken with an attached server (https).
        max_body: bytes that an answer's body may have.
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
        """Return how predictions are asked for, with whatever authorization that takes."""
        ...

    @property
    def log_files(self) -> Sequence[Path]:
        """Return its logs; empty for an attached server."""
        ...

    def pids(self) -> list[int]:
        """Return all its processes now; empty for an attached server."""
        ...

    def check_alive(self) -> None:
        """Return if the server runs.

        Raises:
            ServerDiedError: it ended; with its exit status and the tail of its log.
        """
        ...

    def stop(self) -> None:
        """End the whole process tree and wait for it; harmless when called twice."""
        ...


def is_running_server(given: object) -> TypeGuard[RunningServer]:
    """Tell whether this is a running server, and not for example the URL of one."""
    return callable(getattr(given, "check_alive", None)) and callable(getattr(given, "pids", None))


class ServerKind(Protocol):
    """One kind of server, registered by ``pytest_servebench_server_kinds``.

    A kind with options of its own is a frozen dataclass, whose fields they are; see
    :func:`~pytest_servebench.servers.kit.option`.
    """

    @property
    def name(self) -> str:
        """Return the word for options, ids and JSON, such as ``"torchserve"``."""
        ...

    @property
    def title(self) -> str:
        """Return the name for people, such as ``"TorchServe"``."""
        ...

    @property
    def attached(self) -> bool:
        """Tell whether its options name a server that already runs; that needs no artifact."""
        ...

    def start(self, model: ServedModel, settings: ServerSettings, run_dir: Path) -> RunningServer:
        """Start a server for ``model`` and return when it has answered a prediction correctly.

        ``run_dir`` is an existing, empty directory of this server's own, for its configuration
        and logs.

        Raises:
            ServerUnavailableError: what the kind needs is not installed or not found.
            ServerStartError: it did not become ready; nothing of it is left running.
        """
        ...
