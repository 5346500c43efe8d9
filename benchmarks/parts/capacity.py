"""The highest rate that a load generator sustains on one core."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks import plotting, stats
from benchmarks.ladder import CONNECTIONS, LOWEST, WAYS, Ladder, highest, in_words, there
from benchmarks.parts import Bar, Data
from benchmarks.peers.registry import BY_NAME, OURS, available
from benchmarks.settings import Settings
from benchmarks.targets import nginx

NAME = "capacity"
TITLE = "Highest rate held on one core"
BAR: Final = 30_000
"""Our target, which is a step of the ladder."""
_COLUMNS: Final = dict(
    zip(
        WAYS,
        ("highest rate held on one core /s", "of that with p99 lag under 1 ms /s"),
        strict=True,
    )
)


def run(settings: Settings) -> Data:
    """Search for the highest rate of every open-loop peer."""
    peers = [peer for peer in available(settings.only) if peer.open_loop]
    ladder = Ladder(NAME, BAR, lambda _, place, cpus: nginx.serve(place, cpus), settings)
    return {
        "runs": ladder.climb(peers), "body_bytes": settings.body_bytes,
        "cores": len(os.sched_getaffinity(0)),
    }  # fmt: skip


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return the highest rates."""
    return {
        heading: {peer: _cell(data, peer, way) for peer in stats.names(data["runs"])}
        for way, heading in _COLUMNS.items()
    }


def _cell(data: Data, peer: str, way: str) -> str:
    if way == "prompt" and not BY_NAME[peer].tells:
        return "not reported"
    found = highest(data["runs"], peer, way)
    return f"none from {LOWEST}/s" if found is None else found.text("{:,.0f}")


def bars(data: Data) -> Sequence[Bar]:
    """Compare our highest rate with the target."""
    what = (
        "our highest rate from one generator process on one core, every request recorded and "
        "accounted for"
    )
    found = highest(data["runs"], OURS, "held")
    threads = there(data["runs"], OURS, "held", "threads")
    if found is None or threads is None:
        return [Bar(what, "not measured", f"≥ {BAR:,}/s, one thread", None)]
    figure = f"{found.text('{:,.0f}')}/s, active threads: {threads.text()}"
    reached = found.median >= BAR and threads.median <= 1
    return [Bar(what, figure, f"≥ {BAR:,}/s, one thread", reached)]


def section(data: Data) -> str:
    """Return the table and the plot."""
    runs = data["runs"]
    peers = stats.names(runs)
    rows = [
        [
            peer,
            *(_cell(data, peer, way) for way in _COLUMNS),
            stats.text(there(runs, peer, "held", "p99"), "{:,.0f}"),
            stats.text(there(runs, peer, "held", "cpu"), "{:.1f}"),
            stats.text(there(runs, peer, "held", "threads")),
            str(len(stats.select(runs, peer=peer))),
        ]
        for peer in peers
    ]
    pinned = (
        "The generator's process tree is pinned to one core, nginx to another."
        if data["cores"] > 1
        else "Generator and nginx share the only core."
    )
    return "\n\n".join([
        f"{pinned} {in_words(BAR)} Bodies have {data['body_bytes']:,} bytes, and every peer "
        f"{CONNECTIONS} connections; waiting for a free connection counts as lag.",
        plotting.table(["peer", *_COLUMNS.values(), "p99 lag µs at the highest",
                        "CPU µs per request there", "active threads", "rounds"], rows),
        plotting.grouped_bars(
            "capacity", ["held", "held with p99 lag under 1 ms"],
            {peer: [highest(runs, peer, way) for way in _COLUMNS] for peer in peers},
            label="highest rate on one core, requests per second", log=True,
            line=("our target", BAR),
        ),
    ])  # fmt: skip
