"""``requests`` in ten threads: a scheduler that sleeps, a queue, and workers."""

from __future__ import annotations

import queue
import random
import sys
import threading
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.peers import Job, Plain, Stamps, missing_module, own_client

THREADS = 10


class Requests(Plain):
    """The usual first attempt: it sleeps for one gap after another, so that lateness adds up."""

    name = "requests"
    title = "`requests` in ten threads, a queue, and a scheduler that sleeps"
    open_loop = True
    arrivals = "poisson"
    lag_from = "the script's timestamps: call of `post` minus the sum of the gaps so far"
    tells = True
    top_rate = 400.0

    def missing(self) -> str | None:
        """Return what is not installed."""
        return missing_module("requests")

    def command(self, job: Job) -> Sequence[str]:
        """Run this module."""
        return own_client(__name__, job)


def load(job: Job) -> None:
    """Make the load."""
    import requests  # noqa: PLC0415 - measured in this process only

    gaps = random.Random(job.seed)
    waiting: queue.Queue[int | None] = queue.Queue()
    rows: list[tuple[int, int, int]] = []  # appending is atomic
    body = job.body.read_bytes()
    headers = {"Content-Type": "application/json"}

    def work() -> None:
        while (when := waiting.get()) is not None:
            sent = time.monotonic_ns()
            try:
                answer = requests.post(job.url, data=body, headers=headers, timeout=10)
                done = time.monotonic_ns() if answer.status_code == 200 else -1
            except requests.RequestException:
                done = -1
            rows.append((when, sent, done))

    workers = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
    for worker in workers:
        worker.start()
    start = time.monotonic()
    ideal, asked = start, 0
    while ideal < start + job.seconds:
        gap = gaps.expovariate(job.rate)
        time.sleep(gap)
        ideal += gap
        waiting.put(int(ideal * 1e9))
        asked += 1
        if time.monotonic() > start + job.seconds:
            break  # lateness has accumulated: skip the rest of the schedule
    for _ in workers:
        waiting.put(None)
    until = time.monotonic() + 5
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))
    if job.stamps:
        table = np.array(rows, dtype=np.int64).reshape(-1, 3)
        Stamps(table[:, 0], table[:, 1], table[:, 2], asked - len(table)).save(job.directory)


if __name__ == "__main__":
    load(Job.load(sys.argv[1]))
