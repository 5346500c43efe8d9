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
)
BY_NAME: Final = {part.NAME: part for part in PARTS}
