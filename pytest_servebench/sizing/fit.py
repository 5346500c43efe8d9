"""Fit a queue to the records of a server's cases, or say why none fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from pytest_servebench.runs.results import CaseResult
from pytest_servebench.sizing.inversion import (
    rank_correlation,
    ranks,
    shared_services,
    unordered_services,
)
from pytest_servebench.sizing.model import Caution, Misfit, ServerModel, Unfit
from pytest_servebench.sizing.slots import (
    CLEARLY,
    SIGNIFICANT,
    Candidate,
    Requests,
    another_fits,
    best_of,
    candidates_of,
    combined,
    deviation_of,
    with_overhead,
)
from pytest_servebench.stats.bootstrap import block_length

LEAST_REQUESTS: Final = 200
LEAST_QUEUED: Final = 100
"""Requests that must find all slots busy, to distinguish a number of slots from a larger one."""

DRIFT: Final = 0.1
"""Relative change of service times between halves of a case, and between cases, that is
tolerated."""

_MOST_UNANSWERED: Final = 0.01
_TOGETHER: Final = 0.02  # of the median service, within which departures are one batch's
_OFTEN_TOGETHER: Final = 0.05  # of those that waited, beyond chance
_CORRELATED: Final = 0.1


def fit(cases: Sequence[CaseResult]) -> ServerModel | Unfit:
    """Return the queue that explains all cases of one server, or why none does.

    The number of slots is the one with which service times depend least on the number of requests
    that were in the server, and none is negative. Dropped requests never reached the server: they
    are part of the prediction, not of the fit. Error answers took a service time like others. A
    request without an answer kept the server busy for an unknown time: such requests are left out,
    and more than 1 % of them are refused.

    Args:
        cases: of the same server, with their records.

    Raises:
        ValueError: there are no cases, one has no records, or they are of several servers or
            numbers of rows.
    """
    check(cases)
    parts = [Requests.of(case.records) for case in cases if case.records is not None]
    requests = sum(len(part.sent) for part in parts)
    lost = sum(part.unanswered for part in parts)
    if any(case.sessions is not None for case in cases):
        return Unfit((Misfit.DEPENDENT_ARRIVALS,), requests=requests)
    if lost > _MOST_UNANSWERED * (requests + lost):
        return Unfit((Misfit.UNANSWERED,), requests=requests)
    if requests < LEAST_REQUESTS:
        return Unfit((Misfit.TOO_FEW,), requests=requests)
    # Cases of which no request was answered tell nothing.
    known = [(case, part) for case, part in zip(cases, parts, strict=True) if len(part.sent)]
    cases, parts = [case for case, _ in known], [part for _, part in known]
    candidates = candidates_of(parts)
    if not candidates:  # more slots than are tried
        return Unfit((Misfit.NEVER_QUEUED,), requests=requests)
    best = best_of(candidates)
    reasons = [*_reasons(parts, best)]
    queued = sum(int((part.inside >= best.slots).sum()) for part in parts)
    if not reasons and (
        queued < LEAST_QUEUED or another_fits(parts, candidates, best, best.deviation + CLEARLY)
    ):
        reasons.append(Misfit.NEVER_QUEUED)
    if reasons:
        return Unfit(tuple(reasons), best.slots, best.deviation, requests)
    services = np.maximum(np.concatenate(best.services), 0.0)
    cautions = {
        Caution.SLOTS_UNSURE: another_fits(parts, candidates, best),
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
    """Refuse cases that no single model can describe.

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


# -- what speaks against it -----------------------------------------------------------------------


def _reasons(parts: Sequence[Requests], best: Candidate) -> list[Misfit]:
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


def _drifts(best: Candidate) -> bool:
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


def _between(best: Candidate) -> bool:
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


def _batches(parts: Sequence[Requests], best: Candidate) -> bool:
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


def _shared(parts: Sequence[Requests]) -> bool:
    """Return whether equal shares explain the services: then they are independent of the load."""
    most = max(int(part.inside.max()) for part in parts) + 1
    for slots in range(1, min(most, 16) + 1):
        services = [shared_services(part.sent, part.done, slots) for part in parts]
        score = deviation_of(parts, services)
        if score < SIGNIFICANT:
            return True
    return False


def _in_another_order(parts: Sequence[Requests]) -> bool:
    """Return whether a single slot explains the services, if requests may overtake each other."""
    services = [unordered_services(part.sent, part.done) for part in parts]
    return with_overhead(parts, 1, 0.0) is None and deviation_of(parts, services) < SIGNIFICANT


def _memory(best: Candidate) -> int:
    """Return how many services in a row are alike, 1 if neighbours are independent."""
    longest = 1
    for each in best.services:
        if len(each) < 50:
            continue
        neighbours = rank_correlation(each[:-1], each[1:])
        if neighbours > max(_CORRELATED, SIGNIFICANT / math.sqrt(len(each))):
            longest = max(longest, block_length(ranks(each)))
    return longest
