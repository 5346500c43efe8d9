"""A server that streams what each request tells it to: ``python -m simulation.stream_server``.

It prints its port. The body of a request is JSON, as :class:`.streaming.Script` writes it. Bytes go
out at absolute times after the request was read, and the server keeps when it wrote them, on the
monotonic clock in ns: ``GET /stamps`` returns ``[read, [head, ...]]`` for each request, in the
order in which they were read, and forgets them. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import deque
from typing import Any, cast

import httptools
import uvloop

_PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_HEAD = b"HTTP/1.1 %d Scripted\r\nContent-Type: text/event-stream\r\n%s\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


class Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, stamps: list[tuple[int, list[int]]]) -> None:
        """Add a row to ``stamps`` for each request."""
        self._stamps = stamps
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._path, self._body = b"", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it
        self._transport.set_write_buffer_limits(high=0)  # it writes at once

    def data_received(self, data: bytes) -> None:
        """Read requests."""
        self._now = time.monotonic_ns()
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
        steps = deque([(script["head"], _HEAD % (script["status"], how))])
        for at, text in script["writes"]:
            part = text.encode("latin-1")
            steps.append((at, b"%x\r\n%s\r\n" % (len(part), part) if chunked else part))
        if script["end"] == "whole" and chunked:
            at, data = steps.pop()
            steps.append((at, data + _LAST_CHUNK))
        self._wait(steps, self._loop.time(), script["end"], written)

    def _wait(
        self, steps: deque[tuple[float, bytes]], begin: float, end: str, written: list[int]
    ) -> None:
        """Wait for the next step; one at a time, as timers of one millisecond have no order."""
        self._loop.call_at(begin + steps[0][0], self._write, steps, begin, end, written)

    def _write(
        self, steps: deque[tuple[float, bytes]], begin: float, end: str, written: list[int]
    ) -> None:
        if self._transport.is_closing():
            return
        _, data = steps.popleft()
        written.append(time.monotonic_ns())
        self._transport.write(data)
        if steps:
            self._wait(steps, begin, end, written)
        elif end == "close":
            self._transport.close()
        elif end == "abort":
            self._transport.abort()


async def main() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    stamps: list[tuple[int, list[int]]] = []
    with contextlib.suppress(AttributeError, PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    server = await loop.create_server(lambda: Link(stamps), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(main())
