"""An open loop of asyncio tasks, for clients that make a task for each request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np

from benchmarks.peers import Job, Stamps


async def open_loop(job: Job, send: Callable[[], Awaitable[bool]]) -> None:
    """Send each request at its time, and write stamps if the job asks for them.

    Args:
        job: exponential gaps, on absolute times.
        send: sends a request; returns whether it was answered with success.
    """
    random = np.random.default_rng(job.seed)
    gaps = random.exponential(1 / job.rate, int(job.rate * job.seconds * 1.2) + 100)
    times = np.cumsum(gaps)
    scheduled = (times[times < job.seconds] * 1e9).astype(np.int64)
    sent, done = np.full((2, len(scheduled)), -1, dtype=np.int64)
    tasks: set[asyncio.Task[None]] = set()

    async def one(index: int) -> None:
        sent[index] = time.monotonic_ns()
        if await send():
            done[index] = time.monotonic_ns()

    start = time.monotonic_ns() + 100_000_000
    scheduled += start
    for index, when in enumerate(scheduled):
        # At least one turn of the loop, or a late script would send nothing at all.
        await asyncio.sleep(max(0.0, (when - time.monotonic_ns()) / 1e9))
        task = asyncio.create_task(one(index))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.wait(tasks, timeout=5)
    if job.stamps:
        Stamps(scheduled, sent, done, int((done < 0).sum())).save(job.directory)
