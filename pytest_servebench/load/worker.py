"""A worker: one connection at a time, made anew when it is lost, and one request at a time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from pytest_servebench.load.connection import Connection, Loss
from pytest_servebench.load.records import Outcome
from pytest_servebench.load.target import Dialer

if TYPE_CHECKING:
    from pytest_servebench.load.engine import Engine

_clock = time.monotonic_ns
FREE: Final = -1
# Seconds between tries to connect, doubled each time: a server that closes or refuses connections
# is not hammered, and one that is back is found again.
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0
_RACE: Final = (
    100_000_000  # ns after sending in which the server may be found to have closed before
)


class Worker:
    """Idle, or carrying the request with index :attr:`request`.

    A worker without a connection is idle too: a request given to it connects first, so that a
    server which cannot be reached costs that request (``connect_error``) and no other. An idle
    worker connects again by itself, off the path of the others.
    """

    __slots__ = (
        "_connecting",
        "_connection",
        "_dialer",
        "_engine",
        "_loop",
        "_pause",
        "_payload",
        "_resent",
        "_retry",
        "_stopped",
        "_used",
        "_written",
        "deadline",
        "request",
    )  # fmt: skip

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop, dialer: Dialer) -> None:
        """Work for ``engine``; begin to connect."""
        self._engine = engine
        self._loop = loop
        self._dialer = dialer
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._payload = b""
        self._stopped = False
        self._used = False
        self._resent = False
        self._written = 0
        self._pause = _FIRST_PAUSE
        self.request = FREE
        self.deadline = 0
        self._connect()

    @property
    def connected(self) -> bool:
        """Tell whether a request can be written at once."""
        return self._connection is not None

    @property
    def settled(self) -> bool:
        """Tell whether it has a connection, or was refused one."""
        return self._connecting is None

    def send(self, request: int, payload: bytes, deadline: int) -> None:
        """Send ``payload`` as request number ``request``, to be answered by ``deadline``."""
        self.request = request
        self._payload = payload
        self._resent = False
        self.deadline = deadline
        if self._connection is None:
            self._connect()
        else:
            self._write(self._connection)

    def _write(self, connection: Connection) -> None:
        # Stamped first: where the server runs on this processor, writing lets it answer at once.
        self._written = self._engine.note_sent(self.request)
        connection.send(self._payload)

    def give_up(self) -> None:
        """End the request as timed out, with its connection."""
        reason = "no connection in time" if self._connection is None else "no answer in time"
        self._drop_connection()
        self._connect()
        self._fail(Outcome.TIMEOUT, reason)

    def stop(self) -> None:
        """Close for good."""
        self._stopped = True
        self.request = FREE
        self._drop_connection()

    def _drop_connection(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._connection is None and self._connecting is None and not self._stopped:
            self._connecting = self._loop.create_task(self._open())

    def _connect_later(self) -> None:
        if self._stopped or self.request != FREE or self._retry is not None:
            return
        self._retry = self._loop.call_later(self._pause, self._connect)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    async def _open(self) -> None:
        try:
            connection = await self._dialer.open(lambda: Connection(self))
            if connection.closed:
                raise ConnectionResetError("the server closed the connection at once")
        except OSError as error:
            self._connecting = None
            if self.request != FREE:
                self._fail(Outcome.CONNECT_ERROR, str(error) or type(error).__name__)
            self._connect_later()
            return
        self._connecting = None
        self._connection = connection
        self._engine.connections += 1
        self._used = self.request == FREE  # it may be idle for long, as one that has been used
        if self.request != FREE:
            self._write(connection)
        else:
            self._engine.connected(self)

    def _fail(self, outcome: Outcome, reason: str, began: int = 0) -> None:
        request, self.request = self.request, FREE
        self._engine.finished(self, request, outcome, 0, b"", began, _clock(), reason)

    # -- what the connection reports ----------------------------------------------------------

    def answered(self, status: int, body: bytes, keep: bool, began: int, ended: int) -> None:
        """End the request."""
        self._used = True
        self._pause = _FIRST_PAUSE
        self._engine.received += len(body)
        if not keep:
            self._connection = None
            self._connect()
        outcome = Outcome.OK if 200 <= status < 300 else Outcome.HTTP_ERROR
        request, self.request = self.request, FREE
        self._engine.finished(self, request, outcome, status, body, began, ended)

    def lost(self, loss: Loss, reason: str, began: int) -> None:
        """End the request that was under way; connect again."""
        if self._connection is None:
            return  # lost while it was being made, which is where that is dealt with
        self._connection = None
        crossed = self._used and _clock() - self._written < _RACE
        if self.request != FREE and loss is Loss.QUIET and crossed and not self._resent:
            # The server closed a kept connection while the request was on its way there, as it
            # may at any time (RFC 9112, 9.3.1): it has not seen the request. Ask again.
            self._resent = True
            self._engine.resent += 1
            self._connect()
            return
        if self.request != FREE:
            broken = loss is Loss.BROKEN
            outcome = Outcome.BAD_RESPONSE if broken else Outcome.CONNECT_ERROR
            self._fail(outcome, reason, began)
        else:
            self._engine.lost_idle(self)
        self._connect_later()
