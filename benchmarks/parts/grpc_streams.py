"""The effect of workers sharing gRPC connections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from benchmarks import plotting, stats
from benchmarks.measure import MeasurementError, apart, make_job, run_with_window, scratch
from benchmarks.parts import Bar, Data
from benchmarks.peers.registry import BY_NAME, OURS_GRPC, PLACE
from benchmarks.rounds import CONNECTIONS, say
from benchmarks.settings import Settings
from benchmarks.stats import rotated
from benchmarks.targets import grpc_echo

NAME = "grpc-streams"
TITLE = "gRPC: connections shared by workers"
RATES: Final = (500, 5_000)
STREAMS: Final = (1, 10, CONNECTIONS)
_SETTLE: Final = 0.7


def run(settings: Settings) -> Data:
    """Measure our engine, in turn, with more and more workers on each connection."""
    server = grpc_echo.available()[0]
    runs = []
    for rate in RATES:
        for number in range(settings.repeats):
            for streams in rotated(STREAMS, number):
                one = _measure(server, rate, streams, number, settings)
                say(NAME, number + 1, one)
                runs.append(one)
    return {"runs": runs, "body_bytes": settings.body_bytes, "server": server}


def _measure(
    server: str, rate: int, streams: int, number: int, settings: Settings
) -> dict[str, Any]:
    peer = BY_NAME[OURS_GRPC]
    short = Settings(settle=_SETTLE, seconds=settings.seconds, body_bytes=settings.body_bytes)
    one: dict[str, Any] = {
        "peer": peer.name, "place": PLACE[peer.name], "offered": rate, "streams": streams,
        "repeat": number,
    }  # fmt: skip
    generator, other = apart()
    try:
        with scratch() as directory, grpc_echo.serve(directory, server, cpus=other) as target:
            job = make_job(
                directory, short, port=target.port, rate=rate, seconds=short.load_seconds,
                connections=CONNECTIONS, seed=number, stamps=True, streams=streams,
            )  # fmt: skip
            window = run_with_window(peer, job, target, short, generator)
            stamps = peer.stamps(job)
    except MeasurementError as error:
        return one | {"error": str(error)}
    latency = stamps.latency(_SETTLE, short.seconds) if stamps is not None else np.zeros(0)
    if not len(latency):
        return one | {"error": "no answers"}
    p50, p99 = np.quantile(latency, [0.5, 0.99]) / 1e3
    return one | {
        "rate": window.rate, "cpu": window.cpu_per_request, "p50": float(p50), "p99": float(p99),
    }  # fmt: skip


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: this is about ours alone."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Return nothing: this explains."""
    del data
    return ()


def section(data: Data) -> str:
    """Return the table."""
    rows = []
    for rate in RATES:
        for streams in STREAMS:
            runs = stats.select(data["runs"], offered=rate, streams=streams)
            rows.append([
                f"{rate:,}", str(streams), str(-(-CONNECTIONS // streams)),
                stats.text(stats.spread(one.get("rate") for one in runs), "{:,.0f}"),
                *(
                    stats.text(stats.spread(one.get(name) for one in runs), form)
                    for name, form in (("cpu", "{:.1f}"), ("p50", "{:,.0f}"), ("p99", "{:,.0f}"))
                ),
                str(len(runs)),
            ])  # fmt: skip
    return "\n\n".join([
        f"Our engine with {CONNECTIONS} workers, echo of {data['body_bytes']:,} bytes by "
        f"{data['server']}'s server. `--servebench-streams` says how many workers share a "
        "connection; by default each has its own. Client and server are pinned to a "
        "core each. Latency is that from the schedule.",
        plotting.table(["offered /s", "workers per connection", "connections", "answered /s",
                        "CPU µs per call", "latency p50 µs", "latency p99 µs", "runs"], rows),
    ])  # fmt: skip
