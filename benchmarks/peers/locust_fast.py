"""Locust's FastHttpUser."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

from benchmarks.peers import Job, Plain, missing_module
from benchmarks.settings import HOME


class Locust(Plain):
    """Users with ``constant_throughput``, in one process without a web interface."""

    name = "locust"
    title = "Locust, FastHttpUser with constant_throughput"
    open_loop = True
    arrivals = "constant"
    lag_from = "not reported: the server's timestamps relative to an even lattice for each user"
    tells = False
    top_rate = 1_000.0
    file = "locustfile.py"

    def missing(self) -> str | None:
        """Return what is not installed."""
        return missing_module("locust")

    def command(self, job: Job) -> Sequence[str]:
        """Start all users within half a second."""
        return [
            sys.executable, "-m", "locust", "-f", str(HOME / "peers" / self.file),
            "--headless", "--only-summary", "--loglevel", "WARNING",
            "-u", str(job.connections), "-r", str(job.connections * 2),
            "-t", f"{math.ceil(job.seconds + 0.5)}s", "--stop-timeout", "2",
            "--host", job.url.removesuffix("/predict"),
        ]  # fmt: skip

    def environment(self, job: Job) -> Mapping[str, str]:
        """Return the file's parameters."""
        return {"BODY": str(job.body), "USER_RATE": str(job.rate / job.connections)}


class LocustGrpc(Locust):
    """Users that call a blocking stub, on grpcio made to work with gevent."""

    name = "locust-grpc"
    title = "Locust with grpcio, constant_throughput"
    file = "locustfile_grpc.py"

    def missing(self) -> str | None:
        """Return what is not installed."""
        return missing_module("locust", "grpc")
