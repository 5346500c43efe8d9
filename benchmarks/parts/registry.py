"""All parts, in the order of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.parts import (
    Part,
    calibration,
    capacity,
    cost,
    detector,
    fidelity,
    intervals,
    lag,
    latency,
    memory,
)

PARTS: Final[Sequence[Part]] = (
    cost,
    lag,
    latency,
    capacity,
    memory,
    fidelity,
    calibration,
    detector,
    intervals,
)
BESIDE_PEERS: Final = frozenset(part.NAME for part in (cost, lag, latency, capacity, memory))
"""Parts that measure peers too, against nginx."""
BY_NAME: Final = {part.NAME: part for part in PARTS}
