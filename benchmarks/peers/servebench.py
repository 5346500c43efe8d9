"""Our own engine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.peers import Job, Plain, Stamps, own_client
from benchmarks.targets.grpc_echo import METHOD, message

if TYPE_CHECKING:
    from pytest_servebench.load.runner import LoadResult

GENERATOR = "pytest_servebench.load.generator"
"""A string in the command line of the generator's own process."""
_HTTP: Final = "http/1.1"
GRPC: Final = "grpc"
"""Its transport over gRPC."""


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


class ServebenchGrpc(Servebench):
    """The same over its transport ``grpc``."""

    name = "servebench-grpc"
    title = "pytest-servebench's engine, over gRPC"
    top_rate = 15_000.0

    def command(self, job: Job) -> Sequence[str]:
        """Run this module."""
        return own_client(__name__, job, GRPC)


def _request(job: Job, transport: str) -> bytes:
    from pytest_servebench.load.transports.http2.prepared import (  # noqa: PLC0415
        grpc_message,
        prepared,
    )

    body = job.body.read_bytes()
    if transport == GRPC:
        fields = ((":method", "POST"), (":scheme", "http"), (":path", METHOD),
                  (":authority", f"127.0.0.1:{job.port}"), ("te", "trailers"),
                  ("content-type", "application/grpc"))  # fmt: skip
        return prepared(fields, grpc_message(message(body)))
    head = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{job.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def load(job: Job, transport: str = _HTTP) -> LoadResult:
    """Make the load."""
    from pytest_servebench.load.runner import run_load  # noqa: PLC0415
    from pytest_servebench.load.spec import LoadSpec  # noqa: PLC0415
    from pytest_servebench.load.target import Target  # noqa: PLC0415
    from pytest_servebench.load.transports.base import Terms  # noqa: PLC0415

    return run_load(
        LoadSpec(
            target=Target.parse(f"http://127.0.0.1:{job.port}"),
            requests=(_request(job, transport),),
            rate=job.rate,
            duration=job.seconds,
            buffer_size=100_000,
            workers=job.connections,
            seed=job.seed,
            # A closed-loop warm-up would add requests outside the schedule.
            warmup=0.0,
            timeout=10.0,
            drain=5.0,
            transport=transport,
            terms=Terms(streams=job.streams),
        )
    )


def main(job: Job, transport: str = _HTTP) -> None:
    """Make the load and write what the records say, if that is asked for."""
    result = load(job, transport)
    records = result.records
    if job.stamps:
        sent = np.where(records.sent >= 0, records.sent + result.start, -1)
        done = np.where(records.ok, records.done + result.start, -1)
        # Unfinished, or without a known outcome.
        counts = records.counts()
        unaccounted = len(records) - sum(counts.values()) + counts["unfinished"]
        Stamps(records.scheduled + result.start, sent, done, unaccounted).save(job.directory)


if __name__ == "__main__":
    main(Job.load(sys.argv[1]), *sys.argv[2:])
