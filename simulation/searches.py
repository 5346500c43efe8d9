"""Searches for the capacity of simulated servers, whose capacity is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Final, NamedTuple

import numpy as np

from pytest_servebench.load.records import Records
from pytest_servebench.load.store import NEVER, Outcome
from pytest_servebench.measure.capacity_plan import Capacity, Plan, ProbeOutcome, SearchSettings
from pytest_servebench.measure.capacity_queue import with_queue
from pytest_servebench.measure.capacity_search import CapacitySearch
from pytest_servebench.objectives.limits import Limit, limits_of
from pytest_servebench.objectives.slo import parse_slo
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.sizing.expected import Settled
from pytest_servebench.stats.probed import OVERLOADED, probed
from simulation import queues, saved
from simulation.distributions import (
    Hyperexponential,
    Seconds,
    mh1_sojourn,
    mmck_probabilities,
    mmck_sojourn,
)
from simulation.machines import Machine, Slower, steady
from simulation.queues import fifo_waits, waits

Services = Callable[[int, np.random.Generator], Seconds]
"""Draws n service times, seconds."""

Arrivals = Callable[[float, float, np.random.Generator], Seconds]
"""Draws the times of arrivals of a rate in so many seconds."""

ALLOWED: Final = 0.01
"""The share of the requests that may take the bound or longer."""

OVERHEAD: Final = 0.4
"""Seconds that a probe costs beside its load and the drain."""


class Search(NamedTuple):
    """A search: what it found, how many requests it sent, and the median slowdown in it."""

    found: Capacity
    sent: int
    slowdown: float = 1.0


def poisson(rate: float, seconds: float, dice: np.random.Generator) -> Seconds:
    """Return the times of Poisson arrivals."""
    return np.sort(dice.uniform(0.0, seconds, int(dice.poisson(rate * seconds))))


def bursts(rate: float, seconds: float, dice: np.random.Generator) -> Seconds:
    """Return the times of arrivals whose rate is 1.4 or 0.6 times as high, 1 s each on average.

    A Markov-modulated Poisson process, which begins in either phase.
    """
    lengths = dice.exponential(_PHASE, 10 + int(3 * seconds / _PHASE))
    high = (np.arange(len(lengths)) + dice.integers(2)) % 2 == 0
    rates = rate * np.where(high, 1 + _BURST, 1 - _BURST)
    # At what time the expected number of arrivals is so large.
    ends, expected = (np.concatenate([[0.0], np.cumsum(one)]) for one in (lengths, lengths * rates))
    whole = float(np.interp(seconds, ends, expected))
    number = int(dice.poisson(whole))
    times: Seconds = np.interp(np.sort(dice.uniform(0.0, whole, number)), expected, ends)
    return times


_PHASE: Final = 1.0  # seconds
_BURST: Final = 0.4


@dataclass(frozen=True)
class Server:
    """A simulated server with a limit on its p99.

    Attributes:
        name: of its queue in Kendall's notation.
        services: the law of its service times.
        servers: c.
        places: K, those in service included; ``None`` for no limit.
        bound: of the latency, seconds: 1 % of the requests may take as long or longer.
        arrivals: of the load.
        most: requests a second that it can do at most.
    """

    name: str
    services: Services
    servers: int
    places: int | None
    bound: float
    arrivals: Arrivals = poisson
    most: float = 200.0

    def records(
        self, rate: float, seconds: float, dice: np.random.Generator, slower: Slower = steady
    ) -> Records:
        """Return what a load measures that begins on an idle server."""
        arrivals = self.arrivals(rate, seconds, dice)
        number = len(arrivals)
        took = self.services(number, dice) * slower(arrivals)
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

    def probe(
        self, plan: Plan, dice: np.random.Generator, slower: Slower = steady
    ) -> tuple[ProbeOutcome, Records]:
        """Return the outcome of a probe, and its records."""
        records = self.records(plan.rate, plan.seconds, dice, slower)
        beyond = records.latency() >= self.bound
        drain = max(0.0, (int(records.done.max(initial=0)) - records.window) / 1e9)
        seen = probed(records, beyond, plan.rate, plan.settle)
        return ProbeOutcome(plan.rest + OVERHEAD + plan.seconds + drain, (seen,)), records


_PLACES: Final = 36


def _lognormal(number: int, dice: np.random.Generator) -> Seconds:
    return 0.005 * queues.services("M/G/1", number, dice)


def _single(law: queues.Law, mean: float, bound: float) -> float:
    """Return the capacity of a queue with one server, from the exact p99 of its latency."""
    return _root(lambda load: queues.percentile(law, load, 0.99) * mean - bound, 0.01, 0.99) / mean


def _several(mean: float, servers: int, places: int, bound: float) -> float:
    """Return the capacity of an M/M/c/K queue: what is turned away is beyond the limit too."""

    def excess(rate: float) -> float:
        blocked = mmck_probabilities(rate, 1 / mean, servers, places)[places]
        in_time = mmck_sojourn(rate, 1 / mean, servers, places)(bound)
        return blocked + (1 - blocked) * (1 - in_time) - ALLOWED

    return _root(excess, 1.0, servers / mean)


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(26):  # to 1e-8 of the range
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return low


@lru_cache(maxsize=1)
def known() -> Mapping[Server, float]:
    """Return servers whose capacity is known exactly, with it."""
    exponential = Server("M/M/1", lambda n, dice: dice.exponential(0.005, n), 1, None, 0.05)
    constant = Server("M/D/1", lambda n, _: np.full(n, 0.005), 1, None, 0.05)
    several = Server(
        f"M/M/4/{_PLACES}", lambda n, dice: dice.exponential(0.02, n), 4, _PLACES, 0.15
    )
    lognormal = Server("M/G/1", _lognormal, 1, None, 0.1)
    return {one: capacity(one.name) for one in (exponential, constant, several, lognormal)}


@cache
def capacity(name: str, slowdown: float = 1.0) -> float:
    """Return the capacity of one of :func:`known`, if services take so many times as long."""
    mean = 0.005 * slowdown
    if name == "M/M/1":
        return 1 / mean - math.log(1 / ALLOWED) / 0.05
    if name == f"M/M/4/{_PLACES}":
        return _several(4 * mean, 4, _PLACES, 0.15)
    law: queues.Law = "M/D/1" if name == "M/D/1" else "M/G/1"
    return _single(law, mean, {"M/D/1": 0.05, "M/G/1": 0.1}[name])


_VARIABLE: Final = Hyperexponential.balanced(0.005, 4.0)


@lru_cache(maxsize=1)
def others() -> tuple[Server, ...]:
    """Return servers on which the estimator's constants were not chosen."""
    return (
        Server("M/M/16", lambda n, dice: dice.exponential(0.08, n), 16, None, 0.5),
        Server("M/H2/1, c² = 4", _mixed, 1, None, 0.15),
        Server("M/G/4, rare pauses", _pausing, 4, None, 0.15, most=200 / 1.095),
        Server(
            "MMPP/M/1", lambda n, dice: dice.exponential(0.005, n), 1, None, 0.1, arrivals=bursts
        ),
    )


@lru_cache(maxsize=1)
def unseen() -> Mapping[Server, float]:
    """Return :func:`others` with their capacity: exact, or of the last two from long simulation."""
    many, variable, pauses, uneven = others()
    return {
        many: _several(0.08, 16, 600, many.bound),
        variable: _root(
            lambda rate: 1 - mh1_sojourn(rate, _VARIABLE)(variable.bound) - ALLOWED, 1.0, 199.0
        ),
        pauses: _long_run(pauses, 60.0, 160.0),
        uneven: _long_run(uneven, 60.0, 160.0),
    }


def _pausing(number: int, dice: np.random.Generator) -> Seconds:
    """Return exponential services of 20 ms, of which one in 200 is twenty times as long."""
    longer = np.where(dice.random(number) < 0.005, 20.0, 1.0)
    return longer * dice.exponential(0.02, number)


def _mixed(number: int, dice: np.random.Generator) -> Seconds:
    first = dice.random(number) < _VARIABLE.share
    return dice.exponential(1.0, number) * np.where(first, _VARIABLE.first, _VARIABLE.other)


def _long_run(server: Server, low: float, high: float) -> float:
    """Return the capacity by simulation, at rates from the same dice."""
    for _ in range(9):
        rate = math.sqrt(low * high)
        records = server.records(rate, _LONG_RUN / rate, np.random.default_rng(1))
        over = float((records.latency() >= server.bound).mean()) > ALLOWED
        low, high = (low, rate) if over else (rate, high)
    return math.sqrt(low * high)


_LONG_RUN: Final = 1e6  # requests


def search(
    server: Server, settings: SearchSettings, seed: int, machine: Machine | None = None
) -> Search:
    """Return what a search finds, how many requests it sent, and the median slowdown in it.

    Args:
        server: to search.
        settings: of the search.
        seed: of the dice.
        machine: on which it runs; by default its speed is constant, and its work is not seen.
    """
    dice = np.random.default_rng(seed)
    looking, sent, now = CapacitySearch((ALLOWED,), settings), 0, 0.0
    slowdowns = []
    settled: dict[int, Settled] = {}
    number = 0
    while (plan := looking.next()) is not None:
        slower = steady if machine is None else machine.slower(now + plan.rest, seed)
        outcome, records = server.probe(plan, dice, slower)
        mean = float(slower(np.linspace(0.0, plan.seconds, 100)).mean())
        if machine is not None:
            over = outcome.limits[0].share >= OVERLOADED
            outcome = replace(outcome, work=machine.work(plan, mean, over, dice))
        if plan.stage == "estimate":
            slowdowns.append(mean)
            settled[number] = settled_probe(records, plan, server.places)
        number += 1
        sent += outcome.limits[0].arrivals
        now += outcome.elapsed
        looking.add(outcome)
    found = with_queue(looking, settled, [limit_of_p99(server.bound)])
    return Search(found, sent, float(np.median(slowdowns or [1.0])))


def settled_probe(records: Records, plan: Plan, places: int | None = None) -> Settled:
    """Return a probe for the queue that is fitted; without ``places``, nothing was dropped."""
    case = replace(_case(), records=records, rate=plan.rate, workers=places or 1)
    return Settled(case, plan.settle)


def limit_of_p99(bound: float) -> Limit:
    """Return the limit on p99, as a test's SLO gives it; the bound is in seconds."""
    (limit,) = limits_of(parse_slo(f"p99<{1e3 * bound:g}ms"))
    return limit


@cache
def _case() -> CaseResult:
    return replace(saved.case(), buffer_size=0)
