"""How fast the machine was in each of two runs, judged by the load generator's CPU time.

A virtual machine shares its processors with neighbours it cannot see: no steal is reported, and all
work takes half as long again for some minutes. Two runs of one server then differ by more than
either's interval, and a gate raises a false alarm.

The generator does the same work for the same requests and answers in every run. Its CPU time per
request therefore measures the machine, at the very time of the load: over 60 sessions against one
server its logarithm correlated with that of the median latency at 0.94. If answers are larger,
connections are not kept alive or requests fail, the work differs and says nothing about the
machine.

Two searches for a capacity send at different rates, for which
:mod:`pytest_servebench.stats.machine_speeds` allows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.analysis.capacities import CapacityCase, Searches
from pytest_servebench.analysis.pairs import Pair
from pytest_servebench.analysis.request_shifts import Repeats
from pytest_servebench.runs.results import CaseResult, Run
from pytest_servebench.stats.episodes import nearest_rank
from pytest_servebench.stats.machine_paces import ALIKE
from pytest_servebench.stats.machine_speeds import Loads, Speeds, speeds
from pytest_servebench.stats.waiting import time_on_a_slower_machine, waiting

_STEEPEST: Final = 4.0
_MOST_SAVED: Final = 0.5
"""The largest power of the rate with which a request's cost may fall: a cost that falls faster is
other work, such as polling, which does not delay requests. For real servers it was 0.15 to 0.4."""

_CODE: Final = ("pytest-servebench", "uvloop", "httptools")  # whose time it is


@dataclass(frozen=True)
class Machine:
    """How the machine's speed changed.

    Attributes:
        slower: how many times as long it took in NEW for the same work.
        made: the effect that this may have had on a case's times, or on a capacity, new / base.
    """

    slower: float
    made: float

    def taken_off(self, change: float) -> float:
        """Return a change, new / base, without the effect that the machine's speed may have had."""
        return change / self.made if self.made else math.inf

    def for_percentile(self, permille: int, faster: npt.NDArray[np.float64]) -> "Machine":
        """Return the same for one percentile, by the times of the faster side.

        A percentile may jump where times have a gap, such as between requests that found an idle
        server and those that waited: on a machine that takes s times as long, s times as many wait.
        With the tail q, it was then at most s times as long as that of the tail q / s before.

        Args:
            permille: the percentile, in thousandths.
            faster: times, seconds, infinite for failed requests; shape ``(n,)``.
        """
        slower, n = max(self.slower, 1 / self.slower), len(faster)
        if not n or slower == 1:
            return self
        ordered, tail = np.sort(faster), n * (1000 - permille) / 1000
        usual = float(ordered[nearest_rank(permille, n) - 1])
        later = float(ordered[min(math.ceil(n - tail / slower), n) - 1])
        if usual <= 0 or math.isinf(later):
            return self
        jump = slower * later / usual
        made = max(self.made, jump) if self.slower > 1 else min(self.made, 1 / jump)
        return Machine(self.slower, made)


STEADY: Final = Machine(1.0, 1.0)


def same_generator(base: Run, new: Run) -> bool:
    """Return whether both runs used the same generator code, as far as is known."""
    return base.machine.get("python") == new.machine.get("python") and all(
        base.versions.get(name) == new.versions.get(name) for name in _CODE
    )


def machine_of_loads(pair: Pair, records: tuple[Repeats, Repeats] = ((), ())) -> Machine | None:
    """Return how the machine's speed changed, by the generator's work in the same loads.

    If requests wait for each other, their times change by more than the machine's speed: see
    :mod:`pytest_servebench.stats.waiting`.

    Args:
        pair: repeats of one case, under the same generator: see :func:`same_generator`.
        records: of both sides; without them, requests are assumed not to wait.

    Returns:
        ``None`` if the work differed or was not measured.
    """
    if _work(pair.base) != _work(pair.new) or not _same_answers(pair.base, pair.new):
        return None
    costs = [_cost(side) for side in (pair.base, pair.new)]
    if min(costs) <= 0 or not all(map(math.isfinite, costs)):
        return None
    slower = costs[1] / costs[0]
    if slower == 1:
        return STEADY
    faster = records[0] if slower > 1 else records[1]
    seen = [waiting(rows.scheduled / 1e9, rows.latency()) for rows in faster]
    if not seen:
        return Machine(slower, slower)
    found = min(one.found for one in seen)
    most = max(case.buffer_size + case.workers for case in pair.every)
    room = max(most / found, 1.0) if found else math.inf
    share = fmean(one.share for one in seen)
    return Machine(slower, time_on_a_slower_machine(share, slower, room))


def machine_of_searches(base: Searches, new: Searches) -> Machine | None:
    """Return how the machine's speed changed between searches, and the effect on their capacities.

    A capacity changes by more than the machine's speed. Near saturation, a percentile of a queue
    depends on (1 - ρ) μ alone (Kingman 1962, JRSS B 24:383), so that the same bound is reached
    where μ - r* is the same: d ln r* = d ln μ / ρ. If a request costs less at a higher rate, as r
    to the power of -γ, the lower rate of a slower machine makes requests costlier still::

        d ln μ = -d ln s + γ d ln r*,    so that    d ln r* = -d ln s / (ρ - γ)

    At the highest throughput μ' of the loads, requests are as cheap as they get, so that ρ =
    (r*/μ')^(1 - γ). The power is limited to 1 to 4, for cases in which queueing does not decide, or
    μ' or r* is unknown.

    Returns:
        ``None`` if too few of the loads were the same work.
    """
    found = speeds(_loads(base), _loads(new))
    if found is None:
        return None
    power = max(_power(one, found) for one in (*base, *new))
    return Machine(found.slower, math.pow(found.slower, -power))


def _loads(searches: Searches) -> Loads:
    return Loads(
        [work for one in searches for work in one.around],
        [work for one in searches for work in one.others],
    )


def _power(search: CapacityCase, found: Speeds) -> float:
    if not search.value or not search.highest:
        return 1.0
    saving = min(found.saving, _MOST_SAVED)
    utilization: float = min(search.value / search.highest, 1.0) ** (1 - saving)
    return max(1.0, 1 / max(utilization - saving, 1 / _STEEPEST))


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
        abs(a - b) <= ALIKE * max(1.0, a, b) for a, b in zip(*filter(None, sides), strict=True)
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
