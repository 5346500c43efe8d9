"""A server with a fixed delay: ``python -m benchmarks.targets.delay_server DELAY FILE``.

It prints its port, answers each request after ``DELAY`` seconds, and when it is ended (SIGTERM)
writes to ``FILE`` (.npy) when each request came, on the system's monotonic clock in ns, and on
which connection: shape ``(n, 2)``.

The stamp is that of the read which brought the first byte of the request. Where the system allows
it the server has real-time priority, like our generator, so that a stamp does not wait for a
processor which others hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from array import array
from typing import cast

import httptools
import numpy as np
import uvloop

_BODY = b'{"predictions": [[' + b", ".join([b"0.0999999"] * 18) + b"]]}"
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    + str(len(_BODY)).encode()
    + b"\r\n\r\n"
    + _BODY
)


class Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, stamps: array[int], number: int, delay: float) -> None:
        """Write stamps for connection ``number``."""
        self._stamps = stamps
        self._number = number
        self._delay = delay
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._now = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it

    def data_received(self, data: bytes) -> None:
        """Read requests."""
        self._now = time.monotonic_ns()
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """Stamp a request by its first byte."""
        self._stamps.append(self._now)
        self._stamps.append(self._number)

    def on_message_complete(self) -> None:
        """Answer after the delay."""
        if self._delay > 0:
            self._loop.call_later(self._delay, self._answer)
        else:
            self._answer()

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_ANSWER)


async def main() -> None:
    """Serve until SIGTERM."""
    delay, file = float(sys.argv[1]), sys.argv[2]
    stamps: array[int] = array("q")
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    numbers = iter(range(sys.maxsize))
    server = await loop.create_server(
        lambda: Link(stamps, next(numbers), delay), "127.0.0.1", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    np.save(file, np.array(stamps, dtype=np.int64).reshape(-1, 2))


if __name__ == "__main__":
    uvloop.run(main())
