"""How fast the machine was in each of two runs, judged by the load generator's CPU time.

A virtual machine shares its processors with neighbours it cannot see: no steal is reported, and all
work takes half as long again for some minutes. Two runs of one server then differ by more than
either's interval, and a gate raises a false alarm.

The generator does the same work for the same requests and answers in every run. Its CPU time per
request therefore measures the machine, at the very time of the load: over 60 sessions against one
server its logarithm correlated with that of the median latency at 0.94. If answers are larger,
connections are not kept alive or requests fail, the work differs and says nothing about the
machine. An arrival that is dropped is hardly any work, so drops do not count.

Two searches for a capacity send at different rates, for which
:mod:`pytest_servebench.stats.machine_speeds` allows.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Final

from pytest_servebench.analysis.capacities import CapacityCase, Searches
from pytest_servebench.analysis.machine_effects import STEADY, Machine
from pytest_servebench.analysis.pairs import Pair
from pytest_servebench.analysis.request_shifts import Repeats
from pytest_servebench.runs.costs import work_of
from pytest_servebench.runs.results import CaseResult, Run
from pytest_servebench.stats.machine_paces import ALIKE, Work
from pytest_servebench.stats.machine_speeds import Loads, Speeds, speeds
from pytest_servebench.stats.student import Z
from pytest_servebench.stats.waiting import (
    Waiting,
    overflow,
    time_on_a_slower_machine,
    waiting,
)

_STEEPEST: Final = 4.0
_MOST_SAVED: Final = 0.5
"""The largest power of the rate with which a request's cost may fall: a cost that falls faster is
other work, such as polling, which does not delay requests. For real servers it was 0.15 to 0.4."""

_CODE: Final = ("pytest-servebench", "uvloop", "httptools")  # whose time it is


def same_generator(base: Run, new: Run) -> bool:
    """Return whether both runs used the same generator code, as far as is known."""
    return base.machine.get("python") == new.machine.get("python") and all(
        base.versions.get(name) == new.versions.get(name) for name in _CODE
    )


def machine_of_loads(pair: Pair, records: tuple[Repeats, Repeats] = ((), ())) -> Machine | None:
    """Return how the machine's speed changed, by the generator's work in the same loads.

    If requests wait for each other, their times change by more than the machine's speed: see
    :mod:`pytest_servebench.stats.waiting`. If the server may have been overloaded on the slower
    machine, it answered fewer, but at least 1 / s of those that it answered on a machine s times as
    fast: that is as if they had come s times as close to each other, and a server does not answer
    fewer requests a second if more are waiting.

    Args:
        pair: repeats of one case, under the same generator: see :func:`same_generator`.
        records: of both sides; without them, requests are assumed not to wait.

    Returns:
        ``None`` if the work differed or was not measured.
    """
    if _load(pair.base) != _load(pair.new):
        return None
    base, new = _work(pair.base), _work(pair.new)
    if base is None or new is None or not _alike(base, new):
        return None
    slower = new.generator / base.generator
    if slower == 1:
        return STEADY
    faster = records[0] if slower > 1 else records[1]
    machine = Machine(slower, slower)
    return _waited(machine, pair, [waiting(rows) for rows in faster]) if faster else machine


def _waited(machine: Machine, pair: Pair, seen: Sequence[Waiting]) -> Machine:
    """Return the effect on the times of a case whose requests waited so on the faster machine."""
    slower = max(machine.slower, 1 / machine.slower)
    cases, others = (pair.base, pair.new) if machine.slower > 1 else (pair.new, pair.base)
    most = max(case.buffer_size + case.workers for case in pair.every)
    arrivals = fmean(case.summary.arrivals for case in cases)
    dropped = _dropped(cases) / arrivals
    found = min(one.found for one in seen)
    room = max(most / found, 1.0) if found else math.inf
    longer = time_on_a_slower_machine(fmean(one.share for one in seen), slower, room)
    # By chance, n services of the one run take a little longer than n of the other.
    busy = fmean(one.busy for one in seen) * (1 + Z * math.sqrt(2 / (arrivals * len(seen))))
    lost = overflow(slower * busy, max(most - found, 1.0))
    if slower * busy >= 1 and _dropped(others):  # the buffer was full
        longer = max(longer, slower * room)
    answered = min(1.0, max(1 / slower, (1 - lost) / (1 - dropped)))
    # What is in flight at the window's end was not completed inside it.
    mean = fmean(one.mean for one in seen)
    left = (min(most, mean * longer) - mean) / arrivals
    completed = max(1 / slower, answered - left)
    if any(case.sessions is not None for case in pair.every):  # later turns come later, too
        completed = 1 / slower
    made = longer if machine.slower > 1 else 1 / longer
    return Machine(machine.slower, made, answered, completed)


def _dropped(cases: Sequence[CaseResult]) -> float:
    return fmean(case.summary.outcomes.get("dropped", 0) for case in cases)


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


def _load(cases: Sequence[CaseResult]) -> set[tuple[object, ...]]:
    return {
        (
            case.rate, case.duration, case.workers, case.generator.arrivals,
            case.generator.event_loop, case.generator.pacing, case.generator.priority,
        )
        for case in cases
    }  # fmt: skip


def _work(cases: Sequence[CaseResult]) -> Work | None:
    """Return what the requests of repeats cost, on average; ``None`` if it is unknown for one."""
    known = [one for case in cases if (one := work_of(case, least=1)) is not None]
    if len(known) < len(cases):
        return None
    return replace(
        known[0],
        generator=fmean(one.generator for one in known),
        answer=fmean(one.answer for one in known),
        connections=fmean(one.connections for one in known),
        failed=fmean(one.failed for one in known),
    )


def _alike(base: Work, new: Work) -> bool:
    """Return whether the requests of both sides were the same work, as far as is known."""
    return math.isfinite(base.generator) and math.isfinite(new.generator) and all(
        abs(a - b) <= ALIKE * max(1.0, a, b)
        for a, b in (
            (base.answer, new.answer), (base.connections, new.connections),
            (base.failed, new.failed),
        )
    )  # fmt: skip
