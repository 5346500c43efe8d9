"""Searches for the capacity of simulated servers whose capacity is known."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product, repeat
from typing import Any, Final

from benchmarks import plotting
from benchmarks.parts import Bar, Data
from benchmarks.rounds import say
from benchmarks.settings import Settings
from pytest_servebench.measure.capacity_plan import SearchSettings
from simulation.floors import Exceedances, exceedances, mm1_floor
from simulation.machines import Machine
from simulation.searches import (
    Search,
    Server,
    capacity,
    known,
    others,
    search,
    unseen,
)

NAME = "search"
TITLE = "Searches for the capacity: how often the answer holds the truth"
SEARCHES: Final = 200
UNSEEN: Final = 60
FIRST: Final = 7001
"""The first seed: far from those with which constants were chosen."""
BUDGET: Final = 180.0
MOST_WIDE: Final = 2.5
_PROCESSES: Final = 3
ON_MACHINES: Final = ("M/M/1", "M/D/1", "M/M/4/36")
"""Queues that are searched on machines whose speed varies, too."""
MACHINES: Final = tuple(
    Machine(swing, seconds, steps, seen=seen)
    for swing, seconds, steps in (
        (0.0, 40.0, True),
        (0.1, 40.0, True),
        (0.2, 40.0, True),
        (0.15, 100.0, False),
    )
    for seen in (True, False)
)


def run(settings: Settings) -> Data:
    """Search many times."""
    servers = [*((*one, SEARCHES) for one in known().items()),
               *((*one, UNSEEN) for one in unseen().items())]  # fmt: skip
    cells = []
    with ProcessPoolExecutor(_PROCESSES) as pool:
        floors = [*pool.map(
            _exceedances, [one.name for one, *_ in servers], [one[1] for one in servers]
        )]  # fmt: skip
        for (server, truth, number), late in zip(servers, floors, strict=True):
            seeds = range(FIRST, FIRST + (10 if settings.quick else number))
            found = [*pool.map(_search, repeat(server.name), seeds)]
            cell = counted(server.name, truth, truth / server.most, late, found, BUDGET)
            cells.append(cell | {"unseen": server not in known()})
            say(NAME, {key: value for key, value in cell.items() if not isinstance(value, list)})
        late_of = dict(zip((one.name for one, *_ in servers), floors, strict=True))
        varied = []
        for (server, truth), machine in product(known().items(), MACHINES):
            if server.name not in ON_MACHINES:
                continue
            seeds = range(FIRST, FIRST + (10 if settings.quick else UNSEEN))
            found = [*pool.map(_search, repeat(server.name), seeds, repeat(machine))]
            late, load = late_of[server.name], truth / server.most
            cell = counted(server.name, truth, load, late, found, BUDGET)
            varied.append(cell | {"machine": dataclasses.asdict(machine)})
            say(NAME, {key: value for key, value in cell.items() if not isinstance(value, list)})
    return {"first": FIRST, "cells": cells, "varied": varied}


def _search(name: str, seed: int, machine: Machine | None = None) -> Search:
    return search(_server(name), SearchSettings(budget=BUDGET), seed, machine)


def _exceedances(name: str, truth: float) -> Exceedances:
    return exceedances(_server(name), truth)


def _server(name: str) -> Server:
    return next(one for one in (*known(), *others()) if one.name == name)


def counted(
    name: str, truth: float, load: float, late: Exceedances,
    found: Sequence[Search], budget: float,
) -> dict[str, Any]:  # fmt: skip
    """Return the counts of what searches found.

    Args:
        name: of the queue.
        truth: its capacity.
        load: there.
        late: how requests beyond the bound come there.
        found: by each search. Where its machine was slower, the truth is the capacity there.
        budget: of each, seconds.
    """
    truths = [truth if one.slowdown == 1 else capacity(name, one.slowdown) for one in found]
    every = [(one.found, one.sent, real) for one, real in zip(found, truths, strict=True)]
    closed = [one for one in every if one[0].state == "found"]
    doubtful = [(one, real) for one, _, real in every if one.state != "found"]
    return {
        "name": name,
        "capacity": truth,
        "load": load,
        "searches": len(found),
        "closed": len(closed),
        "below": sum(float(one.high or 0) < real for one, _, real in closed),
        "above": sum(float(one.low or 0) > real for one, _, real in closed),
        "widths": [one.width for one, *_ in closed],
        "ratios": [float(one.width or 0) / mm1_floor(load, sent) for one, sent, _ in closed],
        "own_ratios": [float(one.width or 0) / late.floor(sent) for one, sent, _ in closed],
        "dispersion": late.dispersion,
        "elasticity": late.elasticity,
        "lows": [one.low / real for one, real in doubtful if one.low is not None],
        "highs": [one.high / real for one, real in doubtful if one.high is not None],
        "longest": max((one.seconds for one, *_ in every), default=0.0),
        "budget": budget,
    }


# -- report ---------------------------------------------------------------------------------------


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: peers do not search for it, or without an interval."""
    del data
    return {}


def _coverage(cell: Mapping[str, Any]) -> float:
    closed = int(cell["closed"])
    return 1 - (int(cell["below"]) + int(cell["above"])) / closed if closed else 0.0


def coverage_bar(cell: Mapping[str, Any]) -> Bar:
    """Return whether enough intervals contain the capacity, unless few were closed."""
    least = 0.95 - 3 * math.sqrt(0.95 * 0.05 / max(1, int(cell["closed"])))
    enough = int(cell["closed"]) >= int(cell["searches"]) / 3
    return Bar(
        f"{_on_machine(cell)}: intervals that hold the capacity, {cell['closed']} closed of "
        f"{cell['searches']} searches of {cell['budget']:g} s",
        f"{100 * _coverage(cell):.1f} %", f"≥ {100 * least:.1f} %",
        _coverage(cell) >= least if enough else None,
    )  # fmt: skip


def bars(data: Data) -> Sequence[Bar]:
    """Compare coverage, widths, the bounds of open results and budgets with their targets."""
    result = []
    for cell in data["cells"]:
        result.append(coverage_bar(cell))
        if not cell["unseen"]:
            ratio = statistics.median(cell["ratios"]) if cell["ratios"] else math.inf
            result.append(Bar(
                f"{cell['name']}: median width of the interval over M/M/1's floor",
                f"{ratio:.2f}", f"≤ {MOST_WIDE:g}", ratio <= MOST_WIDE,
            ))  # fmt: skip
    result += _bars_of_speed(data.get("varied", ()))
    for end, wrong in (("lows", lambda one: one > 1), ("highs", lambda one: one < 1)):
        ends = [one for cell in _seen(data) for one in cell[end]]
        held = 1 - sum(map(wrong, ends)) / max(1, len(ends))
        least = 0.975 - 3 * math.sqrt(0.975 * 0.025 / max(1, len(ends)))
        result.append(Bar(
            f"open answers: {'lower' if end == 'lows' else 'upper'} ends that are right, of "
            f"{len(ends)}",
            f"{100 * held:.1f} %", f"≥ {100 * least:.1f} %", held >= least,
        ))  # fmt: skip
    over = max(float(cell["longest"]) - float(cell["budget"]) for cell in _seen(data))
    result.append(Bar(
        "simulated searches: seconds beyond the budget, the longest",
        f"{max(0.0, over):.1f} s", "one probe: ≤ 26 s", over <= 26,
    ))  # fmt: skip
    return result


def _seen(data: Data) -> list[Mapping[str, Any]]:
    """Return all cells except those of machines whose speed cannot be known."""
    return [
        *data["cells"],
        *(cell for cell in data.get("varied", ()) if cell["machine"]["seen"]),
    ]  # fmt: skip


def _on_machine(cell: Mapping[str, Any]) -> str:
    if (known := cell.get("machine")) is None:
        return str(cell["name"])
    machine = Machine(**known)
    how = "in steps" if machine.steps else "slowly"
    seen = "seen" if machine.seen else "not seen"
    return f"{cell['name']}, ±{100 * machine.swing:.0f} % {how}, {seen}"


def _bars_of_speed(cells: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """Compare searches on machines whose speed can be seen with their targets.

    Intervals must contain the capacity at the median speed; if the speed varies, more searches must
    find it than if the speed could not be seen.
    """
    result = [coverage_bar(cell) for cell in cells if cell["machine"]["seen"]]
    right, searches = ({True: 0, False: 0} for _ in range(2))
    for cell in cells:
        if cell["machine"]["swing"]:
            held = int(cell["closed"]) - int(cell["below"]) - int(cell["above"])
            right[cell["machine"]["seen"]] += held
            searches[cell["machine"]["seen"]] += int(cell["searches"])
    if cells:
        result.append(Bar(
            "machines whose speed varies: intervals that hold the capacity, of "
            f"{searches[True]} searches",
            str(right[True]), f"> {right[False]}, if it is not seen", right[True] > right[False],
        ))  # fmt: skip
    return result


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of searches."""
    rows = [
        [_on_machine(cell), f"{cell['capacity']:.1f}/s", f"{cell['load']:.2f}",
         f"{cell['dispersion']:.0f}, {cell['elasticity']:.1f}", str(cell["searches"]),
         f"{100 * _coverage(cell):.1f} ({_percent(cell, 'above')}, {_percent(cell, 'below')})"
         if cell["closed"] else "–",
         f"{100 * (1 - cell['closed'] / cell['searches']):.1f}",
         f"{100 * statistics.median(cell['widths']):.0f} %" if cell["closed"] else "–",
         *(f"{statistics.median(cell[ratios]):.2f}" if cell["closed"] else "–"
           for ratios in ("ratios", "own_ratios")),
         _ends(cell["lows"], 1), _ends(cell["highs"], -1), f"{cell['longest']:.0f} s"]
        for cell in cells
    ]  # fmt: skip
    headings = ["queue", "capacity", "load there", "φ, e there", "searches",
                "coverage % (above, below)", "open %", "median width",
                "over M/M/1's floor", "over its own", "open: lower end", "open: upper end",
                "longest"]  # fmt: skip
    return plotting.table(headings, rows)


def _ends(ends: Sequence[float], side: int) -> str:
    wrong = sum(side * (one - 1) > 0 for one in ends)
    return f"{statistics.median(ends):.2f} ({wrong} of {len(ends)})" if ends else "–"


def section(data: Data) -> str:
    """Return the tables."""
    return "\n\n".join([
        f"Each search has {BUDGET:g} s, everything included, and the default options; the limit is "
        "on p99. *Coverage* is the "
        "share of the intervals that hold the true capacity; in brackets the shares that lie above "
        "and below it. *Open* searches gave no interval, but the ends that they could: their "
        "median over the true capacity, in brackets how many were wrong. *M/M/1's floor* is "
        "2 · 4.1 (1 + 1/ρ\\*)/√N (exactly, 4.24), the least width "
        "that counting the N requests beyond the bound of an M/M/1 queue can reach. A queue's "
        "*own* is 2 · 1.96 √(99 φ/N)/e, from the index of dispersion φ of the requests beyond the "
        "bound at its capacity and the elasticity e of their share in the rate there, both "
        "simulated with four million requests. It is no law: above the capacity a request tells "
        "more, and so does how long the server worked on each, which the interval also rests on if "
        "the probes fit a queue.",
        "The estimator's constants were chosen on the first table's queues, with the seeds 1 to "
        "200 and 1000 to 1060; when an answer is left open, and its ends, on all of these queues "
        "with the seeds 3001 to 3230 and 11001 to 11200; how loosely a saturated rate bounds the "
        "curve, and how few events close it, with 20001 to 20150 and 50001 to 60200; what is made "
        "of a machine's speed, with 30001 to 40100 and 80001 to 80060; how far a fitted queue "
        f"counts, with 61001 to 61100. Here the seeds begin with {data['first']}. The capacities "
        "are exact, from the queues' distributions.",
        table([cell for cell in data["cells"] if not cell["unseen"]]),
        "Other queues: 16 servers at a load at which probes do not settle; hyperexponential "
        "services; four servers on which one service in 200 is twenty times as long; arrivals "
        "whose rate is 1.4 or 0.6 times as high, for 1 s each on average. The capacities of the "
        "last two are from simulations of a million requests for each rate.",
        table([cell for cell in data["cells"] if cell["unseen"]]),
        "On machines that are up to so much faster and slower: in steps of 40 s, or slowly, in "
        "waves of 200 s. What a request of each probe costs generator and server is seen, with an "
        "error of 3 % each; or it is not, so that a search knows nothing of the machine. The "
        "capacity that the intervals are to hold is that at the median speed of the probes around "
        "the estimate.",
        table(data.get("varied", ())),
    ])  # fmt: skip


def _percent(cell: Mapping[str, Any], side: str) -> str:
    return f"{100 * cell[side] / max(1, cell['closed']):.1f}"
