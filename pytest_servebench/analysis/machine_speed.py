"""How fast the machine was in each of two runs, judged by the load generator's own work.

A virtual machine shares its processors with neighbours it cannot see: no steal is reported, and all
work takes half as long again for some minutes. Two runs of one server then differ by more than
either's interval, and a gate raises a false alarm.

The generator does the same work for the same requests and answers in every run. Its CPU time per
request therefore measures the machine, at the very time of the load: over 60 sessions against one
server its logarithm correlated with that of the median latency at 0.94. If answers are larger,
connections are not kept alive or requests fail, the work differs and says nothing about the
machine.
"""

import math
from collections.abc import Sequence
from typing import Final

from pytest_servebench.runs.results import CaseResult, Run

_ALIKE: Final = 0.02
"""How much the answer bytes, connections and successes per request may differ."""

_CODE: Final = ("pytest-servebench", "uvloop", "httptools")  # whose time it is


def same_generator(base: Run, new: Run) -> bool:
    """Return whether both runs used the same generator code, as far as is known."""
    return base.machine.get("python") == new.machine.get("python") and all(
        base.versions.get(name) == new.versions.get(name) for name in _CODE
    )


def slowdown(base: Sequence[CaseResult], new: Sequence[CaseResult]) -> float:
    """Return how many times as long the machine took in NEW for the generator's work.

    Args:
        base: repeats of one case, one at least.
        new: the same, under the same generator: see :func:`same_generator`.

    Returns:
        Above 1 if NEW had the slower machine; 1 if the work differed or was not measured.
    """
    if _work(base) != _work(new) or not _same_answers(base, new):
        return 1.0
    costs = [_cost(side) for side in (base, new)]
    return costs[1] / costs[0] if min(costs) > 0 and all(map(math.isfinite, costs)) else 1.0


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
