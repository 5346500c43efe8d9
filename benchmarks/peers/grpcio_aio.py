"""grpcio's client for asyncio: one task for each call, all on one channel."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.peers import Job, Plain, missing_module, own_client
from benchmarks.peers.open_loop import open_loop
from benchmarks.targets.grpc_echo import METHOD, message


class GrpcioAio(Plain):
    """Open loop; messages are bytes that were encoded before the run."""

    name = "grpcio"
    title = "grpcio aio on uvloop, a task for each call"
    open_loop = True
    arrivals = "poisson"
    lag_from = "the script's timestamps: the call minus scheduled"
    tells = True
    top_rate = 1_000.0

    def missing(self) -> str | None:
        """Return what is not installed."""
        return missing_module("grpc", "uvloop")

    def command(self, job: Job) -> Sequence[str]:
        """Run this module."""
        return own_client(__name__, job)


async def load(job: Job) -> None:
    """Make the load."""
    import grpc  # noqa: PLC0415 - measured in this process only

    request = message(job.body.read_bytes())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{job.port}") as channel:
        call = channel.unary_unary(METHOD)

        async def send() -> bool:
            try:
                await call(request, timeout=10)
            except grpc.RpcError:
                return False
            return True

        await open_loop(job, send)


if __name__ == "__main__":
    import uvloop

    uvloop.run(load(Job.load(sys.argv[1])))
