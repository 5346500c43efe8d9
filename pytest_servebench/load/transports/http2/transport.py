"""HTTP/2 and gRPC as transports: channels over connections that they may share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from pytest_servebench.load.dialer import Dialer
from pytest_servebench.load.target import Target
from pytest_servebench.load.transports.base import Caller, Terms
from pytest_servebench.load.transports.http2.channel import Channel, channel_maker
from pytest_servebench.load.transports.http2.connection import Connection, Use
from pytest_servebench.load.transports.http2.control import ALPN
from pytest_servebench.load.transports.http2.heads import Head, Heads, both
from pytest_servebench.load.transports.http2.prepared import MESSAGE_PREFIX
from pytest_servebench.load.transports.http2.requests import Ready, grpc_timeout
from pytest_servebench.load.transports.http2.verdicts import Judge, judge_grpc, judge_http

_PATIENCE: Final = 1.0  # seconds after which no more channels wait for a connection


class _Dial:
    """A connection that is being opened, since when, and how many channels wait for it."""

    def __init__(self, task: asyncio.Task[None], since: float) -> None:
        self.task = task
        self.since = since
        self.takers = 0


class _ReadyOnes(dict[bytes, Ready]):
    """Requests in frames, each made when it is first sent."""

    def __init__(self, further: Sequence[tuple[bytes, bytes]]) -> None:
        super().__init__()
        self._further = further

    def __missing__(self, request: bytes) -> Ready:
        ready = self[request] = Ready(request, self._further)
        return ready


class Http2:
    """Up to :attr:`.Terms.streams` channels share a connection.

    Without TLS the server must speak HTTP/2 from the start (*prior knowledge*); with TLS it must
    choose it (ALPN).
    """

    judge: Judge = staticmethod(judge_http)
    framing = 0

    def __init__(
        self,
        target: Target,
        terms: Terms,
        loop: asyncio.AbstractEventLoop,
        woken: Callable[[int], int],
    ) -> None:
        """Open connections to ``target``; ``OptionError`` for unusable certificates."""
        self._dialer = Dialer(target, loop, alpn=ALPN)
        self._loop = loop
        # A connection for each request cannot be shared.
        self._streams = terms.streams if terms.keep_alive else 1
        self._terms = terms
        ready = _ReadyOnes(self.further()).__getitem__
        self._use = Use(
            terms, self.judge, ready, Heads(), woken, channel_maker(terms), self._drop, self.framing
        )
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
            dial = self._pending()
            dial.takers += 1
            try:
                # One that is no longer wanted by one channel may be by others.
                await asyncio.shield(dial.task)
            finally:
                self._leave(dial)
                # With garbage collection off, an error and its frame, this one, would live on.
                del dial

    def _pending(self) -> _Dial:
        """Return a connection that is being opened, with a place; a new one if need be."""
        dial, now = self._dial, self._loop.time()
        if dial is None or dial.takers >= self._streams or now - dial.since > _PATIENCE:
            dial = self._dial = _Dial(self._loop.create_task(self._connect_shared()), now)
            dial.task.add_done_callback(_retrieve)
        return dial

    def _leave(self, dial: _Dial) -> None:
        """Wait no longer for a connection."""
        dial.takers -= 1
        if not dial.takers:
            dial.task.cancel()
        if self._dial is dial and (dial.task.done() or not dial.takers):
            self._dial = None

    async def _connect_shared(self) -> None:
        self._roomy.append(await self._connect())

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

    def further(self) -> Sequence[tuple[bytes, bytes]]:
        """Return fields that every request gets."""
        return ()

    def head(self, head: tuple[Head, Head | None] | None) -> bytes:
        """Return both header blocks; :class:`.prepared.Fields` reads them."""
        return b"" if head is None else both(*head)


class Grpc(Http2):
    """Unary calls; the status of a call is gRPC's, and the server is told of the timeout."""

    judge: Judge = staticmethod(judge_grpc)
    framing = MESSAGE_PREFIX

    def further(self) -> Sequence[tuple[bytes, bytes]]:
        """Return the deadline."""
        timeout = self._terms.timeout
        return ((b"grpc-timeout", grpc_timeout(timeout)),) if timeout else ()


def _retrieve(task: asyncio.Task[None]) -> None:
    """Take note of an error for which no channel waits any more."""
    if not task.cancelled():
        task.exception()
