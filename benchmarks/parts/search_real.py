"""Searches for the capacity of a real process whose queue is known, through the engine."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.parts import Bar, Data, search
from benchmarks.rounds import say
from benchmarks.settings import Settings
from pytest_servebench.load.validity import invalid_reason
from pytest_servebench.measure.capacity_plan import ProbeOutcome, SearchSettings
from pytest_servebench.measure.capacity_queue import with_queue
from pytest_servebench.measure.capacity_search import CapacitySearch
from pytest_servebench.sizing.expected import Settled
from pytest_servebench.stats.probed import probed
from simulation.floors import exceedances
from simulation.known import Known, serve
from simulation.searches import ALLOWED, Search, Server, limit_of_p99, settled_probe

NAME = "search-real"
TITLE = "Searches for the capacity of a real process"
SEARCHES: Final = 20
AT_ONCE: Final = 4
BUDGET: Final = 180.0
SERVICE: Final = 0.010
BOUND: Final = 0.150
CAPACITY: Final = 1 / SERVICE - math.log(1 / ALLOWED) / BOUND
MAX_LAG: Final = 0.015


def run(settings: Settings) -> Data:
    """Search some times, a few at once, each on a server of its own."""
    number = AT_ONCE if settings.quick else SEARCHES
    budget = 60.0 if settings.quick else BUDGET
    found: list[Search] = []
    with tempfile.TemporaryDirectory() as directory:
        for first in range(0, number, AT_ONCE):
            seeds = range(first, min(first + AT_ONCE, number))
            with ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as pool:
                # All servers start before any thread does, as processes are forked here.
                law = f"exponential:{SERVICE}"
                servers = [
                    stack.enter_context(serve(Path(directory), 1, law, 5000 + seed))
                    for seed in seeds
                ]
                found += pool.map(_search, servers, seeds, [budget] * len(servers))
            say(NAME, len(found), found[-1].found)
    same = Server(
        "M/M/1, a process", lambda n, dice: dice.exponential(SERVICE, n), 1, None, BOUND,
        most=1 / SERVICE,
    )  # fmt: skip
    cell = search.counted(
        same.name, CAPACITY, CAPACITY * SERVICE, exceedances(same, CAPACITY), found, budget
    )
    states = [one.found.state for one in found]
    return cell | {"states": {one: states.count(one) for one in sorted(set(states))}}


def _search(server: Known, seed: int, budget: float) -> Search:
    looking, sent = CapacitySearch((ALLOWED,), SearchSettings(budget=budget)), 0
    number, settled = 0, dict[int, Settled]()
    while (plan := looking.next()) is not None:
        start = time.monotonic()
        time.sleep(plan.rest)
        load = server.load(
            rate=plan.rate, duration=plan.seconds, workers=64, buffer_size=5000,
            seed=1000 * seed + sent, timeout=30.0, drain=20.0,
        )  # fmt: skip
        sent += len(load.records)
        reason = load.failure or invalid_reason(load.records, load.generator, load.pauses, MAX_LAG)
        beyond = load.records.latency() >= BOUND
        seen = probed(load.records, beyond, plan.rate, plan.settle)
        elapsed = time.monotonic() - start
        if plan.stage == "estimate":
            settled[number] = settled_probe(load.records, plan)
        number += 1
        looking.add(
            ProbeOutcome(elapsed, state="invalid") if reason else ProbeOutcome(elapsed, (seen,))
        )
    return Search(with_queue(looking, settled, [limit_of_p99(BOUND)]), sent)


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: peers do not search for it, or without an interval."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Compare the coverage with its target."""
    return [search.coverage_bar(data)]


def section(data: Data) -> str:
    """Return the table, and how the searches ended."""
    ends = ", ".join(f"{state} {number}" for state, number in data["states"].items())
    return "\n\n".join([
        f"One server with exponential services of {1e3 * SERVICE:g} ms, searched through the "
        f"engine in {data['budget']:g} s each, {AT_ONCE} searches at once, each with a server of "
        "its own, beside other work on the machine. Loads that the generator failed to make do not "
        "count. "
        f"How the searches ended: {ends}.",
        search.table([data]),
    ])  # fmt: skip
