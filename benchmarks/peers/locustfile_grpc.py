"""Locust's users over gRPC: each keeps to its share of the rate."""

from __future__ import annotations

import os
import time
from pathlib import Path

import grpc
import grpc.experimental.gevent  # type: ignore[import-untyped,unused-ignore]
from locust import (  # type: ignore[import-not-found,unused-ignore]
    User,
    constant_throughput,
    task,
)

from benchmarks.targets.grpc_echo import METHOD, message

grpc.experimental.gevent.init_gevent()
REQUEST = message(Path(os.environ["BODY"]).read_bytes())
NAME = METHOD.rpartition("/")[2]


class GrpcUser(User):  # type: ignore[misc,unused-ignore]
    """One channel; grpcio has channels to one server share a connection."""

    wait_time = constant_throughput(float(os.environ["USER_RATE"]))

    def on_start(self) -> None:
        """Make the stub."""
        self.channel = grpc.insecure_channel(self.host.removeprefix("http://"))
        self.stub = self.channel.unary_unary(METHOD)

    def on_stop(self) -> None:
        """Close the channel."""
        self.channel.close()

    @task  # type: ignore[untyped-decorator,unused-ignore]
    def call(self) -> None:
        """Call, and report the call to Locust."""
        start, error, size = time.perf_counter(), None, 0
        try:
            size = len(self.stub(REQUEST, timeout=10))
        except grpc.RpcError as failure:
            error = failure
        self.environment.events.request.fire(
            request_type="grpc", name=NAME, response_length=size, exception=error, context={},
            response_time=(time.perf_counter() - start) * 1e3,
        )  # fmt: skip
