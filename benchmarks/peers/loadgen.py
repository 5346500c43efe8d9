"""MLPerf LoadGen's Server scenario, with aiohttp on uvloop as its HTTP client."""

from __future__ import annotations

import array
import asyncio
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.peers import Job, Plain, Stamps, missing_module, own_client

_TRACE = "mlperf_log_trace.json"


class LoadGen(Plain):
    """LoadGen keeps the schedule; our system under test passes queries on over HTTP."""

    name = "loadgen"
    title = "MLPerf LoadGen, Server scenario, aiohttp as the client"
    open_loop = True
    arrivals = "poisson"
    lag_from = (
        "LoadGen's trace (scheduled to issued) and the script's timestamps (issued to `post`)"
    )
    tells = True
    top_rate = 2_000.0

    def missing(self) -> str | None:
        """Return what is not installed."""
        return missing_module("mlperf_loadgen", "aiohttp", "uvloop")

    def command(self, job: Job) -> Sequence[str]:
        """Run this module."""
        return own_client(__name__, job)

    def stamps(self, job: Job) -> Stamps | None:
        """Join LoadGen's trace to the script's stamps, in the order of issue."""
        mine = super().stamps(job)
        if mine is None:
            return None
        lags = issue_lags((job.directory / _TRACE).read_text())
        if len(lags) != len(mine.scheduled):
            return None
        # The script's "scheduled" is when LoadGen called it.
        return Stamps(mine.scheduled - lags, mine.sent, mine.done, mine.unaccounted)


def issue_lags(trace: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return from LoadGen's trace how late each query was issued, in ns."""
    found: list[tuple[int, int]] = []
    for line in trace.splitlines():
        if '"issue_start_ns"' not in line:
            continue
        arguments = json.loads(line.rstrip().rstrip(","))["args"]
        found.append((int(arguments["query_seq"]), int(arguments["issue_start_ns"])))
    return np.array([lag for _, lag in sorted(found)], dtype=np.int64)


class Client:
    """A system under test that passes each query on, from an event loop in its own thread."""

    def __init__(self, job: Job) -> None:
        """Start the loop."""
        # Installed only for this.
        import aiohttp  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        import mlperf_loadgen  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        import uvloop  # noqa: PLC0415

        self._aiohttp: Any = aiohttp
        self._loadgen: Any = mlperf_loadgen
        self._job = job
        self._body = job.body.read_bytes()
        self._answer = array.array("B", b"\0" * 8)
        self._tasks: set[asyncio.Task[None]] = set()
        self.issued: list[int] = []
        self._waiting: deque[tuple[int, int]] = deque()
        self._woken = False
        self.sent: dict[int, int] = {}
        self.done: dict[int, int] = {}
        self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self.loop).result()

    async def _open(self) -> None:
        connector = self._aiohttp.TCPConnector(limit=self._job.connections)
        self._session = self._aiohttp.ClientSession(connector=connector)

    def issue(self, queries: list[Any]) -> None:
        """Take queries from LoadGen, in its thread."""
        now = time.monotonic_ns()
        for query in queries:
            number = len(self.issued)
            self.issued.append(now)
            self._waiting.append((number, query.id))
        # A single wake-up for all waiting queries: each costs a system call.
        if not self._woken:
            self._woken = True
            self.loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._woken = False
        while self._waiting:
            task = self.loop.create_task(self._send(*self._waiting.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, number: int, query: int) -> None:
        self.sent[number] = time.monotonic_ns()
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                self._job.url, data=self._body, headers=headers
            ) as answer:
                await answer.read()
                if answer.status == 200:
                    self.done[number] = time.monotonic_ns()
        except self._aiohttp.ClientError:
            pass
        # LoadGen waits forever for a query without a response.
        address, _ = self._answer.buffer_info()
        response = self._loadgen.QuerySampleResponse(query, address, 8)
        self._loadgen.QuerySamplesComplete([response])

    def close(self) -> None:
        """End the loop."""
        asyncio.run_coroutine_threadsafe(self._session.close(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()


def load(job: Job) -> None:
    """Make the load."""
    import mlperf_loadgen as lg  # noqa: PLC0415

    client = Client(job)
    settings = lg.TestSettings()
    settings.scenario = lg.TestScenario.Server
    settings.mode = lg.TestMode.PerformanceOnly
    settings.server_target_qps = job.rate
    settings.server_target_latency_ns = 10_000_000_000
    settings.min_duration_ms = int(job.seconds * 1000)
    settings.max_duration_ms = int(job.seconds * 1000)
    settings.min_query_count = 1
    settings.schedule_rng_seed = job.seed
    settings.performance_sample_count_override = 1
    output = lg.LogOutputSettings()
    output.outdir = str(job.directory)
    log = lg.LogSettings()
    log.log_output = output
    log.enable_trace = job.stamps
    system = lg.ConstructSUT(client.issue, lambda: None)
    library = lg.ConstructQSL(1, 1, lambda _: None, lambda _: None)
    lg.StartTestWithLogSettings(system, library, settings, log)
    lg.DestroyQSL(library)
    lg.DestroySUT(system)
    client.close()
    if job.stamps:
        numbers = range(len(client.issued))
        Stamps(
            np.array(client.issued, dtype=np.int64),
            np.array([client.sent[number] for number in numbers], dtype=np.int64),
            np.array([client.done.get(number, -1) for number in numbers], dtype=np.int64),
        ).save(job.directory)


if __name__ == "__main__":
    load(Job.load(sys.argv[1]))
