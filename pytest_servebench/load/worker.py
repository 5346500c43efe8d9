"""A worker: one connection at a time, made anew when it is lost, and one request at a time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from pytest_servebench.load.connection import Connection, Loss
from pytest_servebench.load.records import Outcome

if TYPE_CHECKING:
    from pytest_servebench.load.engine import Engine

_clock = time.monotonic_ns
FREE: Final = -1
_RECONNECT_PAUSE: Final = 0.02  # seconds, so that a server which closes at once is not hammered


class Worker:
    """Idle, or carrying the request with index :attr:`request`.

    A worker without a connection is idle too: a request given to it connects first, so that a
    server which cannot be reached costs that request (``connect_error``) and no other. An idle
    worker connects again by itself, off the path of the others.
    """

    __slots__ = (
        "_address", "_connecting", "_connection", "_engine", "_loop", "_payload", "_retry",
        "_stopped", "deadline", "request",
    )  # fmt: skip

    def __init__(
        self, engine: Engine, loop: asyncio.AbstractEventLoop, address: tuple[str, int]
    ) -> None:
        """Work for ``engine``; begin to connect to ``address``."""
        self._engine = engine
        self._loop = loop
        self._address = address
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._payload = b""
        self._stopped = False
        self.request = FREE
        self.deadline = 0
        self._connect()

    @property
    def connected(self) -> bool:
        """Tell whether a request can be written at once."""
        return self._connection is not None

    def send(self, request: int, payload: bytes) -> None:
        """Send ``payload`` as the request with index ``request``."""
        self.request = request
        self._payload = payload
        self.deadline = _clock() + self._engine.timeout
        if self._connection is None:
            self._connect()
        else:
            self._write(self._connection)

    def _write(self, connection: Connection) -> None:
        self._engine.note_sent(self.request)
        connection.send(self._payload)

    def give_up(self) -> None:
        """End the request as timed out, with its connection."""
        self._drop_connection()
        self._connect()
        self._finish(Outcome.TIMEOUT)

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

    async def _open(self) -> None:
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self), *self._address
            )
            if connection.closed:
                raise ConnectionResetError
        except OSError:
            self._connecting = None
            if self.request != FREE:
                self._finish(Outcome.CONNECT_ERROR)
            return
        self._connecting = None
        self._connection = connection
        if self.request != FREE:
            self._write(connection)
        else:
            self._engine.connected(self)

    def _finish(self, outcome: Outcome, status: int = 0, body: bytes = b"") -> None:
        request, self.request = self.request, FREE
        self._engine.finished(self, request, outcome, status, body)

    # -- what the connection reports ----------------------------------------------------------

    def answer_began(self) -> None:
        """Note the first byte of the answer."""
        self._engine.note_first_byte(self.request)

    def answered(self, status: int, body: bytes, keep: bool) -> None:
        """End the request."""
        if not keep:
            self._connection = None
            self._connect()
        self._finish(Outcome.OK if 200 <= status < 300 else Outcome.HTTP_ERROR, status, body)

    def lost(self, loss: Loss) -> None:
        """End the request that was under way; connect again."""
        if self._connection is None:
            return  # lost while it was being made, which is where that is dealt with
        self._connection = None
        if self.request != FREE:
            self._finish(Outcome.BAD_RESPONSE if loss is Loss.BROKEN else Outcome.CONNECT_ERROR)
        else:
            self._engine.lost_idle(self)
        if self.request == FREE and not self._stopped:
            self._retry = self._loop.call_later(_RECONNECT_PAUSE, self._connect)
