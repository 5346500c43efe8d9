"""Compare capacities: those of two runs, and those of the servers of one run.

A comparison treats a capacity as a case with a single figure, so gates, verdicts and formats work
as for every other figure. Its limits are part of its key: a capacity under another SLO is another
figure.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_servebench.objectives.capacity import stated
from pytest_servebench.runs.capacity import CapacityProbe
from pytest_servebench.runs.costs import work_of
from pytest_servebench.runs.node_ids import cell_id
from pytest_servebench.runs.results import CapacityResult, CaseResult, Resources, Run
from pytest_servebench.stats import ratios
from pytest_servebench.stats.capacity import WIDEST
from pytest_servebench.stats.estimates import Distribution, Estimate, Summary
from pytest_servebench.stats.machine_paces import Work
from pytest_servebench.stats.ratios import Range, Sample
from pytest_servebench.stats.student import NORMAL, Z

_NOTHING: Final = Distribution(0, None, None, None, None, {})
_UNSEEN: Final = Resources(None, None, None, None, None)
_SPREAD: Final = math.log(WIDEST) / (2 * Z)
"""Standard deviation of the logarithm of a capacity whose interval is the widest."""
_LEVEL: Final = 0.01
"""Probability that any server of one test is said to carry more by chance."""


@dataclass(frozen=True)
class CapacityCase(CaseResult):
    """A capacity as a case: nothing but its capacity is known.

    Attributes:
        ends: the rates between which it lies, 0 and infinite if unknown. A search that found no
            interval may still know them.
        value: the estimate, even if the search found no interval; ``None`` if there is none.
        stated: the capacity in words.
        around: what the requests of the loads around it cost, as far as known.
        others: the same of the other loads on which it rests.
        highest: throughput of them all, per second; 0 if unknown.
    """

    ends: tuple[float, float] = (0.0, math.inf)
    value: float | None = None
    stated: str = "not known"
    around: tuple[Work, ...] = ()
    others: tuple[Work, ...] = ()
    highest: float = 0.0


def as_case(result: CapacityResult, probes: Iterable[CaseResult]) -> CapacityCase | None:
    """Return a capacity as a case; ``None`` if none of its probes was measured.

    Args:
        result: what a search found.
        probes: of the run.
    """
    own = {one.label: one for one in result.probes}
    known = [one for one in probes if one.nodeid == result.nodeid and one.label in own]
    if not known:
        return None
    limits = " and ".join(sorted(limit.clause for limit in result.limits))
    found = result.state == "found"  # otherwise the ends are not an interval around the value
    estimates = {"capacity": Estimate(result.value, result.low, result.high)} if found else {}
    one = known[0]
    changed = dataclasses.replace(
        one,
        name=result.name,
        label=" ".join(filter(None, (result.label, f"capacity with {limits}"))),
        probe=False,
        server=result.server,
        buffer_size=result.buffer_size,
        rows=result.rows,
        workers=result.workers,
        rate=1.0,  # the same for all searches, like the following: their probes differ
        duration=0.0,
        seed=result.seed,
        workload=one.workload and dataclasses.replace(one.workload, schedule_sha256=""),
        generator=dataclasses.replace(one.generator, received_bytes=None),
        failures={},
        summary=Summary(
            arrivals=0, outcomes={}, success_rate=0.0, throughput=0.0, offered_rate=0.0,
            achieved_rate=0.0, latency=_NOTHING, estimates=estimates, queue_wait=_NOTHING,
            service_time=_NOTHING, generator_lag=_NOTHING,
        ),
        resources=_UNSEEN,
        clauses=result.clauses,
        verdict=result.verdict,
        invalid_reason=None,
        test_outcome=result.test_outcome,
        records_file="",
        records=None,
    )  # fmt: skip
    names = (field.name for field in dataclasses.fields(CaseResult))
    own_fields = {name: getattr(changed, name) for name in names}
    return CapacityCase(
        **own_fields,
        ends=result.ends,
        value=result.value,
        stated=stated(result),
        around=tuple(_works(own, known, around=True)),
        others=tuple(_works(own, known, around=False)),
        highest=max((load.summary.throughput for load in known if load.measured), default=0.0),
    )


def _works(
    probes: Mapping[str, CapacityProbe], loads: Iterable[CaseResult], *, around: bool
) -> Iterator[Work]:
    for load in loads:
        probe = probes[load.label]
        if probe.used and (probe.stage == "estimate") is around:
            work = work_of(load, overloaded=probe.overloaded)
            if work is not None:
                yield work


def comparable(run: Run) -> tuple[CaseResult, ...]:
    """Return the cases of a run by which it is compared: its own, and its capacities."""
    found = (as_case(one, run.probes) for one in run.capacities)
    return (*run.cases, *(one for one in found if one is not None))


Searches = Sequence[CapacityCase]
"""The capacities of one side of a comparison: one, or one per repeat."""


def change_by_ends(base: Searches, new: Searches, tail: float) -> Range:
    """Return the interval of new / base that follows from the ends of both sides.

    An end holds with 97.5 %. For another level its distance from the estimate is scaled, on
    logarithms. An end without an estimate, such as the highest rate of a range if that rate keeps
    the SLO, moves as far as an end of the widest interval would. Distances add up as in
    :mod:`pytest_servebench.stats.ratios`. The value is NaN.

    Args:
        base: before.
        new: now.
        tail: probability of the truth outside.
    """
    ends = [_side(side, NORMAL.inv_cdf(1 - tail / 2)) for side in (base, new)]
    (base_low, base_high), (new_low, new_high) = ends
    return Range(
        math.nan,
        ratios.exp(new_low[0] - base_high[0] - math.hypot(new_low[1], base_high[1])),
        ratios.exp(new_high[0] - base_low[0] + math.hypot(new_high[1], base_low[1])),
    )


def _side(searches: Searches, z: float) -> list[tuple[float, float]]:
    """Return a centre and a distance from it, on logarithms, for the lower and for the upper end.

    Of several searches the widest end counts; an unknown end is infinitely far.
    """
    found = []
    for place, sign in ((0, -1.0), (1, 1.0)):
        each = [_end(one, place, z) for one in searches]
        found.append(max(each, key=lambda one: sign * one[0] + one[1]))
    return found


def _end(one: CapacityCase, place: int, z: float) -> tuple[float, float]:
    end = ratios.log(one.ends[place])
    if not math.isfinite(end):
        return 0.0, math.inf
    if one.value is None:
        return end, _SPREAD * (z - Z)
    return math.log(one.value), abs(math.log(one.value) - end) * z / Z


# -- the servers of one run -----------------------------------------------------------------------


@dataclass(frozen=True)
class Contest:
    """Two servers' capacities in one test, by the same SLO.

    Attributes:
        better: the one with the higher estimate.
        other: the other.
        ratio: of their capacities, with its 95 % interval.
        decided: whether better is better beyond doubt.
    """

    better: CapacityResult
    other: CapacityResult
    ratio: Range
    decided: bool


def contests(found: Sequence[CapacityResult]) -> list[Contest]:
    """Return how the servers compare, each pair with the same sizes, limits and repeat.

    The level is shared by all pairs, as in a comparison of runs.
    """
    known = [one for one in found if one.state == "found"]
    cells: dict[tuple[object, ...], list[CapacityResult]] = {}
    for one in known:
        # The cell has the repeat too; reports show each.
        cells.setdefault((cell_id(one), one.limits), []).append(one)
    pairs = [
        pair
        for members in cells.values()
        for pair in itertools.combinations(members, 2)
        if pair[0].server.kind != pair[1].server.kind
    ]
    return [_contest(*pair, _LEVEL / len(pairs)) for pair in pairs]


def _contest(one: CapacityResult, two: CapacityResult, tail: float) -> Contest:
    better, other = (one, two) if (one.value or 0.0) >= (two.value or 0.0) else (two, one)
    sides = [_sample(other)], [_sample(better)]
    decided = ratios.ratio(*sides, tail=tail).low > 1
    return Contest(better, other, ratios.ratio(*sides, tail=0.05), decided)


def _sample(one: CapacityResult) -> Sample:
    low, high = one.ends
    return Sample(Range(one.value or 0.0, low, high))
