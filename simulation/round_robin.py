"""A proxy that gives requests to several servers in turn.

``python -m simulation.round_robin PORT PORT …`` prints its own port and serves until the end of its
standard input. Each connection of a client has one to every server, and one request at a time.
"""

import asyncio
import itertools
import sys
from collections.abc import Iterator
from typing import cast

import uvloop

from pytest_servebench.load.pacing import set_priority


class _Upstream(asyncio.Protocol):
    """A connection to a server that passes its answers to one client."""

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.write(data)


class _Client(asyncio.Protocol):
    """A client's connection."""

    def __init__(self, ports: list[int], turns: Iterator[int]) -> None:
        self._ports = ports
        self._turns = turns
        self._upstream: dict[int, asyncio.Transport] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        port = next(self._turns)
        if port in self._upstream:
            self._upstream[port].write(data)
            return
        task = asyncio.get_running_loop().create_task(self._connect(port, data))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, port: int, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        upstream, _ = await loop.create_connection(
            lambda: _Upstream(self._transport), "127.0.0.1", port
        )
        self._upstream[port] = upstream
        upstream.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        for upstream in self._upstream.values():
            upstream.close()


async def main() -> None:
    """Serve until the end of the standard input."""
    ports = [int(port) for port in sys.argv[1:]]
    turns = itertools.cycle(ports)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    set_priority("auto")
    server = await loop.create_server(lambda: _Client(ports, turns), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(main())
