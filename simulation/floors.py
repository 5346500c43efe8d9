"""The least width that an interval of a capacity can have, if requests beyond a bound are counted.

N requests at the capacity r* have q N of them beyond the bound, with a standard error of
√(φ q (1 - q) N): φ is their index of dispersion over a long time, as they come together. Where the
elasticity e = d ln s / d ln r of their share s is known, so is ln r* up to

    ±1.96 √(φ (1 - q) / (q N)) / e

For M/M/1, s = exp(-(μ - r) d), so that e = ρ ln(1/q) / (1 - ρ). Where q is small, φ is
1 + 4 Σ P(S_n > 0) = ((1 + ρ) / (1 - ρ))², S being the random walk with the steps service less gap
(by the change of measure of Asmussen, Applied Probability and Queues, chapter XIII). For q = 1 %
that makes ±4.24 (1 + 1/ρ) / √N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from simulation.searches import ALLOWED, Server

_RUNS: Final = 4
_REQUESTS: Final = 1e6  # of a run
_BATCH: Final = 60.0  # seconds: many times what these queues remember
_STEP: Final = 0.05  # of ln r on each side
_NORMAL: Final = 1.96


@dataclass(frozen=True)
class Exceedances:
    """How the requests beyond a bound come, at the capacity.

    Attributes:
        dispersion: φ, the variance of their number over that of as many independent requests, in
            the limit of a long time.
        elasticity: e, by how many per cent their share grows if the rate does by one.
    """

    dispersion: float
    elasticity: float

    def floor(self, requests: int) -> float:
        """Return the least width of an interval of 95 %, high / low - 1, from so many requests."""
        error = math.sqrt(self.dispersion * (1 - ALLOWED) / (ALLOWED * requests)) / self.elasticity
        return 2 * _NORMAL * error


def exceedances(server: Server, capacity: float) -> Exceedances:
    """Return them of a server at its capacity, from simulations of millions of requests.

    The same arrivals and services, faster and slower, give the elasticity. Batch means give the
    dispersion, with a standard error of about 7 %, which is half as much of the floor.
    """
    batches: list[float] = []
    late, number = np.zeros(3), np.zeros(3)
    for seed in range(_RUNS):
        for place, step in enumerate((-_STEP, 0.0, _STEP)):
            rate = capacity * math.exp(step)
            dice = np.random.default_rng(seed)
            records = server.records(rate, _REQUESTS / rate, dice)
            beyond = records.latency() >= server.bound
            late[place] += beyond.sum()
            number[place] += len(beyond)
            if step == 0:
                whole = int(records.window / 1e9 / _BATCH)
                batch = (records.scheduled / 1e9 / _BATCH).astype(np.int64)
                batches += np.bincount(batch, beyond, whole)[:whole].tolist()
    slower, share, faster = (late / number).tolist()
    elasticity = math.log(faster / slower) / (2 * _STEP)
    independent = capacity * _BATCH * share * (1 - share)
    return Exceedances(float(np.var(batches, ddof=1)) / independent, elasticity)


def mm1_floor(load: float, requests: int) -> float:
    """Return about the same for an M/M/1 queue whose p99 is limited: ±4.1 (1 + 1/ρ*) / √N.

    The exact constant is that above, 1.96 √99 / ln 100 = 4.24. Results are divided by 4.1, as
    they were from the first on: 3 % more.

    Args:
        load: ρ*, the load at the capacity r*.
        requests: N.
    """
    return 2 * 4.1 * (1 + 1 / load) / math.sqrt(requests)
