"""The highest rate of unary gRPC calls that a load generator sustains on one core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks import plotting, stats
from benchmarks.ladder import CONNECTIONS, Ladder, highest, in_words, there
from benchmarks.parts import Bar, Data
from benchmarks.peers.registry import GRPC_PEERS, OURS_GRPC, available
from benchmarks.settings import Settings
from benchmarks.targets import grpc_echo, unary

NAME = "grpc-capacity"
TITLE = "gRPC: highest rate held on one core"
BAR: Final = 15_000


def run(settings: Settings) -> Data:
    """Search for the highest rate of the clients that account for every call."""
    server = grpc_echo.available()[0]
    ladder = Ladder(
        NAME, BAR,
        lambda peer, place, cpus: unary.serve(
            peer, server, place, settings, short=True, cpus=cpus
        ),
        settings, ways=("held",),
    )  # fmt: skip
    peers = available(settings.only, GRPC_PEERS)
    return {
        "runs": ladder.climb([peer for peer in peers if peer.tells]),
        "body_bytes": settings.body_bytes, "server": server,
    }  # fmt: skip


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: the peers are others than the overview's."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Compare our highest rate with the target."""
    what = "our highest rate of gRPC calls on one core, every call recorded and accounted for"
    found = highest(data["runs"], OURS_GRPC, "held")
    if found is None:
        return [Bar(what, "not measured", f"≥ {BAR:,}/s", None)]
    return [Bar(what, found.text("{:,.0f}") + "/s", f"≥ {BAR:,}/s", found.median >= BAR)]


def section(data: Data) -> str:
    """Return the table."""
    runs = data["runs"]
    rows = [
        [
            peer,
            stats.text(highest(runs, peer, "held"), "{:,.0f}"),
            stats.text(there(runs, peer, "held", "p99"), "{:,.0f}"),
            stats.text(there(runs, peer, "held", "cpu"), "{:.1f}"),
            str(len(stats.select(runs, peer=peer))),
        ]
        for peer in stats.names(runs)
    ]
    return "\n\n".join([
        f"Calls of {data['body_bytes']:,} bytes with answers of {unary.SHORT}, as those of model "
        f"servers are; the server is {data['server']}'s. Client and server "
        f"are pinned to a core each, so that the figure may be the server's limit. {in_words(BAR)} "
        f"There are {CONNECTIONS} workers.",
        plotting.table(["client", "highest rate held /s", "p99 lag µs at the highest",
                        "CPU µs per call there", "rounds"], rows),
    ])  # fmt: skip
