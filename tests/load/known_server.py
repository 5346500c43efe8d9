"""A server whose queue is known: c requests at once, with fixed or exponential service times.

``python known_server.py SLOTS MEAN_SECONDS {fixed,exponential} SEED`` prints its port. A service
ends at an absolute time, by the clock that paces the generator too, so that it is as long as it was
drawn, to some tens of microseconds.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
import time
from collections import deque

import numpy as np

from pytest_servebench.load.pacing import make_pacer, set_priority

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class KnownServer:
    def __init__(self, slots: int, mean: float, law: str, seed: int) -> None:
        self._free = slots
        self._mean = mean
        self._fixed = law == "fixed"
        self._random = np.random.default_rng(seed)
        self._waiting: deque[asyncio.Transport] = deque()
        self._busy: list[tuple[int, int, asyncio.Transport]] = []
        self._count = 0
        self._pacer = make_pacer(asyncio.get_running_loop(), self._ended)

    def arrived(self, transport: asyncio.Transport) -> None:
        if self._free:
            self._free -= 1
            self._begin(transport, time.monotonic_ns())
        else:
            self._waiting.append(transport)

    def _begin(self, transport: asyncio.Transport, now: int) -> None:
        seconds = self._mean if self._fixed else self._random.exponential(self._mean)
        self._count += 1
        heapq.heappush(self._busy, (now + int(seconds * 1e9), self._count, transport))
        self._pacer.wake_at(self._busy[0][0])

    def _ended(self) -> int | None:
        while self._busy and self._busy[0][0] <= time.monotonic_ns():
            end, _, transport = heapq.heappop(self._busy)
            transport.write(_ANSWER)
            if self._waiting:
                self._begin(self._waiting.popleft(), end)
            else:
                self._free += 1
        return self._busy[0][0] if self._busy else None


class Link(asyncio.Protocol):
    """Every request is one line and a head without a body."""

    def __init__(self, server: KnownServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            self._server.arrived(self._transport)


async def main() -> None:
    slots, mean, law, seed = sys.argv[1:]
    known = KnownServer(int(slots), float(mean), law, int(seed))
    set_priority("auto")
    server = await asyncio.get_running_loop().create_server(lambda: Link(known), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(120)


if __name__ == "__main__":
    asyncio.run(main())
