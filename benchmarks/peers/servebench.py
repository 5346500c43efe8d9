"""Our own engine; the only place here that uses it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.peers import Job, Plain, Stamps, own_client

GENERATOR = "pytest_servebench.load.generator"
"""What the command line of the generator's own process has in it."""


class Servebench(Plain):
    """The engine through ``run_load``, as the plugin uses it."""

    name = "servebench"
    title = "pytest-servebench's engine"
    open_loop = True
    arrivals = "poisson"
    lag_from = "its records: written to the socket minus scheduled"
    tells = True
    top_rate = 10_000.0

    def missing(self) -> str | None:
        """Return ``None``: it is always there."""
        return None

    def command(self, job: Job) -> Sequence[str]:
        """Run this module."""
        return own_client(__name__, job)


def main(job: Job) -> None:
    """Make the load and write what the records say, if that is asked for."""
    from pytest_servebench.load.runner import run_load  # noqa: PLC0415
    from pytest_servebench.load.spec import LoadSpec  # noqa: PLC0415
    from pytest_servebench.load.target import Target  # noqa: PLC0415

    body = job.body.read_bytes()
    head = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{job.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    result = run_load(
        LoadSpec(
            target=Target.parse(f"http://127.0.0.1:{job.port}"),
            requests=(head.encode() + body,),
            rate=job.rate,
            duration=job.seconds,
            buffer_size=100_000,
            workers=job.connections,
            seed=job.seed,
            # A closed-loop warm-up would add requests outside the schedule.
            warmup=0.0,
            timeout=10.0,
            drain=5.0,
        )
    )
    records = result.records
    if job.stamps:
        sent = np.where(records.sent >= 0, records.sent + result.start, -1)
        done = np.where(records.ok, records.done + result.start, -1)
        # Unfinished, or without a known outcome.
        counts = records.counts()
        unaccounted = len(records) - sum(counts.values()) + counts["unfinished"]
        Stamps(records.scheduled + result.start, sent, done, unaccounted).save(job.directory)


if __name__ == "__main__":
    main(Job.load(sys.argv[1]))
