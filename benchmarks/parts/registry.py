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
    gates,
    grpc,
    grpc_ageing,
    grpc_capacity,
    grpc_streams,
    intervals,
    lag,
    latency,
    memory,
    noise,
    page,
    profile,
    real_gates,
    runs,
    search,
    search_real,
    sizing,
    startup,
    streams,
    streams_intervals,
)

PARTS: Final[Sequence[Part]] = (
    cost,
    lag,
    latency,
    capacity,
    memory,
    profile,
    grpc,
    grpc_capacity,
    grpc_streams,
    grpc_ageing,
    fidelity,
    calibration,
    detector,
    noise,
    intervals,
    streams_intervals,
    gates,
    real_gates,
    search,
    search_real,
    sizing,
    page,
    runs,
    startup,
    streams,
)
OF_PEERS: Final = frozenset(part.NAME for part in (cost, lag, latency, capacity, memory, profile))
"""Parts on HTTP/1.1, of which the overview tells."""
AGAINST_NGINX: Final = OF_PEERS | {grpc.NAME, grpc_capacity.NAME}
"""Parts that need nginx."""
BY_NAME: Final = {part.NAME: part for part in PARTS}
