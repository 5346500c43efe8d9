"""The servers of one session: shared by its tests, and started anew when they die."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_servebench.errors import ServerDiedError
from pytest_servebench.protocols.base import PredictionProtocol
from pytest_servebench.servers.base import RunningServer

MOST_DEATHS: Final = 3  # of one kind in one session, after which it is not started again


class ServerRestartedWarning(UserWarning):
    """A server had died, and was started again for this test."""


@dataclass
class SharedServer:
    """A running server as tests hold it: it stays theirs when its process is replaced.

    Attributes:
        current: the server that runs now, or that ran last.
        users: fixtures that hold it.
    """

    current: RunningServer
    users: int = 0

    @property
    def kind(self) -> str:
        """Return the name of its kind."""
        return self.current.kind

    @property
    def implementation(self) -> str:
        """Return the program and its version."""
        return self.current.implementation

    @property
    def base_url(self) -> str:
        """Return scheme, host and port, which a new start changes."""
        return self.current.base_url

    @property
    def protocol(self) -> PredictionProtocol:
        """Return how predictions are asked for."""
        return self.current.protocol

    @property
    def log_files(self) -> Sequence[Path]:
        """Return the logs of the last start."""
        return self.current.log_files

    def pids(self) -> list[int]:
        """Return all its processes now."""
        return self.current.pids()

    def check_alive(self) -> None:
        """Return if the server runs.

        Raises:
            ServerDiedError: it ended; with its exit status and the tail of its log.
        """
        self.current.check_alive()

    def stop(self) -> None:
        """End the whole process tree and wait for it; harmless when called twice."""
        self.current.stop()

    def __getattr__(self, name: str) -> object:
        """Give what only this kind of server has."""
        return getattr(self.current, name)


class SharedServers:
    """Starts each kind when it is first wanted, and again when it has died.

    Args:
        start: starts a server of the kind that it is given.
        keep: whether servers go on running when nobody uses them, until :meth:`stop_all`.
    """

    def __init__(self, start: Callable[[str], RunningServer], *, keep: bool) -> None:
        self._start = start
        self._keep = keep
        self._servers: dict[str, SharedServer] = {}
        self._deaths: dict[str, int] = {}

    @contextmanager
    def running(self, kind: str) -> Iterator[SharedServer]:
        """Give a running server of a kind; several users share one, the last one out stops it.

        Raises:
            ServebenchError: it could not be had.
        """
        server = self._servers.get(kind)
        if server is None:
            server = self._servers[kind] = SharedServer(self._start(kind))
        server.users += 1
        try:
            yield server
        finally:
            server.users -= 1
            if not server.users and not self._keep:
                del self._servers[kind]
                server.stop()

    def death(self, kind: str) -> ServerDiedError | None:
        """Return how a server that tests hold has ended; ``None`` while it runs."""
        server = self._servers.get(kind)
        if server is None:
            return None
        try:
            server.check_alive()
        except ServerDiedError as error:
            return error
        return None

    def revive(self, kind: str, death: ServerDiedError) -> None:
        """Start a server anew that has died; whoever holds it holds the new one.

        Raises:
            ServerDiedError: it has died too often; with the tail of its last log.
            ServebenchError: it could not be started.
        """
        server = self._servers[kind]
        # One that was given up stays dead, and is found so before each further case.
        deaths = self._deaths[kind] = min(self._deaths.get(kind, 0) + 1, MOST_DEATHS)
        if deaths == MOST_DEATHS:
            raise ServerDiedError(
                f"{server.implementation} ended {deaths} times in this session and is not started "
                f"again. The last time: {death}"
            )
        server.stop()  # what a process leaves behind when it dies: children, directories
        server.current = self._start(kind)

    def stop_all(self) -> None:
        """Stop every server that runs still."""
        while self._servers:
            _, server = self._servers.popitem()
            server.stop()
