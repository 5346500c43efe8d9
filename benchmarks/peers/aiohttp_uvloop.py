"""aiohttp on uvloop, as one would write a client: one task for each request."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.peers import Job, Plain, missing_module, own_client
from benchmarks.peers.open_loop import open_loop


class Aiohttp(Plain):
    """Open loop: exponential gaps on absolute times, and a limit of connections."""

    name = "aiohttp"
    title = "aiohttp on uvloop, a task for each request"
    open_loop = True
    arrivals = "poisson"
    lag_from = "the script's timestamps: call of `post` minus scheduled"
    tells = True
    top_rate = 2_000.0

    def missing(self) -> str | None:
        """Return what is not installed."""
        return missing_module("aiohttp", "uvloop")

    def command(self, job: Job) -> Sequence[str]:
        """Run this module."""
        return own_client(__name__, job)


async def load(job: Job) -> None:
    """Make the load."""
    # Installed only for this.
    import aiohttp  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

    body = job.body.read_bytes()
    headers = {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=job.connections)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def post() -> bool:
            try:
                async with session.post(job.url, data=body, headers=headers) as answer:
                    await answer.read()
                    return bool(answer.status == 200)
            except (aiohttp.ClientError, TimeoutError):
                return False

        await open_loop(job, post)


if __name__ == "__main__":
    import uvloop

    uvloop.run(load(Job.load(sys.argv[1])))
