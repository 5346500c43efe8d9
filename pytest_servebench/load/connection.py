"""One worker's HTTP/1.1 connection: one request at a time, kept alive, made anew when lost."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, cast

import httptools

from pytest_servebench.load.records import Outcome

if TYPE_CHECKING:
    from pytest_servebench.load.engine import Engine

_clock = time.monotonic_ns
_FREE = -1
_MAX_BODY = 16 * 2**20
_RECONNECT_PAUSE = 0.02


class Connection(asyncio.Protocol):
    """A worker: idle, or carrying the request with index :attr:`request`.

    A worker without a connection is idle too: a request given to it connects first, so that a
    server which cannot be reached costs that request (``connect_error``) and no other.
    """

    __slots__ = (
        "_address", "_body", "_complete", "_connecting", "_discard", "_engine", "_head", "_headers_done",
        "_loop", "_parser", "_payload", "_received", "_size", "_stopped", "deadline", "request",
        "transport",
    )

    def __init__(
        self, engine: Engine, loop: asyncio.AbstractEventLoop, address: tuple[str, int]
    ) -> None:
        """Belong to ``engine``; connect to ``address`` when asked to."""
        self._engine = engine
        self._loop = loop
        self._address = address
        self.transport: asyncio.Transport | None = None
        self.request = _FREE
        self.deadline = 0
        self._payload = b""
        self._connecting: asyncio.Task[None] | None = None
        self._stopped = False
        self._reset()

    # -- the connection ---------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Tell whether a request can be written at once."""
        return self.transport is not None

    def connect(self, pause: float = 0.0) -> None:
        """Begin to connect after ``pause`` seconds, unless that is under way already."""
        if self._connecting is None and not self._stopped:
            self._connecting = self._loop.create_task(self._connect(pause))

    async def _connect(self, pause: float) -> None:
        try:
            if pause:
                await asyncio.sleep(pause)
            await self._loop.create_connection(lambda: self, *self._address)
        except OSError:
            self._connecting = None
            if self.request != _FREE:
                self._finish(Outcome.CONNECT_ERROR)
        else:
            self._connecting = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the new connection into use, for the waiting request if there is one."""
        self.transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reset()
        if self._stopped:
            self.transport.abort()
        elif self.request != _FREE:
            self._write()
        else:
            self._engine.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request that was under way; connect again, off the path of the others."""
        self.transport = None
        self._discard = True
        if self.request != _FREE:
            if self._headers_done and exc is None and self._ends_with_connection():
                self._take_answer()
            else:
                began = self._received
                self._finish(Outcome.BAD_RESPONSE if began else Outcome.CONNECT_ERROR)
        else:
            self._engine.lost_idle(self)
        if self.request == _FREE:
            self.connect(_RECONNECT_PAUSE)

    def _abandon(self) -> None:
        """Close the connection: what still comes over it belongs to nobody."""
        self._discard = True
        if self.transport is not None:
            transport, self.transport = self.transport, None
            transport.abort()

    def stop(self) -> None:
        """Close for good."""
        self._stopped = True
        self.request = _FREE
        if self._connecting is not None:
            self._connecting.cancel()
        self._abandon()

    # -- one request ------------------------------------------------------------------------

    def send(self, request: int, payload: bytes) -> None:
        """Send ``payload`` as the request with index ``request``."""
        self.request = request
        self._payload = payload
        self.deadline = _clock() + self._engine.timeout
        if self.transport is None:
            self.connect()
        else:
            self._write()

    def _write(self) -> None:
        assert self.transport is not None
        self._engine.note_sent(self.request)
        self.transport.write(self._payload)

    def give_up(self) -> None:
        """End the request as timed out, with its connection."""
        self._abandon()
        self._finish(Outcome.TIMEOUT)

    def _finish(self, outcome: Outcome, status: int = 0, body: bytes = b"") -> None:
        request, self.request = self.request, _FREE
        self._engine.finished(self, request, outcome, status, body)

    # -- the answer -------------------------------------------------------------------------

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._discard = False
        self._begin_answer()

    def _begin_answer(self) -> None:
        self._complete = False
        self._received = False
        self._headers_done = False
        self._head = b""
        self._body: list[bytes] = []
        self._size = 0

    def data_received(self, data: bytes) -> None:
        """Read a part of the answer."""
        if self._discard:
            return
        if self.request == _FREE:
            # An answer that nobody asked for: the connection is out of step.
            self._engine.lost_idle(self)
            self._abandon()
            self.connect(_RECONNECT_PAUSE)
            return
        if not self._received:
            self._received = True
            self._engine.note_first_byte(self.request)
        if not self._headers_done:
            self._head += data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if not self._complete:
                self._abandon()
                self._finish(Outcome.BAD_RESPONSE)
                return
            self._abandon()  # rubbish behind a good answer
        if self._complete:
            self._take_answer()

    def on_headers_complete(self) -> None:
        """Note (for the parser) that the head is whole."""
        self._headers_done = True

    def on_body(self, body: bytes) -> None:
        """Keep (for the parser) a part of the body."""
        self._size += len(body)
        if self._size > _MAX_BODY:
            raise ValueError("the answer is too large")
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Note (for the parser) that the answer is whole.

        The next request is sent only when all the data at hand is read, so that a second answer to
        this one cannot be taken for the answer to that.
        """
        if self._complete:
            self._abandon()  # a second answer to one request
        elif self._parser.get_status_code() < 200:
            self._begin_answer()  # 100 Continue and the like: the answer proper follows
            self._received = True
        else:
            self._complete = True

    def _take_answer(self) -> None:
        status = self._parser.get_status_code()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if not self._parser.should_keep_alive():
            self._abandon()
        self._begin_answer()
        self._finish(Outcome.OK if 200 <= status < 300 else Outcome.HTTP_ERROR, status, body)

    def _ends_with_connection(self) -> bool:
        """Tell whether the answer is one whose end is the end of the connection (HTTP/1.0)."""
        head = self._head.lower()
        return b"content-length:" not in head and b"chunked" not in head
