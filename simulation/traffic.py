"""Traffic with rare events: long pauses, and bursts of arrivals.

Many runs are simulated at once, request by request: all servers serve first come, first served, and
times are in mean services.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import Records
from simulation.cases import records
from simulation.distributions import Seconds

Flags = npt.NDArray[np.bool_]

PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Pauses:
    """Some services, chosen at random, take longer, such as those that wait for a collector."""

    share: float
    times: float


@dataclass(frozen=True)
class Bursts:
    """Arrivals are a Markov-modulated Poisson process with two states (MMPP-2).

    Attributes:
        ratio: rate of arrivals in the busy state, over that in the calm one.
        share: of the time that is busy.
        length: mean length of the busy state, in mean gaps between arrivals.
    """

    ratio: float
    share: float
    length: float


@dataclass(frozen=True)
class Traffic:
    """A G/G/c queue.

    Attributes:
        variation: squared coefficient of variation of the services: 1 for exponential ones, 0 for
            constant ones, else lognormal ones; pauses come on top.
        servers: c.
        load: share of their time for which they are busy.
        pauses: of some services.
        bursts: of arrivals; Poisson arrivals without.
    """

    variation: float
    servers: int
    load: float
    pauses: Pauses | None = None
    bursts: Bursts | None = None

    def __str__(self) -> str:
        kind = {1.0: "M", 0.0: "D"}.get(self.variation, "G")
        text = f"{'MMPP' if self.bursts else 'M'}/{kind}/{self.servers}"
        if self.pauses:
            text += f", 1 in {1 / self.pauses.share:.0f} takes {self.pauses.times:g} times as long"
        if self.bursts:
            text += (
                f", {self.bursts.ratio:g} times the rate in {100 * self.bursts.share:g} % of the "
                f"time, for {self.bursts.length:g} mean gaps each"
            )
        return text


MM1: Final = tuple(Traffic(1.0, 1, load) for load in (0.3, 0.5, 0.7))

RARE: Final = (
    Traffic(0.25, 4, 0.7, Pauses(1 / 200, 20)),
    Traffic(1.0, 4, 0.7, Pauses(1 / 200, 20)),
    Traffic(1.0, 1, 0.5, Pauses(1 / 200, 20)),
    Traffic(0.0, 1, 0.3, Pauses(1 / 500, 50)),
    Traffic(0.25, 2, 0.6, Pauses(1 / 100, 10)),
    Traffic(1.0, 8, 0.5, Pauses(1 / 300, 30)),
    Traffic(1.0, 1, 0.5, bursts=Bursts(3, 0.2, 50)),
    Traffic(1.0, 4, 0.6, bursts=Bursts(2.5, 0.3, 200)),
    Traffic(0.25, 2, 0.5, bursts=Bursts(5, 0.1, 40)),
)
"""Pauses and bursts that are rare in a run of some thousand requests."""


@dataclass(frozen=True)
class Run:
    """What a run saw.

    Attributes:
        records: of its requests.
        rare: how many of these took a pause or came in a burst.
    """

    records: Records
    rare: int


def runs(traffic: Traffic, number: int, replications: int, seed: int = 1) -> list[Run]:
    """Return runs of about ``number`` requests each, in the long run."""
    return [
        Run(records(arrivals, latency, number / (traffic.load * traffic.servers)), rare)
        for arrivals, latency, rare in _simulated(traffic, number, replications, seed)
    ]


@cache
def truth(traffic: Traffic, requests: int = 3_000_000) -> dict[str, float]:
    """Return percentiles and mean of so many simulated requests, in other runs than :func:`runs`.

    With 3 million requests they are known to some percent, a fortieth of what a run of 2,000 tells.
    """
    number = 5000
    parts = _simulated(traffic, number, requests // number, seed=2)
    latency = np.concatenate([part for _, part, _ in parts])
    found = np.quantile(latency, list(PERCENTILES.values()))
    return {**dict(zip(PERCENTILES, found.tolist(), strict=True)), "mean": float(latency.mean())}


def _simulated(
    traffic: Traffic, number: int, replications: int, seed: int
) -> list[tuple[Seconds, Seconds, int]]:
    """Return arrivals and latencies of each run, after a time in which the queue has settled.

    And the number of its requests that took a pause or came in a burst.
    """
    dice = np.random.default_rng([seed, number])
    settle = 500 + round(min(3000.0, 30 / (1 - traffic.load) ** 2))
    if traffic.pauses:
        settle += round(5 * traffic.pauses.times / (1 - traffic.load))
    spare = 5 * math.sqrt(number)
    if traffic.bursts:
        settle += round(4 * traffic.bursts.length)
        spare += 0.5 * number + 4 * traffic.bursts.length
    size = settle + number + round(spare)
    rate = traffic.load * traffic.servers
    gaps, busy = _gaps(traffic.bursts, (size, replications), dice)
    gaps /= rate
    served, paused = _services(traffic, (size, replications), dice)
    latency = np.empty((size, replications))
    # Kiefer and Wolfowitz (1955): the work that each server still has, least first.
    work = np.zeros((replications, traffic.servers))
    for request in range(size):
        np.maximum(work - gaps[request][:, np.newaxis], 0.0, out=work)
        latency[request] = work[:, 0] + served[request]
        work[:, 0] = latency[request]
        work.sort(axis=1)
    times = np.cumsum(gaps, axis=0)
    times -= times[settle - 1]
    inside = (times >= 0) & (times < number / rate)
    rare = (inside & (busy | paused)).sum(axis=0)
    return [
        (times[chosen, run], latency[chosen, run], int(rare[run]))
        for run, chosen in enumerate(inside.T)
    ]


def _services(
    traffic: Traffic, shape: tuple[int, int], dice: np.random.Generator
) -> tuple[Seconds, Flags]:
    """Return services with a mean of 1, and which of them are pauses."""
    if traffic.variation == 1:
        served = dice.exponential(1.0, shape)
    elif traffic.variation == 0:
        served = np.ones(shape)
    else:
        sigma2 = math.log1p(traffic.variation)
        served = dice.lognormal(-sigma2 / 2, math.sqrt(sigma2), shape)
    if traffic.pauses is None:
        return served, np.zeros(shape, dtype=np.bool_)
    paused = dice.random(shape) < traffic.pauses.share
    longer = np.where(paused, traffic.pauses.times, 1.0)
    return served * longer / (1 + traffic.pauses.share * (traffic.pauses.times - 1)), paused


def _gaps(
    bursts: Bursts | None, shape: tuple[int, int], dice: np.random.Generator
) -> tuple[Seconds, Flags]:
    """Return times between arrivals with a mean of 1, and which end in a burst.

    Of each run a column.
    """
    if bursts is None:
        return dice.exponential(1.0, shape), np.zeros(shape, dtype=np.bool_)
    calm = 1 / (1 - bursts.share + bursts.share * bursts.ratio)
    rates = np.array([calm, calm * bursts.ratio])
    leaving = np.array([bursts.share / (1 - bursts.share), 1.0]) / bursts.length
    busy = (dice.random(shape[1]) < bursts.share).astype(np.int64)
    gaps, inside = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
    for row, states in zip(gaps, inside, strict=True):
        waiting = np.arange(shape[1])
        while len(waiting):
            state = busy[waiting]
            total = rates[state] + leaving[state]
            row[waiting] += dice.exponential(1.0, len(waiting)) / total
            leaves = dice.random(len(waiting)) >= rates[state] / total
            waiting = waiting[leaves]
            busy[waiting] = 1 - busy[waiting]
        states[:] = busy
    return gaps, inside
