"""Servers with known behaviour, which a sizing model must recognize or refuse."""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import NEVER, Outcome
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.sizing.inversion import fifo_services
from simulation import cases
from simulation.distributions import Seconds
from simulation.queues import Law, fifo_waits, services
from simulation.saved import case

Departures = Callable[[Seconds, Seconds], Seconds]
"""Arrivals and services to departures; each of shape ``(n,)``."""


def fifo(slots: int, slower: float = 0.0) -> Departures:
    """Serve first come, first served; ``slower`` longer for each other slot that is busy."""

    def departures(arrivals: Seconds, drawn: Seconds) -> Seconds:
        busy = [0.0] * slots
        left = np.empty(len(arrivals))
        for number, (arrival, service) in enumerate(
            zip(arrivals.tolist(), drawn.tolist(), strict=True)
        ):
            begin = max(arrival, busy[0])
            others = sum(end > begin for end in busy) if slower else 0
            left[number] = begin + service * (1 + slower * others)
            heapq.heapreplace(busy, float(left[number]))
        return left

    return departures


def last_come_first(arrivals: Seconds, drawn: Seconds) -> Seconds:
    """Serve one after the other, of those that wait the one that came last."""
    left = np.empty(len(arrivals))
    waiting: list[int] = []
    now, came = 0.0, 0
    while came < len(arrivals) or waiting:
        if not waiting:
            now = max(now, float(arrivals[came]))
        while came < len(arrivals) and arrivals[came] <= now:
            waiting.append(came)
            came += 1
        number = waiting.pop()
        now += float(drawn[number])
        left[number] = now
    return left


def shared(slots: int) -> Departures:
    """Share ``slots`` processors equally among all requests."""

    def departures(arrivals: Seconds, drawn: Seconds) -> Seconds:
        left = np.empty(len(arrivals))
        inside: list[tuple[float, int]] = []  # attained service at which each leaves
        now = attained = 0.0
        came = 0
        while came < len(arrivals) or inside:
            speed = min(1.0, slots / len(inside)) if inside else 0.0
            ends = now + (inside[0][0] - attained) / speed if inside else math.inf
            comes = float(arrivals[came]) if came < len(arrivals) else math.inf
            if comes <= ends:
                attained += (comes - now) * speed
                now = comes
                heapq.heappush(inside, (attained + float(drawn[came]), came))
                came += 1
            else:
                now = ends
                attained, number = heapq.heappop(inside)
                left[number] = now
        return left

    return departures


def batches(most: int, longer: float = 0.1) -> Departures:
    """Serve batches of up to ``most`` requests; each after the first makes one ``longer``."""

    def departures(arrivals: Seconds, drawn: Seconds) -> Seconds:
        left = np.empty(len(arrivals))
        free, first = 0.0, 0
        while first < len(arrivals):
            begin = max(free, float(arrivals[first]))
            end = int(np.searchsorted(arrivals, begin, "right"))
            end = min(max(end, first + 1), first + most)
            free = begin + float(drawn[first]) * (1 + longer * (end - first - 1))
            left[first:end] = free
            first = end
        return left

    return departures


@dataclass(frozen=True)
class Server:
    """A server, and the queue that it is.

    Attributes:
        name: for reports.
        law: of its services.
        slots: requests that it works on at once.
        departures: how it serves.
        mean: of its services, seconds.
        overhead: seconds that each request spends outside of it.
    """

    name: str
    law: Law
    slots: int
    departures: Departures
    mean: float
    overhead: float = 0.0

    @property
    def saturation(self) -> float:
        """Return the rate at which it is always busy, 1/s."""
        return self.slots / self.mean

    def case(
        self,
        load: float,
        seconds: float,
        dice: np.random.Generator,
        *,
        buffer_size: int | None = None,
        workers: int = 64,
    ) -> CaseResult:
        """Return a measured case, which begins with an idle server as all do.

        Args:
            load: share of its saturation.
            seconds: of arrivals.
            dice: for arrivals and services.
            buffer_size: requests that may wait for one of the connections, if their number has a
                limit; only of a server that is first come, first served.
            workers: connections, no fewer than slots, if there is a limit.
        """
        rate = load * self.saturation
        expected = seconds * rate
        number = int(1.1 * expected + 6 * math.sqrt(expected)) + 9
        arrivals = np.cumsum(dice.exponential(1 / rate, number))
        drawn = services(self.law, number, dice) * self.mean
        kept = np.ones(number, dtype=np.bool_)
        if buffer_size is not None:
            kept = admitted(arrivals, drawn, self.slots, buffer_size + workers - self.slots)
        left = arrivals.copy()
        left[kept] = self.departures(arrivals[kept], drawn[kept]) + self.overhead
        sent = arrivals.copy()
        if buffer_size is not None:
            sent[kept] -= fifo_services(arrivals[kept], left[kept], workers)
            sent[kept] += left[kept] - arrivals[kept]
        chosen = arrivals < seconds
        rows = cases.records(
            arrivals[chosen], (left - arrivals)[chosen], seconds, ~kept[chosen],
            Outcome.DROPPED,
        )  # fmt: skip
        begun = np.where(kept[chosen], (sent[chosen] * 1e9).astype(np.int64), NEVER)
        rows = dataclasses.replace(rows, dequeued=begun, sent=begun)
        made = case(rows, rate=rate, buffer_size=buffer_size or 0)
        return dataclasses.replace(made, records=rows, workers=workers)


def admitted(arrivals: Seconds, drawn: Seconds, slots: int, waiting: int) -> npt.NDArray[np.bool_]:
    """Return which requests find a slot or one of the places to wait; shape ``(n,)``."""
    return ~np.isnan(fifo_waits(arrivals, drawn, slots, slots + waiting))


KNOWN: Final = (
    Server("M/M/1", "M/M/1", 1, fifo(1), 0.005),
    Server("M/D/1", "M/D/1", 1, fifo(1), 0.005),
    Server("M/M/4", "M/M/1", 4, fifo(4), 0.020),
    Server("M/G/1", "M/G/1", 1, fifo(1), 0.005),
)
"""Servers that the model describes."""

OTHERS: Final = (
    Server("processor sharing", "M/M/1", 1, shared(1), 0.005),
    Server("4 shared processors", "M/M/1", 4, shared(4), 0.020),
    Server("batches of up to 8", "M/M/1", 1, batches(8), 0.005),
    Server("10 % longer per busy slot", "M/M/1", 4, fifo(4, slower=0.1), 0.020),
    Server("last come, first served", "M/M/1", 1, last_come_first, 0.005),
)
"""Servers that the model does not describe."""
