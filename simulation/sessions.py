"""Sessions of several turns on a server of so many slots, in the steady state."""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from pytest_servebench.load.records import Records
from pytest_servebench.load.turns import Turns
from pytest_servebench.stats.episodes import nearest_rank
from simulation.cases import records
from simulation.distributions import Seconds

PERMILLES: Final = {"p50": 500, "p90": 900, "p99": 990}


@dataclass(frozen=True)
class Chats:
    """Users in turns with a server, first come, first served.

    Attributes:
        slots: requests that the server works on at once.
        load: share of them that is busy on average.
        turns: of a session on average; their number is geometric.
        think: seconds between an answer and the next turn on average, exponential; a service is one
            on average.
        alike: standard deviation of the logarithm of what all services of a session share: with 0
            they are independent.
        longer: by what share of the first one each further service of a session is longer.
    """

    slots: int = 4
    load: float = 0.6
    turns: float = 5.0
    think: float = 5.0
    alike: float = 1.0
    longer: float = 0.2


Services = list[tuple[float, ...]]
"""Of the turns of each session."""


def _sessions(
    of: Chats, span: float, dice: np.random.Generator, own: np.random.Generator
) -> tuple[Seconds, Services]:
    """Return when sessions begin, and how long the server works for their turns."""
    # Of a geometric number of turns K, the n-th is 1 + (n - 1) * longer as long: with a mean of m
    # turns, all are m + longer * E[K (K - 1) / 2] = m + longer * m (m - 1).
    whole = of.turns * (1 + of.longer * (of.turns - 1))
    rate = of.load * of.slots / whole
    begins = np.sort(dice.uniform(0.0, span, dice.poisson(rate * span)))
    number = dice.geometric(1 / of.turns, len(begins))
    shared = dice.lognormal(-(of.alike**2) / 2, of.alike, len(begins))
    services = [
        tuple((factor * own.exponential(1.0, turns) * (1 + of.longer * np.arange(turns))).tolist())
        for factor, turns in zip(shared.tolist(), number.tolist(), strict=True)
    ]
    return begins, services


def run(
    of: Chats, number: float, seed: int | Sequence[int], own: int | Sequence[int] | None = None
) -> Records:
    """Return the records of about ``number`` requests in the steady state.

    Args:
        of: users and server.
        number: of requests.
        seed: of the sessions.
        own: of what differs between two runs of the same sessions; by default, like ``seed``.
    """
    dice = np.random.default_rng(seed)
    of_run = dice if own is None else np.random.default_rng(own)
    each = 1 + of.longer * (of.turns - 1)
    window = number * each / (of.load * of.slots)
    settle = 6 * of.turns * (of.think + 3 * each) + 60 / (1 - of.load) ** 2
    begins, services = _sessions(of, settle + window, dice, of_run)
    # Arrivals in order of time, each with its session and turn: a turn's end makes the next.
    events = [(begin, session, 0) for session, begin in enumerate(begins.tolist())]
    heapq.heapify(events)
    free = [0.0] * of.slots
    rows: list[tuple[float, float]] = []
    turns: list[tuple[int, int, int]] = []
    while events and events[0][0] < settle + window:
        arrival, session, turn = heapq.heappop(events)
        done = max(arrival, free[0]) + services[session][turn]
        heapq.heapreplace(free, done)
        if arrival >= settle:
            rows.append((arrival - settle, done - arrival))
            turns.append((session, turn, len(services[session])))
        if turn + 1 < len(services[session]):
            think = float(of_run.exponential(of.think))
            heapq.heappush(events, (done + think, session, turn + 1))
    arrivals, latency = np.array(rows).T
    made = records(arrivals, latency, window)
    return dataclasses.replace(made, turns=Turns(*np.array(turns, dtype=np.int32).T))


@cache
def truth(of: Chats, requests: int = 1_200_000) -> dict[str, float]:
    """Return percentiles and mean of so many requests, in other runs than those of few seeds."""
    each = 40_000
    runs = [run(of, each, [1, seed]).latency() for seed in range(requests // each)]
    values = np.sort(np.concatenate(runs))
    found = {
        name: float(values[nearest_rank(permille, len(values)) - 1])
        for name, permille in PERMILLES.items()
    }
    return {**found, "mean": math.fsum(values.tolist()) / len(values)}
