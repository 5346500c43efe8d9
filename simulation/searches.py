"""Searches for the capacity of simulated servers, whose capacity is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from pytest_servebench.load.records import Records
from pytest_servebench.load.store import NEVER, Outcome
from pytest_servebench.measure.capacity_search import (
    Capacity,
    CapacitySearch,
    Plan,
    ProbeOutcome,
    SearchSettings,
)
from pytest_servebench.stats.capacity import probed
from simulation.distributions import Seconds
from simulation.queues import fifo_waits, waits

Services = Callable[[int, np.random.Generator], Seconds]
"""Draws n service times, seconds."""

OVERHEAD: Final = 0.4
"""Seconds that a probe costs beside its load and the drain."""


@dataclass(frozen=True)
class Server:
    """A simulated server with a limit on its p99.

    Attributes:
        name: of its queue in Kendall's notation.
        services: the law of its service times.
        servers: c.
        places: K, those in service included; ``None`` for no limit.
        bound: of the latency, seconds: 1 % of the requests may take as long or longer.
    """

    name: str
    services: Services
    servers: int
    places: int | None
    bound: float

    def records(self, rate: float, seconds: float, dice: np.random.Generator) -> Records:
        """Return what a load of Poisson arrivals sees that begins on an idle server."""
        number = int(dice.poisson(rate * seconds))
        arrivals = np.sort(dice.uniform(0.0, seconds, number))
        took = self.services(number, dice)
        if self.servers == 1 and self.places is None:
            waited = waits(arrivals, took)
        else:
            waited = fifo_waits(arrivals, took, self.servers, self.places or number + 1)
        kept = ~np.isnan(waited)
        scheduled = (arrivals * 1e9).astype(np.int64)
        done = np.full(number, NEVER)
        done[kept] = ((arrivals + waited + took)[kept] * 1e9).astype(np.int64)
        return Records(
            scheduled=scheduled, enqueued=scheduled, dequeued=scheduled, sent=scheduled,
            first_byte=done, done=done,
            outcome=np.where(kept, Outcome.OK, Outcome.DROPPED).astype(np.uint8),
            status=np.zeros(number, dtype=np.int16), window=int(seconds * 1e9),
        )  # fmt: skip

    def probe(self, plan: Plan, dice: np.random.Generator) -> ProbeOutcome:
        """Return what came of a probe."""
        records = self.records(plan.rate, plan.seconds, dice)
        beyond = records.latency() >= self.bound
        drain = max(0.0, (int(records.done.max(initial=0)) - records.window) / 1e9)
        seen = probed(records, beyond, plan.rate, plan.settle)
        return ProbeOutcome(plan.rest + OVERHEAD + plan.seconds + drain, (seen,))


def search(server: Server, settings: SearchSettings, seed: int) -> tuple[Capacity, CapacitySearch]:
    """Return what a search finds, and the search."""
    dice = np.random.default_rng(seed)
    looking = CapacitySearch((0.01,), settings)
    while (plan := looking.next()) is not None:
        looking.add(server.probe(plan, dice))
    return looking.capacity(), looking
