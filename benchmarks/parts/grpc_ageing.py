"""A long load on a gRPC server that keeps closing connections, and takes few calls on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks import plotting
from benchmarks.measure import make_job, scratch
from benchmarks.parts import Bar, Data
from benchmarks.peers.servebench import GRPC, load
from benchmarks.rounds import say
from benchmarks.settings import Settings
from benchmarks.targets import grpc_echo

NAME = "grpc-ageing"
TITLE = "gRPC: a server that ages connections and limits calls"
RATE: Final = 2_000
SECONDS: Final = 600.0
_QUICK: Final = 60.0
WORKERS: Final = 16
STREAMS: Final = (8, 1)
"""Workers that share a connection: one load for each."""
LIMITS: Final = grpc_echo.Limits(age_ms=1000, streams=2)
SUCCESS: Final = 0.9999


def run(settings: Settings) -> Data:
    """Make the loads, the first of which is the long one."""
    server = grpc_echo.available()[0]
    runs = []
    for streams in STREAMS:
        seconds = SECONDS if streams == STREAMS[0] and not settings.quick else _QUICK
        one = _measure(server, streams, seconds, settings)
        say(NAME, one)
        runs.append(one)
    return {"runs": runs, "body_bytes": settings.body_bytes, "server": server}


def _measure(server: str, streams: int, seconds: float, settings: Settings) -> dict[str, Any]:
    with scratch() as directory, grpc_echo.serve(directory, server, limits=LIMITS) as target:
        job = make_job(
            directory, settings, port=target.port, rate=RATE, seconds=seconds,
            connections=WORKERS, seed=streams, streams=streams,
        )  # fmt: skip
        result = load(job, GRPC)
        served = target.served()
    counts = {name: int(number) for name, number in result.records.counts().items() if number}
    return {
        "streams": streams, "seconds": seconds, "arrivals": len(result.records),
        "counts": counts, "resent": result.generator.resent, "served": served,
        "connections": result.generator.reconnections,
        "failures": dict(result.failures), "failure": result.failure,
    }  # fmt: skip


def _lost(one: dict[str, Any]) -> int:
    """Return the calls without an outcome."""
    known = sum(number for name, number in one["counts"].items() if name != "unfinished")
    return int(one["arrivals"] - known)


def _success(one: dict[str, Any]) -> float:
    return float(one["counts"].get("ok", 0) / one["arrivals"])


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: this is about ours alone."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Check that every call has an outcome, and that nearly all succeed."""
    result = []
    for one in data["runs"]:
        sharing = f"workers per connection: {one['streams']}, {one['seconds']:g} s"
        lost, success = _lost(one), _success(one)
        result.append(
            Bar(f"calls without an outcome, {sharing}", f"{lost} of {one['arrivals']:,}", "0",
                not lost)
        )  # fmt: skip
        result.append(
            Bar(f"success rate, {sharing}", f"{success:.4%}", f"≥ {SUCCESS:.2%}",
                success >= SUCCESS)
        )  # fmt: skip
    return result


def section(data: Data) -> str:
    """Return the table."""
    rows = []
    for one in data["runs"]:
        failures = "; ".join(f"{reason}: {number}" for reason, number in one["failures"].items())
        rows.append([
            str(one["streams"]), f"{one['seconds']:g}", f"{one['arrivals']:,}",
            f"{one['served']:,}", f"{_success(one):.4%}", str(_lost(one)), str(one["resent"]),
            f"{one['connections']:,}", failures or "none",
        ])  # fmt: skip
    return "\n\n".join([
        f"Our engine with {WORKERS} workers at {RATE:,}/s, echo of {data['body_bytes']:,} bytes by "
        f"{data['server']}'s server with a `max_connection_age` of {LIMITS.age_ms} ms and "
        f"`max_concurrent_streams` of {LIMITS.streams}. Calls that the server did not take are "
        "sent again over another connection.",
        plotting.table(["workers per connection", "seconds", "arrivals", "calls seen by the server",
                        "success", "without an outcome", "sent again", "reconnections",
                        "failures"], rows),
    ])  # fmt: skip
