"""The order in which peers run: a different one is first in each round."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from benchmarks.peers import Peer
from benchmarks.settings import Settings
from benchmarks.stats import rotated

CONNECTIONS = 100
"""Connections of every peer, users of Locust, virtual users of k6: enough for 20,000 requests a
second at 5 ms each."""


def rounds(settings: Settings, peers: Sequence[Peer]) -> Iterator[tuple[int, Peer]]:
    """Return the number of the round and the peer, for every run."""
    for number in range(settings.repeats):
        for peer in rotated(peers, number):
            yield number, peer


def say(*words: object) -> None:
    """Log how far the benchmarks are."""
    print(*words, file=sys.stderr, flush=True)
