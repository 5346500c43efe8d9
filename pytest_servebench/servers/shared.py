"""The servers of one session: shared by its tests, and restarted when they die."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pytest_servebench.errors import ServebenchWarning, ServerDiedError
from pytest_servebench.servers.base import RunningServer
from pytest_servebench.text.safe import counted

# Per kind and session, failed restarts included; after that it is not restarted again.
MOST_DEATHS: Final = 3


class ServerRestartedWarning(ServebenchWarning):
    """A server had died, and was restarted for this test."""


class ExposedServerWarning(ServebenchWarning):
    """A server that this run started can be reached from other machines."""


@dataclass
class SharedServer:
    """A running server as tests hold it: a restart replaces only the server inside.

    Attributes:
        current: the server that is running, or that ran last.
        users: number of fixtures that hold it.
        lost: how the current one died, once that was noticed.
    """

    current: RunningServer
    users: int = 0
    lost: ServerDiedError | None = None

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the current server."""
        # Copying asks for special methods, and before there is a current server.
        if name == "current" or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.current, name)


class SharedServers:
    """Starts each kind when it is first needed, and again when it has died.

    Args:
        start: starts a server of the given kind.
        keep: returns whether unused servers keep running until :meth:`stop_all`.
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
        """Yield a running server of a kind; users share one, and the last one out stops it.

        Raises:
            ServebenchError: it could not be started.
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
        """Return the servers in use that have died, each death once."""
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
        """Restart a server that has died; its users get the new one.

        Raises:
            ServerDiedError: it has died too often; with how it ended the last time.
            ServebenchError: it could not be started.
        """
        server = self._servers[kind]
        if self._deaths[kind] + self._failed_starts[kind] >= MOST_DEATHS:
            raise ServerDiedError(
                f"{server.implementation} {self._history(kind)} in this session and is not "
                f"restarted again. Last error: {self._last_trouble[kind]}"
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
            text += f", could not be restarted {counted(failed, 'time')}"
        return text

    def stop_all(self) -> None:
        """Stop every running server, even if one of them cannot be stopped.

        Raises:
            Exception: that of the first server that could not be stopped.
        """
        failure: Exception | None = None
        while self._servers:
            _, server = self._servers.popitem()
            try:
                server.stop()
            except Exception as error:  # from a user's kind
                failure = failure or error
        if failure is not None:
            raise failure
