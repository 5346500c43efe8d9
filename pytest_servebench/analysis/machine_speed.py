"""How fast the machine was in each of two runs, judged by the load generator's own work.

A virtual machine shares its processors with neighbours it cannot see: no steal is reported, and all
work takes half as long again for some minutes. Two runs of one server then differ by more than
either's interval, and a gate raises a false alarm.

The generator does the same work for the same requests and answers in every run. Its CPU time per
request therefore measures the machine, at the very time of the load: over 60 sessions against one
server its logarithm correlated with that of the median latency at 0.94. If answers are larger,
connections are not kept alive or requests fail, the work differs and says nothing about the
machine.

Of a search for a capacity, the loads that both runs made alike tell it: the ladder's.
"""

import math
from collections.abc import Sequence
from typing import Final

from pytest_servebench.analysis.capacities import CapacityCase
from pytest_servebench.runs.results import CaseResult, Run

_ALIKE: Final = 0.02
"""How much the answer bytes, connections and successes per request may differ."""

_ENOUGH: Final = 200
"""Requests in loads that two searches made alike, below which these do not tell the speed."""

_STEEPEST: Final = 4.0

_CODE: Final = ("pytest-servebench", "uvloop", "httptools")  # whose time it is


def same_generator(base: Run, new: Run) -> bool:
    """Return whether both runs used the same generator code, as far as is known."""
    return base.machine.get("python") == new.machine.get("python") and all(
        base.versions.get(name) == new.versions.get(name) for name in _CODE
    )


def slowdown(base: Sequence[CaseResult], new: Sequence[CaseResult]) -> float | None:
    """Return how many times as long the machine took in NEW for the generator's work.

    Args:
        base: repeats of one case, one at least.
        new: the same, under the same generator: see :func:`same_generator`.

    Returns:
        Above 1 if NEW had the slower machine; ``None`` if the work differed or was not measured.
    """
    if _work(base) != _work(new) or not _same_answers(base, new):
        return None
    costs = [_cost(side) for side in (base, new)]
    return costs[1] / costs[0] if min(costs) > 0 and all(map(math.isfinite, costs)) else None


def search_slowdown(base: Sequence[CapacityCase], new: Sequence[CapacityCase]) -> float | None:
    """Return how many times as long the machine took in NEW, by the loads of both searches.

    Returns:
        as :func:`slowdown`; ``None`` if fewer than 200 requests were sent alike.
    """
    sides = [_by_rate(side) for side in (base, new)]
    weights, logs = 0.0, 0.0
    for key in sides[0].keys() & sides[1].keys():
        loads = sides[0][key], sides[1][key]
        factor = slowdown(*loads)
        if factor is not None:
            weight = min(sum(one.summary.arrivals for one in side) for side in loads)
            weights, logs = weights + weight, logs + weight * math.log(factor)
    return math.exp(logs / weights) if weights >= _ENOUGH else None


def _by_rate(searches: Sequence[CapacityCase]) -> dict[tuple[float, float], list[CaseResult]]:
    found: dict[tuple[float, float], list[CaseResult]] = {}
    for search in searches:
        for load in search.probes:
            if load.measured:
                found.setdefault((load.rate, load.duration), []).append(load)
    return found


def capacity_loss(searches: Sequence[CapacityCase], slower: float) -> float:
    """Return how many times as low a capacity is on a machine that takes ``slower`` as long.

    More than the machine itself: a percentile of a queue near saturation goes with exp(-(1 - ρ) μ)
    (Kingman 1962, JRSS B 24:383), so that under the same bound ln r* changes 1/ρ* times as much as
    ln μ does. μ is the highest throughput of the loads. Below ρ* = 1/4 it is not queueing that
    decides; there and where μ or r* is unknown, the power is no more than 4, and no less than 1.
    """
    powers = []
    for one in searches:
        most = max((load.summary.throughput for load in one.probes if load.measured), default=0.0)
        if one.value is not None:
            powers.append(min(max(most / one.value, 1.0), _STEEPEST))
    return math.exp(math.log(slower) * max(powers, default=1.0))


def _work(cases: Sequence[CaseResult]) -> set[tuple[object, ...]]:
    return {
        (
            case.rate, case.duration, case.workers, case.generator.arrivals,
            case.generator.event_loop, case.generator.pacing, case.generator.priority,
        )
        for case in cases
    }  # fmt: skip


def _same_answers(base: Sequence[CaseResult], new: Sequence[CaseResult]) -> bool:
    sides = [_answers(base), _answers(new)]
    if None in sides:
        return False
    return all(
        abs(a - b) <= _ALIKE * max(1.0, a, b) for a, b in zip(*filter(None, sides), strict=True)
    )


def _answers(cases: Sequence[CaseResult]) -> tuple[float, ...] | None:
    """Return bytes, connections and successes per request; ``None`` if one is unknown."""
    received = [case.generator.received_bytes for case in cases]
    opened = [case.generator.reconnections for case in cases]
    arrivals = sum(case.summary.arrivals for case in cases)
    if None in received or None in opened or not arrivals:
        return None
    ok = sum(case.summary.outcomes.get("ok", 0) for case in cases)
    return tuple(sum(filter(None, counts)) / arrivals for counts in (received, opened, [ok]))


def _cost(cases: Sequence[CaseResult]) -> float:
    arrivals = sum(case.summary.arrivals for case in cases)
    return sum(case.generator.cpu_seconds for case in cases) / arrivals if arrivals else 0.0
