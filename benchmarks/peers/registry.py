"""All peers, and which of them can run here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.peers import Peer
from benchmarks.peers.aiohttp_uvloop import Aiohttp
from benchmarks.peers.closed import Hey, Wrk
from benchmarks.peers.grpcio_aio import GrpcioAio
from benchmarks.peers.k6 import K6
from benchmarks.peers.k6_grpc import K6Grpc
from benchmarks.peers.loadgen import LoadGen
from benchmarks.peers.locust_fast import Locust, LocustGrpc
from benchmarks.peers.requests_threads import Requests
from benchmarks.peers.servebench import Servebench, ServebenchGrpc

OURS: Final = Servebench.name
PEERS: Final[Sequence[Peer]] = (
    Servebench(), Aiohttp(), LoadGen(), K6(), Locust(), Requests(), Wrk(), Hey(),
)  # fmt: skip
OURS_GRPC: Final = ServebenchGrpc.name
GRPC_PEERS: Final[Sequence[Peer]] = (ServebenchGrpc(), GrpcioAio(), K6Grpc(), LocustGrpc())
"""Those of the parts on gRPC."""
_ALL: Final = (*PEERS, *GRPC_PEERS)
BY_NAME: Final = {peer.name: peer for peer in _ALL}
PLACE: Final = {peer.name: place for place, peer in enumerate(_ALL)}


def available(only: Sequence[str] = (), peers: Sequence[Peer] = PEERS) -> list[Peer]:
    """Return the peers that are installed, or those of them that are asked for."""
    return [peer for peer in peers if peer.missing() is None and (not only or peer.name in only)]


def left_out() -> dict[str, str]:
    """Return the peers that are not installed, and what is missing."""
    return {peer.name: reason for peer in _ALL if (reason := peer.missing()) is not None}
