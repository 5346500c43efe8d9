"""A server whose queue is known: c requests at once, with service times of a known law.

``python -m simulation.known_server SLOTS LAW SEED PRIORITY FILE`` prints its port, and at the end
of its standard input writes to ``FILE`` (.npy) one row for each request whose service began, in
that order: when it was read, when its service began (both on the system's monotonic clock), and how
long a service was drawn for it, all in ns; shape ``(n, 3)``.

LAW is ``fixed:SECONDS``, ``exponential:MEAN``, or ``hyperexponential:SHARE,MEAN,OTHER``: a SHARE of
the services is exponential with the first mean, the rest with the other. PRIORITY is that of the
load generator: ``auto`` or ``normal``.

A service ends at an absolute time, by the clock that paces the generator too, and the next one in
the queue begins at that time, however late this process woke: what is drawn is what the queue has.
"""

import asyncio
import heapq
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import numpy as np
import uvloop

from pytest_servebench.load.pacing import make_pacer, set_priority

_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
_END: Final = b"\r\n\r\n"
_now = time.monotonic_ns


def parse_law(text: str, seed: int) -> Callable[[], float]:
    """Return what draws service times in seconds."""
    kind, _, rest = text.partition(":")
    numbers = [float(number) for number in rest.split(",")]
    dice = np.random.default_rng(seed)
    if kind == "fixed":
        (seconds,) = numbers
        return lambda: seconds
    if kind == "exponential":
        (mean,) = numbers
        return lambda: dice.exponential(mean)
    if kind == "hyperexponential":
        share, first, other = numbers
        return lambda: dice.exponential(first if dice.random() < share else other)
    raise ValueError(f"{text}: give fixed, exponential or hyperexponential")


class KnownServer:
    """Some slots and a queue without limit, first come, first served."""

    def __init__(self, slots: int, draw: Callable[[], float]) -> None:
        """Serve ``slots`` requests at once, each as long as ``draw`` tells; in a running loop."""
        self.rows: array[int] = array("q")
        self._free = slots
        self._draw = draw
        self._waiting: deque[tuple[int, asyncio.Transport]] = deque()
        self._busy: list[tuple[int, int, asyncio.Transport]] = []
        self._pacer = make_pacer(asyncio.get_running_loop(), self._ended)

    def arrived(self, transport: asyncio.Transport, read: int) -> None:
        """Begin to serve a request, or let it wait."""
        if self._free:
            self._free -= 1
            self._begin(transport, read, read)
            self._pacer.wake_at(self._busy[0][0])
        else:
            self._waiting.append((read, transport))

    def _begin(self, transport: asyncio.Transport, read: int, now: int) -> None:
        drawn = int(self._draw() * 1e9)
        self.rows.extend((read, now, drawn))
        # The number of the row keeps transports, which cannot be compared, out of comparisons.
        heapq.heappush(self._busy, (now + drawn, len(self.rows), transport))

    def _ended(self) -> int | None:
        while self._busy and self._busy[0][0] <= _now():
            end, _, transport = heapq.heappop(self._busy)
            if not transport.is_closing():
                transport.write(_ANSWER)
            if self._waiting:
                read, transport = self._waiting.popleft()
                self._begin(transport, read, end)
            else:
                self._free += 1
        return self._busy[0][0] if self._busy else None


class Link(asyncio.Protocol):
    """One connection; every request is a line and a head without a body."""

    def __init__(self, server: KnownServer) -> None:
        """Give requests to ``server``."""
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """Read requests."""
        read = _now()
        for _ in range(data.count(_END)):
            self._server.arrived(self._transport, read)


async def main() -> None:
    """Serve until the end of the standard input."""
    slots, law, seed, priority, file = sys.argv[1:]
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    known = KnownServer(int(slots), parse_law(law, int(seed)))
    set_priority(priority)
    server = await loop.create_server(lambda: Link(known), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    np.save(file, np.array(known.rows, dtype=np.int64).reshape(-1, 3))


if __name__ == "__main__":
    uvloop.run(main())
