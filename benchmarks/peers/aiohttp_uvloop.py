"""aiohttp on uvloop, the client that one would write: one task for each request."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.peers import Job, Plain, Stamps, missing_module, own_client


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

    random = np.random.default_rng(job.seed)
    gaps = random.exponential(1 / job.rate, int(job.rate * job.seconds * 1.2) + 100)
    times = np.cumsum(gaps)
    scheduled = (times[times < job.seconds] * 1e9).astype(np.int64)
    sent, done = np.full((2, len(scheduled)), -1, dtype=np.int64)
    body = job.body.read_bytes()
    headers = {"Content-Type": "application/json"}
    tasks: set[asyncio.Task[Any]] = set()

    async def one(session: aiohttp.ClientSession, index: int) -> None:
        sent[index] = time.monotonic_ns()
        try:
            async with session.post(job.url, data=body, headers=headers) as answer:
                await answer.read()
                if answer.status == 200:
                    done[index] = time.monotonic_ns()
        except (aiohttp.ClientError, TimeoutError):
            return

    connector = aiohttp.TCPConnector(limit=job.connections)
    async with aiohttp.ClientSession(connector=connector) as session:
        start = time.monotonic_ns() + 100_000_000
        scheduled += start
        for index, when in enumerate(scheduled):
            # At least one turn of the loop, or a late script would send nothing at all.
            await asyncio.sleep(max(0.0, (when - time.monotonic_ns()) / 1e9))
            task = asyncio.create_task(one(session, index))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks, timeout=5)
    if job.stamps:
        Stamps(scheduled, sent, done, int((done < 0).sum())).save(job.directory)


if __name__ == "__main__":
    import uvloop

    uvloop.run(load(Job.load(sys.argv[1])))
