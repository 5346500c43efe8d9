"""A unary echo on grpcio's server for asyncio; the arguments are those of ``server.cc``."""

from __future__ import annotations

import mmap
import struct
import sys
from pathlib import Path

import grpc
import uvloop

from benchmarks.targets.grpc_echo import METHOD, message

_COUNT = struct.Struct("=Q")


async def main(counter: str, answer: int, age: int, streams: int) -> None:
    """Serve until a signal."""
    with Path(counter).open("r+b") as file:
        calls = mmap.mmap(file.fileno(), _COUNT.size)
    fixed = message(b"a" * answer) if answer else b""
    number = 0

    async def call(request: bytes, _: grpc.aio.ServicerContext) -> bytes:
        nonlocal number
        number += 1
        _COUNT.pack_into(calls, 0, number)
        return fixed or request

    # Neither side decodes the message: its bytes are what the client wrote.
    _, service, method = METHOD.split("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(call)}
    options = [
        (name, value)
        for name, value in (
            ("grpc.max_connection_age_ms", age), ("grpc.max_concurrent_streams", streams),
        )
        if value
    ]  # fmt: skip
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], *map(int, sys.argv[2:])))
