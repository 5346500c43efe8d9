"""What an engine adds to the latency: median from the schedule, over wrk's with one connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from benchmarks import measure, plotting, stats
from benchmarks.parts import Bar, Data
from benchmarks.peers import Peer
from benchmarks.peers.registry import BY_NAME, OURS, PLACE, available
from benchmarks.rounds import CONNECTIONS, rounds, say
from benchmarks.settings import Settings
from benchmarks.targets import nginx

NAME = "latency"
TITLE = "Latency from the schedule"
RATE: Final = 2_000
LIMIT: Final = 60.0
FLOOR: Final = "wrk"
_COLUMN: Final = f"median latency from schedule at {RATE:,}/s over wrk's, µs"


def run(settings: Settings) -> Data:
    """Measure the peers that report latencies from the schedule, and wrk, in turn."""
    peers = [peer for peer in available(settings.only) if peer.tells or peer.name == FLOOR]
    runs = []
    for number, peer in rounds(settings, peers):
        one = _measure(peer, number, settings)
        say(NAME, number + 1, peer.name, one)
        runs.append(one)
    return {"runs": runs, "body_bytes": settings.body_bytes}


def _measure(peer: Peer, number: int, settings: Settings) -> dict[str, Any]:
    one = {"peer": peer.name, "place": PLACE[peer.name], "offered": RATE, "repeat": number}
    try:
        with measure.scratch() as directory, nginx.serve(directory) as server:
            job = measure.make_job(
                directory, settings, port=server.port, rate=RATE,
                seconds=settings.load_seconds,
                connections=1 if peer.name == FLOOR else CONNECTIONS, seed=number, stamps=True,
            )  # fmt: skip
            measure.run(peer, job)
            stamps, told = peer.stamps(job), peer.told(job)
    except measure.MeasurementError as error:
        return one | {"error": str(error)}
    if peer.name == FLOOR:
        return one | {"p50": told.get("latency_p50")}
    if stamps is None:
        return one | {"error": "no timestamps"}
    latency = stamps.latency(settings.settle, settings.seconds)
    if not len(latency):
        return one | {"error": "no responses"}
    p50, p99 = np.quantile(latency, [0.5, 0.99]) / 1e3
    return one | {"p50": float(p50), "p99": float(p99), "answered": len(latency)}


def _over(data: Data, peer: str) -> stats.Spread | None:
    """Return the differences within each round, which measures both within a minute."""
    floors = {one["repeat"]: one.get("p50") for one in stats.select(data["runs"], peer=FLOOR)}
    return stats.spread(
        one["p50"] - floor
        for one in stats.select(data["runs"], peer=peer)
        if one.get("p50") is not None and (floor := floors.get(one["repeat"])) is not None
    )


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return the differences."""
    return {
        _COLUMN: {
            peer: stats.text(over, "{:,.0f}")
            for peer in stats.names(data["runs"])
            if peer != FLOOR and (over := _over(data, peer)) is not None
        }
    }


def bars(data: Data) -> Sequence[Bar]:
    """Compare our difference with the limit."""
    what = f"our median latency from the schedule at {RATE:,}/s minus wrk's with one connection"
    over = _over(data, OURS)
    if over is None:
        return [Bar(what, "not measured", f"≤ {LIMIT:.0f} µs", None)]
    return [Bar(what, over.text() + " µs", f"≤ {LIMIT:.0f} µs", over.median <= LIMIT)]


def section(data: Data) -> str:
    """Return the table and the plot."""
    peers = stats.names(data["runs"])
    rows = []
    for peer in peers:
        runs = stats.select(data["runs"], peer=peer)
        errors = [one["error"] for one in runs if "error" in one]
        rows.append([
            f"{peer}, one connection" if peer == FLOOR else peer,
            stats.text(stats.spread(one.get("p50") for one in runs), "{:,.0f}"),
            stats.text(stats.spread(one.get("p99") for one in runs), "{:,.0f}"),
            "" if peer == FLOOR else stats.text(_over(data, peer), "{:,.0f}"),
            str(len(runs)) + (f", {len(errors)} failed: {errors[0][:80]}" if errors else ""),
        ])  # fmt: skip
    silent = [peer.name for peer in available() if peer.open_loop and not peer.tells]
    return "\n\n".join([
        f"Time from the scheduled start of a request to its complete response, at {RATE:,}/s to "
        f"nginx with bodies of {data['body_bytes']:,} bytes. wrk with one connection sends the "
        "next request after each response: its median is the time of kernel and nginx, and the "
        "difference is what the client adds (waking up, sending late, and the wake-up of an idle "
        "CPU). Differences are taken within each round."
        + (f" These report no latency from the schedule: {', '.join(silent)}." if silent else ""),
        plotting.table(["peer", "p50 µs", "p99 µs", "p50 over wrk's", "runs"], rows),
        plotting.grouped_bars(
            "latency",
            ["p50"],
            {peer: [stats.spread(one.get("p50") for one in stats.select(data["runs"], peer=peer))]
             for peer in peers},
            label=f"median latency in µs from the schedule at {RATE:,}/s",
            log=True,
        ),
    ])  # fmt: skip


assert FLOOR in BY_NAME
