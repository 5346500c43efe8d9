"""k6's gRPC client with arrivals at a constant rate."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.peers import Job
from benchmarks.peers.k6 import K6
from benchmarks.targets.grpc_echo import METHOD, SOURCES


class K6Grpc(K6):
    """The executor ``constant-arrival-rate``, a connection for each virtual user."""

    name = "k6-grpc"
    title = "k6's gRPC client, constant-arrival-rate"
    script = "k6_grpc.js"
    duration = "grpc_req_duration"

    def environment(self, job: Job) -> Mapping[str, str]:
        """Return the script's parameters."""
        return {
            **super().environment(job),
            "ADDRESS": f"127.0.0.1:{job.port}",
            "METHOD": METHOD.removeprefix("/"),
            "PROTOS": str(SOURCES),
        }
