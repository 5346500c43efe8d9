"""The server for a peer in the gRPC parts: a gRPC server for gRPC, nginx for HTTP/1.1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.measure import Server
from benchmarks.peers import Peer
from benchmarks.peers.registry import OURS
from benchmarks.settings import Settings, make_body
from benchmarks.targets import grpc_echo, nginx

SHORT: Final = len(nginx.PREDICTION)
"""Bytes of a short answer."""


@contextmanager
def serve(
    peer: Peer,
    server: str,
    directory: Path,
    settings: Settings,
    *,
    short: bool = False,
    cpus: Sequence[int] | None = None,
) -> Iterator[Server]:
    """Run a server that answers as many bytes as a request has, whatever the protocol.

    Args:
        peer: over HTTP/1.1 it is ours.
        server: for gRPC, one of :data:`.grpc_echo.SERVERS`.
        directory: for its files.
        settings: of the run.
        short: whether answers have :data:`SHORT` bytes instead.
        cpus: processors that it may run on.
    """
    if peer.name == OURS:
        answer = nginx.PREDICTION if short else make_body(settings.body_bytes).decode()
        with nginx.serve(directory, cpus, answer) as web:
            yield web
    else:
        size = SHORT if short else 0
        with grpc_echo.serve(directory, server, answer=size, cpus=cpus) as echo:
            yield echo
