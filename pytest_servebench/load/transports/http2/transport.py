"""HTTP/2 and gRPC as transports: channels over connections that they may share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from pytest_servebench.load.dialer import Dialer
from pytest_servebench.load.target import Target
from pytest_servebench.load.transports.base import Caller, Terms
from pytest_servebench.load.transports.http2.channel import Channel
from pytest_servebench.load.transports.http2.connection import Connection, Use
from pytest_servebench.load.transports.http2.control import ALPN
from pytest_servebench.load.transports.http2.heads import Heads
from pytest_servebench.load.transports.http2.requests import Ready, grpc_timeout
from pytest_servebench.load.transports.http2.verdicts import Judge, judge_grpc, judge_http


class _Dial:
    """A connection that is being opened, and how many channels wait for it."""

    def __init__(self, task: asyncio.Task[Connection]) -> None:
        self.task = task
        self.takers = 0


class Http2:
    """Up to :attr:`.Terms.streams` channels share a connection.

    Without TLS the server must speak HTTP/2 from the start (*prior knowledge*); with TLS it must
    choose it (ALPN).
    """

    judge: Judge = staticmethod(judge_http)

    def __init__(
        self,
        target: Target,
        terms: Terms,
        loop: asyncio.AbstractEventLoop,
        woken: Callable[[int], bool],
    ) -> None:
        """Open connections to ``target``; ``OptionError`` for unusable certificates."""
        self._dialer = Dialer(target, loop, alpn=ALPN)
        self._loop = loop
        # A connection for each request cannot be shared.
        self._streams = terms.streams if terms.keep_alive else 1
        self._terms = terms
        self._requests: dict[bytes, Ready] = {}
        self._use = Use(terms, self.judge, self._ready, Heads(), woken, self._drop)
        self._roomy: list[Connection] = []  # shared ones that may have places
        self._dial: _Dial | None = None
        self.shared = self._streams > 1
        self.opened = 0

    async def prepare(self) -> None:
        """Look up the server's name."""
        await self._dialer.look_up()

    async def open(self, caller: Caller) -> Channel:
        """Return a channel, over a connection that has a place or over a new one."""
        if self._streams == 1:
            return (await self._connect()).join(caller)
        while True:
            for connection in self._roomy:
                if len(connection.channels) < self._streams:
                    return connection.join(caller)
            dial = self._dial
            if dial is None or dial.takers >= self._streams:
                dial = self._dial = _Dial(self._loop.create_task(self._connect()))
                dial.task.add_done_callback(_retrieve)
            dial.takers += 1
            try:
                # One that is no longer wanted by one channel may be by others.
                connection = await asyncio.shield(dial.task)
            except BaseException:
                if dial.task.done() and self._dial is dial:
                    self._dial = None
                raise
            finally:
                dial.takers -= 1
            if self._dial is dial:
                self._dial = None
            # It may have been open for a while, if those who wanted it gave up.
            if not connection.leaving and len(connection.channels) < self._streams:
                if connection not in self._roomy:
                    self._roomy.append(connection)
                return connection.join(caller)

    async def _connect(self) -> Connection:
        connection = await self._dialer.open(lambda: Connection(self._use, self._loop))
        self.opened += 1
        try:
            # They say how many requests may be sent at once.
            await connection.settled
        except asyncio.CancelledError:
            connection.close()
            raise
        connection.check()
        return connection

    def _drop(self, connection: Connection) -> None:
        if connection in self._roomy:
            self._roomy.remove(connection)

    def _ready(self, request: bytes) -> Ready:
        if (ready := self._requests.get(request)) is None:
            ready = self._requests[request] = Ready(request, self.further())
        return ready

    def further(self) -> Sequence[tuple[bytes, bytes]]:
        """Return fields that every request gets."""
        return ()

    def head(self, head: bytes) -> bytes:
        """Return it as it is: :class:`.prepared.Fields` reads it."""
        return head


class Grpc(Http2):
    """Unary calls; the status of a call is gRPC's, and the server is told of the timeout."""

    judge: Judge = staticmethod(judge_grpc)

    def further(self) -> Sequence[tuple[bytes, bytes]]:
        """Return the deadline."""
        timeout = self._terms.timeout
        return ((b"grpc-timeout", grpc_timeout(timeout)),) if timeout else ()


def _retrieve(task: asyncio.Task[Connection]) -> None:
    """Take note of an error for which no channel waits any more."""
    if not task.cancelled():
        task.exception()
