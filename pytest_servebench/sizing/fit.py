"""Fit a queue to the records of a server's cases, or say why none fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.sizing.inversion import (
    Counts,
    Floats,
    fifo_services,
    found_inside,
    rank_correlation,
    ranks,
    shared_services,
    unordered_services,
)
from pytest_servebench.sizing.model import Caution, Misfit, ServerModel, Unfit
from pytest_servebench.stats.bootstrap import block_length
from pytest_servebench.stats.student import NORMAL

ANSWERED: Final = (Outcome.OK, Outcome.ERROR_STATUS, Outcome.BAD_RESPONSE)
"""How a request can end for which the server worked until its end."""

LEAST_REQUESTS: Final = 200
LEAST_QUEUED: Final = 100
"""Requests that found all slots busy, by which a number of slots is told from a larger one."""

SIGNIFICANT: Final = 3.0
MATERIAL: Final = 0.03
"""Relative change of service times between a calm and a busy server that is left out of account: of
many requests, any difference is significant."""

DRIFT: Final = 0.1
"""The same of service times between halves of a case, and between cases."""

_MOST_UNANSWERED: Final = 0.01
_MOST_OUT_OF_ORDER: Final = 0.002
_CLEARLY: Final = 1.0  # standard errors between two numbers of slots
_LARGEST_OVERHEAD: Final = 0.5  # of the median service
_MOST_SLOTS: Final = 256
_TOGETHER: Final = 0.02  # of the median service, within which departures are one batch's
_OFTEN_TOGETHER: Final = 0.05  # of those that waited, beyond what chance does
_LEAST_STAMP_ERROR: Final = 20e-6
_CORRELATED: Final = 0.1


@dataclass(frozen=True)
class _Case:
    """The requests of one case that a server worked on, in the order in which they were sent.

    Attributes:
        sent: arrivals at the server, seconds; shape ``(n,)``.
        done: departures, seconds.
        failed: whether they were answered with an error.
        inside: requests that each found in the server.
        stamp_error: by how much a time may be off, seconds.
        unanswered: requests that were sent, but never answered.
        window: seconds in which requests arrived.
    """

    sent: Floats
    done: Floats
    failed: npt.NDArray[np.bool_]
    inside: Counts
    stamp_error: float
    unanswered: int
    window: float

    @classmethod
    def of(cls, records: Records) -> _Case:
        answered = np.isin(records.outcome, ANSWERED) & (records.sent != NEVER)
        lost = (records.sent != NEVER) & ~answered
        chosen = np.flatnonzero(answered)
        chosen = chosen[np.argsort(records.sent[chosen], kind="stable")]
        sent, done = records.sent[chosen] / 1e9, records.done[chosen] / 1e9
        lag = records.generator_lag()
        return cls(
            sent, done, ~records.ok[chosen], found_inside(sent, done),
            # Answers are stamped by the loop that stamps arrivals, and wakes as late for them.
            max(_LEAST_STAMP_ERROR, float(np.quantile(lag, 0.99)) if len(lag) else 0.0),
            int(lost.sum()), records.window / 1e9,
        )  # fmt: skip


@dataclass(frozen=True)
class _Candidate:
    """One number of slots.

    Attributes:
        slots: c.
        overhead: outside of a slot, seconds.
        services: of each case.
        deviation: of the services from independence of the number in the server, in standard
            errors, all cases together.
        change: relative change of services from a calm server to a busy one.
    """

    slots: int
    overhead: float
    services: tuple[Floats, ...]
    deviation: float
    change: float

    @property
    def dependent(self) -> bool:
        return self.deviation > SIGNIFICANT and abs(self.change) > MATERIAL


def fit(cases: Sequence[CaseResult]) -> ServerModel | Unfit:
    """Return the queue that explains all cases of one server, or why none does.

    The number of slots is the one with which service times depend least on the number of requests
    that were in the server, and none is negative. Dropped requests never reached the server: they
    are part of the prediction, not of the fit. Answers with an error took a service like others. A
    request without an answer kept the server busy for an unknown time: such requests are left out,
    and more than 1 % of them are refused.

    Args:
        cases: of the same server, with their records.

    Raises:
        ValueError: there are no cases, one has no records, or they are of several servers or
            numbers of rows.
    """
    check(cases)
    parts = [_Case.of(case.records) for case in cases if case.records is not None]
    requests = sum(len(part.sent) for part in parts)
    lost = sum(part.unanswered for part in parts)
    if lost > _MOST_UNANSWERED * (requests + lost):
        return Unfit((Misfit.UNANSWERED,), requests=requests)
    if requests < LEAST_REQUESTS:
        return Unfit((Misfit.TOO_FEW,), requests=requests)
    candidates = _candidates(parts)
    best = _best(candidates)
    reasons = [*_reasons(parts, best)]
    queued = sum(int((part.inside >= best.slots).sum()) for part in parts)
    if not reasons and (
        queued < LEAST_QUEUED or _another_fits(candidates, best, best.deviation + _CLEARLY)
    ):
        reasons.append(Misfit.NEVER_QUEUED)
    if reasons:
        return Unfit(tuple(reasons), best.slots, best.deviation, requests)
    services = np.maximum(np.concatenate(best.services), 0.0)
    cautions = {
        Caution.SLOTS_UNSURE: _another_fits(candidates, best),
        Caution.VARIES_WITH_LOAD: best.deviation > SIGNIFICANT,
        Caution.SOME_UNANSWERED: lost > 0,
        Caution.OTHER_ARRIVALS: any(case.generator.arrivals != "poisson" for case in cases),
    }
    return ServerModel(
        slots=best.slots,
        overhead=best.overhead,
        services=services,
        failed=np.concatenate([part.failed for part in parts]),
        sizes=tuple(len(part.sent) for part in parts),
        loads=tuple(
            float(np.maximum(each, 0).sum()) / part.window / best.slots
            for part, each in zip(parts, best.services, strict=True)
        ),
        rates=tuple(case.rate for case in cases),
        memory=_memory(best),
        deviation=best.deviation,
        cautions=tuple(caution for caution, holds in cautions.items() if holds),
    )


def check(cases: Sequence[CaseResult]) -> None:
    """Refuse cases that no single model can be of.

    Raises:
        ValueError: as in :func:`fit`.
    """
    if not cases:
        raise ValueError("no cases: give those of one server")
    for case in cases:
        if case.records is None:
            raise ValueError(f"{case.name}: its records are not loaded")
    for what, kinds in (
        ("servers", {case.server.title for case in cases}),
        ("numbers of rows", {case.rows for case in cases}),
    ):
        if len(kinds) > 1:
            raise ValueError(f"cases of different {what}: {sorted(kinds, key=str)}; give one")


# -- the number of slots --------------------------------------------------------------------------


def _candidates(parts: Sequence[_Case]) -> list[_Candidate]:
    most = min(_MOST_SLOTS, 1 + max(int(part.inside.max()) for part in parts))
    possible: list[_Candidate] = []
    for slots in range(1, most + 1):
        candidate = _candidate(parts, slots)
        if candidate is None:
            continue
        possible.append(candidate)
        # Too many slots: waiting counts as service, the more the larger the number.
        if len(possible) > 3 and all(
            one.deviation > possible[-4].deviation for one in possible[-3:]
        ):
            break
    return possible


def _candidate(parts: Sequence[_Case], slots: int) -> _Candidate | None:
    """Return the services with so many slots, ``None`` if the departures contradict it."""
    plain = _with_overhead(parts, slots, 0.0)
    if plain is None or not (plain.deviation > SIGNIFICANT and plain.change < 0):
        return plain
    # The idle server seems slower: the time outside a slot hides behind the requests ahead.
    together = np.concatenate(plain.services)
    low, high = 0.0, _LARGEST_OVERHEAD * float(np.median(together))
    best = plain
    for _ in range(12):
        middle = (low + high) / 2
        tried = _with_overhead(parts, slots, middle)
        if tried is None:
            high = middle
            continue
        best = min(best, tried, key=lambda one: one.deviation)
        low, high = (middle, high) if tried.change < 0 else (low, middle)
    return best


def _with_overhead(parts: Sequence[_Case], slots: int, overhead: float) -> _Candidate | None:
    services = tuple(fifo_services(part.sent, part.done, slots, overhead) for part in parts)
    negative = sum(
        int((each < -part.stamp_error).sum()) for part, each in zip(parts, services, strict=True)
    )
    if negative > _MOST_OUT_OF_ORDER * sum(map(len, services)):
        return None
    deviation = _deviation(parts, services)
    return _Candidate(slots, overhead, services, deviation, _change(parts, services))


def _deviation(parts: Sequence[_Case], services: Sequence[Floats]) -> float:
    """Return how much services depend on the number in the server, in standard errors.

    Within cases, whatever the direction in each; or over all of them together, which sees more of
    what has one direction.
    """
    within = combined([
        math.sqrt(len(each)) * rank_correlation(each, part.inside)
        for part, each in zip(parts, services, strict=True)
    ])  # fmt: skip
    together = np.concatenate(services)
    inside = np.concatenate([part.inside for part in parts])
    over_all = math.sqrt(len(together)) * rank_correlation(together, inside)
    return max(within, abs(over_all))


def combined(scores: Sequence[float]) -> float:
    """Return independent standard scores as one: how unlikely their sum of squares is.

    Wilson and Hilferty (1931): the cube root of a chi-squared value is nearly normal. The result is
    on the scale of a two-sided score: of a single one, its size.
    """
    number = len(scores)
    total = sum(score * score for score in scores)
    if number == 1:
        return math.sqrt(total)
    spread = 2 / (9 * number)
    one_sided = ((total / number) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    tail = NORMAL.cdf(-one_sided)
    return -NORMAL.inv_cdf(tail / 2) if tail > 1e-300 else one_sided


def _change(parts: Sequence[_Case], services: Sequence[Floats]) -> float:
    """Return the relative change of services' geometric mean from a calm server to a busy one.

    Busy is where a request found more others in the server than the median request.
    """
    inside = np.concatenate([part.inside for part in parts])
    least = np.concatenate([np.full(len(part.sent), part.stamp_error) for part in parts])
    logs = np.log(np.maximum(np.concatenate(services), least))
    busy = inside > np.median(inside)
    if not busy.any():
        return 0.0
    return math.expm1(float(logs[busy].mean() - logs[~busy].mean()))


def _best(candidates: Sequence[_Candidate]) -> _Candidate:
    return min(candidates, key=lambda one: (round(one.deviation, 6), one.slots))


def _another_fits(
    candidates: Sequence[_Candidate], best: _Candidate, below: float = SIGNIFICANT
) -> bool:
    """Return whether another number of slots, which would carry another rate, fits too."""
    return any(
        one.slots != best.slots and one.deviation < min(SIGNIFICANT, below) for one in candidates
    )


# -- what speaks against it -----------------------------------------------------------------------


def _reasons(parts: Sequence[_Case], best: _Candidate) -> list[Misfit]:
    found: list[Misfit] = []
    if _drifts(best):
        found.append(Misfit.CHANGES_OVER_TIME)
    if _batches(parts, best):
        found.append(Misfit.BATCHES)
    elif best.dependent:
        if best.change < 0:
            found.append(Misfit.FASTER_WITH_LOAD)
        elif _shared(parts):
            found.append(Misfit.SHARED)
        elif _in_another_order(parts):
            found.append(Misfit.OTHER_ORDER)
        else:
            found.append(Misfit.SLOWER_WITH_LOAD)
    elif _between(best):
        found.append(Misfit.DIFFERS_BETWEEN_CASES)
    return found


def _drifts(best: _Candidate) -> bool:
    """Return whether services became longer or shorter as the cases went on."""
    scores, changes = [], []
    for each in best.services:
        place = np.arange(len(each))
        alike = block_length(each) if len(each) > 1 else 1
        scores.append(math.sqrt(len(each) / alike) * rank_correlation(each, place))
        first, second = np.array_split(each, 2)
        if len(second) and np.median(first) > 0:
            changes.append(float(np.median(second) / np.median(first)) - 1)
    return combined(scores) > SIGNIFICANT and max(map(abs, changes), default=0.0) > DRIFT


def _between(best: _Candidate) -> bool:
    medians = [float(np.median(each)) for each in best.services if len(each) >= LEAST_REQUESTS / 4]
    if len(medians) < 2 or max(medians) <= (1 + DRIFT) * min(medians):
        return False
    ranked = ranks(np.concatenate(best.services))
    n = len(ranked)
    split = np.split(ranked, np.cumsum([len(each) for each in best.services])[:-1])
    # Kruskal and Wallis (1952): the mean ranks of the cases as standard scores.
    scores = [
        (float(one.mean()) - (n + 1) / 2) / math.sqrt(n * (n + 1) / 12 / len(one))
        for one in split if len(one)
    ]  # fmt: skip
    return combined(scores) > SIGNIFICANT


def _batches(parts: Sequence[_Case], best: _Candidate) -> bool:
    """Return whether many requests that had to wait leave together with another one."""
    services = np.concatenate(best.services)
    waited = together = by_chance = 0.0
    for part in parts:
        near = max(_TOGETHER * float(np.median(services)), part.stamp_error)
        order = np.sort(part.done)
        neighbours = np.searchsorted(order, part.done + near, "right") - np.searchsorted(
            order, part.done - near
        )
        queued = part.inside >= 1
        waited += float(queued.sum())
        together += float((neighbours[queued] > 1).sum())
        # As many others leave within this time on both sides of a busy server's departure.
        rate = best.slots / max(float(services.mean()), near)
        by_chance += float(queued.sum()) * -math.expm1(-2 * near * rate)
    return waited > 0 and together > _OFTEN_TOGETHER * waited + 3 * by_chance


def _shared(parts: Sequence[_Case]) -> bool:
    """Return whether equal shares explain the services: then they are independent of the load."""
    most = max(int(part.inside.max()) for part in parts) + 1
    for slots in range(1, min(most, 16) + 1):
        services = [shared_services(part.sent, part.done, slots) for part in parts]
        score = _deviation(parts, services)
        if score < SIGNIFICANT:
            return True
    return False


def _in_another_order(parts: Sequence[_Case]) -> bool:
    """Return whether a single slot explains the services, if requests may overtake each other."""
    services = [unordered_services(part.sent, part.done) for part in parts]
    return _with_overhead(parts, 1, 0.0) is None and _deviation(parts, services) < SIGNIFICANT


def _memory(best: _Candidate) -> int:
    """Return how many services in a row are alike, 1 if neighbours are independent."""
    longest = 1
    for each in best.services:
        if len(each) < 50:
            continue
        neighbours = rank_correlation(each[:-1], each[1:])
        if neighbours > max(_CORRELATED, SIGNIFICANT / math.sqrt(len(each))):
            longest = max(longest, block_length(ranks(each)))
    return longest
