"""Searches for the capacity of servers whose capacity is known, simulated and real."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from typing import Any, Final

from benchmarks import plotting
from benchmarks.parts import Bar, Data
from benchmarks.rounds import say
from benchmarks.settings import Settings
from pytest_servebench.load.validity import invalid_reason
from pytest_servebench.measure.capacity_search import (
    Capacity,
    CapacitySearch,
    ProbeOutcome,
    SearchSettings,
)
from pytest_servebench.stats.capacity import probed
from simulation.known import Known, serve
from simulation.searches import ALLOWED, floor, known, search

NAME = "search"
TITLE = "Searches for the capacity: how often the answer holds the truth"
SEARCHES: Final = 200
BUDGET: Final = 180.0
SATURATED: Final = 200.0
"""Requests a second that each of the simulated servers can do."""
MOST_WIDE: Final = 2.5

REAL: Final = 20
AT_ONCE: Final = 10
REAL_BUDGET: Final = 60.0
REAL_SERVICE: Final = 0.010
REAL_BOUND: Final = 0.150
REAL_CAPACITY: Final = 1 / REAL_SERVICE - math.log(1 / ALLOWED) / REAL_BOUND
MAX_LAG: Final = 0.015


def run(settings: Settings) -> Data:
    """Search many times, on simulated servers and on a real process."""
    number = 10 if settings.quick else SEARCHES
    with ProcessPoolExecutor(len(known())) as pool:
        searched = pool.map(_cell, range(len(known())), repeat(number))
        real = _real(4 if settings.quick else REAL)
        cells = [*searched]
    for cell in cells:
        say(NAME, {key: value for key, value in cell.items() if key not in ("ratios", "widths")})
    return {"searches": number, "cells": cells, "real": real}


def _cell(place: int, number: int) -> dict[str, Any]:
    server, capacity = [*known().items()][place]
    settings = SearchSettings(budget=BUDGET)
    load = capacity / SATURATED
    found: list[tuple[Capacity, int]] = [
        search(server, settings, seed) for seed in range(1, number + 1)
    ]
    return _counted(server.name, capacity, load, found, BUDGET)


def _counted(
    name: str, truth: float, load: float, found: Sequence[tuple[Capacity, int]], budget: float
) -> dict[str, Any]:
    closed = [(one, sent) for one, sent in found if one.low is not None and one.high is not None]
    return {
        "name": name,
        "capacity": truth,
        "load": load,
        "searches": len(found),
        "closed": len(closed),
        "below": sum(float(one.high or 0) < truth for one, _ in closed),
        "above": sum(float(one.low or 0) > truth for one, _ in closed),
        "widths": [one.width for one, _ in closed],
        "ratios": [float(one.width or 0) / floor(load, sent) for one, sent in closed],
        "states": sorted({one.state for one, _ in found}),
        "longest": max((one.seconds for one, _ in found), default=0.0),
        "budget": budget,
    }


# -- through the engine ---------------------------------------------------------------------------


def _real(number: int) -> dict[str, Any]:
    found: list[tuple[Capacity, int]] = []
    with tempfile.TemporaryDirectory() as directory:
        for first in range(0, number, AT_ONCE):
            seeds = range(first, min(first + AT_ONCE, number))
            with ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as pool:
                # All servers start before any thread does, as processes are forked here.
                law = f"exponential:{REAL_SERVICE}"
                servers = [
                    stack.enter_context(serve(Path(directory), 1, law, 5000 + seed))
                    for seed in seeds
                ]
                found += pool.map(_search_real, servers, seeds)
            say(NAME, "real", len(found), found[-1][0])
    return _counted(
        "M/M/1, a process", REAL_CAPACITY, REAL_CAPACITY * REAL_SERVICE, found, REAL_BUDGET
    )


def _search_real(server: Known, seed: int) -> tuple[Capacity, int]:
    looking, sent = CapacitySearch((ALLOWED,), SearchSettings(budget=REAL_BUDGET)), 0
    while (plan := looking.next()) is not None:
        start = time.monotonic()
        time.sleep(plan.rest)
        load = server.load(
            rate=plan.rate, duration=plan.seconds, workers=64, buffer_size=5000,
            seed=1000 * seed + sent, timeout=30.0, drain=20.0,
        )  # fmt: skip
        sent += len(load.records)
        reason = load.failure or invalid_reason(load.records, load.generator, load.pauses, MAX_LAG)
        beyond = load.records.latency() >= REAL_BOUND
        seen = probed(load.records, beyond, plan.rate, plan.settle)
        elapsed = time.monotonic() - start
        looking.add(
            ProbeOutcome(elapsed, state="invalid") if reason else ProbeOutcome(elapsed, (seen,))
        )
    return looking.capacity(), sent


# -- report ---------------------------------------------------------------------------------------


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: peers do not search for it, or without an interval."""
    del data
    return {}


def _coverage(cell: Mapping[str, Any]) -> float:
    closed = int(cell["closed"])
    return 1 - (int(cell["below"]) + int(cell["above"])) / closed if closed else 0.0


def bars(data: Data) -> Sequence[Bar]:
    """Hold coverage, widths and budgets against their bars."""
    result = []
    for cell in (*data["cells"], data["real"]):
        least = 0.95 - 3 * math.sqrt(0.95 * 0.05 / max(1, int(cell["closed"])))
        enough = int(cell["closed"]) >= int(cell["searches"]) / 2
        result.append(Bar(
            f"{cell['name']}: intervals that hold the capacity, {cell['closed']} closed of "
            f"{cell['searches']} searches of {cell['budget']:g} s",
            f"{100 * _coverage(cell):.1f} %", f"≥ {100 * least:.1f} %",
            _coverage(cell) >= least if enough else None,
        ))  # fmt: skip
        if cell in data["cells"]:
            ratio = statistics.median(cell["ratios"]) if cell["ratios"] else math.inf
            result.append(Bar(
                f"{cell['name']}: median width of the interval over the floor",
                f"{ratio:.2f}", f"≤ {MOST_WIDE:g}", ratio <= MOST_WIDE,
            ))  # fmt: skip
    over = max(float(cell["longest"]) - float(cell["budget"]) for cell in data["cells"])
    result.append(Bar(
        "simulated searches: seconds beyond the budget, the longest",
        f"{max(0.0, over):.1f} s", "one probe: ≤ 26 s", over <= 26,
    ))  # fmt: skip
    return result


def section(data: Data) -> str:
    """Return the table."""
    rows = [
        [cell["name"], f"{cell['capacity']:.1f}/s", f"{cell['load']:.2f}", str(cell["searches"]),
         f"{100 * _coverage(cell):.1f} ({_percent(cell, 'above')}, {_percent(cell, 'below')})",
         f"{100 * (1 - cell['closed'] / cell['searches']):.1f}",
         f"{100 * statistics.median(cell['widths'] or [0]):.0f} %",
         f"{statistics.median(cell['ratios'] or [0]):.2f}", f"{cell['longest']:.0f} s"]
        for cell in (*data["cells"], data["real"])
    ]  # fmt: skip
    return "\n\n".join([
        f"Each search has {BUDGET:g} s, everything included, and the default options; the limit is "
        "on p99. The true capacities are exact, from the queues' distributions. *Coverage* is the "
        "share of the intervals that hold it; in brackets the shares that lie above and below it. "
        "*Open* searches gave no interval. The *floor* is 2 · 4.1 (1 + 1/ρ\\*)/√N, the least width "
        "that counting the N requests beyond the bound of an M/M/1 queue can reach.",
        plotting.table(
            ["queue", "capacity", "load there", "searches", "coverage % (above, below)", "open %",
             "median width", "over the floor", "longest"],
            rows,
        ),
        f"The last row is a real process, searched through the engine in {REAL_BUDGET:g} s each, "
        f"{AT_ONCE} at once: one server with exponential services of {1e3 * REAL_SERVICE:g} ms.",
    ])  # fmt: skip


def _percent(cell: Mapping[str, Any], side: str) -> str:
    return f"{100 * cell[side] / max(1, cell['closed']):.1f}"
