"""A server that streams what each request asks for: ``python -m simulation.stream_server``.

It prints its port, and speaks HTTP/1.1 and, if a client does from the start, HTTP/2. The body of a
request is JSON, as :class:`.streaming.Script` writes it. Bytes go out at absolute times after the
request was read, and the server keeps when it wrote them, on the monotonic clock in ns:
``GET /stamps`` returns ``[read, [head, ...]]`` for each request, in the order in which they were
read, and forgets them. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol, cast

import httptools
import uvloop

PREFACE = b"PRI * HTTP/2.0\r\n"
Stamps = list[tuple[int, list[int]]]

_PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_HEAD = b"HTTP/1.1 %d Scripted\r\nContent-Type: text/event-stream\r\n%s\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


class Answering(Protocol):
    """A connection, or a stream of one, on which an answer is written."""

    def is_closing(self) -> bool:
        """Return whether nothing more can be written."""

    def close(self) -> None:
        """Close the connection in the middle of the answer."""

    def abort(self) -> None:
        """Reset it, or the stream."""


def play(
    answering: Answering,
    steps: Iterable[tuple[float, Callable[[], object]]],
    end: str,
    written: list[int],
) -> None:
    """Take each step so many seconds from now, keep when, and end as a script says."""
    loop, left = asyncio.get_running_loop(), deque(steps)
    begin = loop.time()

    def step() -> None:
        if answering.is_closing():
            return
        _, write = left.popleft()
        written.append(time.monotonic_ns())
        write()
        if left:
            # One at a time, as timers of one millisecond have no order.
            loop.call_at(begin + left[0][0], step)
        elif end == "close":
            answering.close()
        elif end == "abort":
            answering.abort()

    loop.call_at(begin + left[0][0], step)


class Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, stamps: Stamps) -> None:
        """Add a row to ``stamps`` for each request."""
        self._stamps = stamps
        self._parser = httptools.HttpRequestParser(self)
        self._path, self._body = b"", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it
        self._transport.set_write_buffer_limits(high=0)  # it writes at once

    def data_received(self, data: bytes) -> None:
        """Read requests."""
        self._now = time.monotonic_ns()
        if data.startswith(PREFACE):
            from simulation.stream_server_http2 import Http2Link  # noqa: PLC0415 - few need h2

            link = Http2Link(self._stamps, self._transport)
            self._transport.set_protocol(link)
            link.data_received(data)
            return
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._path, self._body = b"", b""

    def on_url(self, url: bytes) -> None:
        """Keep the path."""
        self._path += url

    def on_body(self, body: bytes) -> None:
        """Keep the script."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer as the script says."""
        if self._path == b"/stamps":
            told = json.dumps(self._stamps).encode()
            self._stamps.clear()
            self._transport.write(_PLAIN % len(told) + told)
            return
        script: dict[str, Any] = json.loads(self._body)
        written: list[int] = []
        self._stamps.append((self._now, written))
        chunked = script["length"] is None
        how = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n"
        if not chunked:
            how %= script["length"]
        writes = [(script["head"], _HEAD % (script["status"], how))]
        for at, text in script["writes"]:
            part = text.encode("latin-1")
            writes.append((at, b"%x\r\n%s\r\n" % (len(part), part) if chunked else part))
        if script["end"] == "whole" and chunked:
            at, data = writes.pop()
            writes.append((at, data + _LAST_CHUNK))
        write = self._transport.write
        steps = [(at, partial(write, data)) for at, data in writes]
        play(self._transport, steps, script["end"], written)


async def main() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    stamps: Stamps = []
    with contextlib.suppress(AttributeError, PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    server = await loop.create_server(lambda: Link(stamps), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(main())
