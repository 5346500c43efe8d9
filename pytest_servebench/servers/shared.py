"""The servers of one session: shared by its tests, and started anew when they die."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_servebench.errors import ServebenchWarning, ServerDiedError
from pytest_servebench.protocols.base import PredictionProtocol
from pytest_servebench.servers.base import RunningServer
from pytest_servebench.text.safe import counted

# Of one kind in one session, failed new starts among them, after which it is not started again.
MOST_DEATHS: Final = 3


class ServerRestartedWarning(ServebenchWarning):
    """A server had died, and was started again for this test."""


@dataclass
class SharedServer:
    """A running server as tests hold it: it stays theirs when its process is replaced.

    Attributes:
        current: the server that runs now, or that ran last.
        users: fixtures that hold it.
        lost: how the current one was found to have ended; ``None`` before that.
    """

    current: RunningServer
    users: int = 0
    lost: ServerDiedError | None = None

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
        # Copying asks for special methods, and before there is a current server.
        if name == "current" or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.current, name)


class SharedServers:
    """Starts each kind when it is first wanted, and again when it has died.

    Args:
        start: starts a server of the kind that it is given.
        keep: tells whether servers go on running when nobody uses them, until :meth:`stop_all`.
    """

    def __init__(self, start: Callable[[str], RunningServer], *, keep: Callable[[], bool]) -> None:
        self._start = start
        self._keep = keep
        self._servers: dict[str, SharedServer] = {}
        self._deaths = Counter[str]()
        self._failed_starts = Counter[str]()
        self._last_trouble: dict[str, Exception] = {}

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
            # A session that is interrupted stops all servers before their fixtures end.
            ours = self._servers.get(kind) is server
            if not server.users and not self._keep() and ours:
                del self._servers[kind]
                server.stop()

    def new_deaths(self) -> list[SharedServer]:
        """Return the servers that tests hold and that have ended, each death once."""
        found = []
        for kind, server in self._servers.items():
            if server.lost is not None:
                continue
            try:
                server.check_alive()
            except ServerDiedError as error:
                server.lost = self._last_trouble[kind] = error
                self._deaths[kind] += 1
                found.append(server)
        return found

    def death(self, kind: str) -> ServerDiedError | None:
        """Return the death of a server that :meth:`new_deaths` has found; ``None`` if it runs."""
        server = self._servers.get(kind)
        return server.lost if server is not None else None

    def revive(self, kind: str) -> None:
        """Start a server anew that has died; whoever holds it holds the new one.

        Raises:
            ServerDiedError: it could not be kept running too often; with how it ended at last.
            ServebenchError: it could not be started.
        """
        server = self._servers[kind]
        if self._deaths[kind] + self._failed_starts[kind] >= MOST_DEATHS:
            raise ServerDiedError(
                f"{server.implementation} {self._history(kind)} in this session and is not started "
                f"again. The last time: {self._last_trouble[kind]}"
            )
        server.stop()  # what a process leaves behind when it dies: children, directories
        try:
            server.current = self._start(kind)
        except Exception as error:
            self._failed_starts[kind] += 1
            self._last_trouble[kind] = error
            raise
        server.lost = None

    def _history(self, kind: str) -> str:
        text = f"ended {counted(self._deaths[kind], 'time')}"
        if failed := self._failed_starts[kind]:
            text += f", could not be started again {counted(failed, 'time')}"
        return text

    def stop_all(self) -> None:
        """Stop every server that runs still; one that cannot be stopped keeps none of the others.

        Raises:
            Exception: what the first such server has raised.
        """
        failure: Exception | None = None
        while self._servers:
            _, server = self._servers.popitem()
            try:
                server.stop()
            except Exception as error:  # of a kind of the user's own
                failure = failure or error
        if failure is not None:
            raise failure
