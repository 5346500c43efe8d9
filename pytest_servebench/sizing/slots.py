"""How many requests a server works on at once, from its records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.sizing.inversion import (
    Counts,
    Floats,
    fifo_services,
    found_inside,
    rank_correlation,
    ranks,
)
from pytest_servebench.stats.student import NORMAL

ANSWERED: Final = (Outcome.OK, Outcome.ERROR_STATUS, Outcome.BAD_RESPONSE)
"""Outcomes of requests on which the server worked to the end."""

SIGNIFICANT: Final = 3.0
MATERIAL: Final = 0.03
"""Relative change of service times between a calm and a busy server that is tolerated: with many
requests, any difference is significant."""

CLEARLY: Final = 1.0
"""Standard errors between two numbers of slots."""

_MOST_OUT_OF_ORDER: Final = 0.002
_LARGEST_OVERHEAD: Final = 0.5  # of the median service
_MOST_SLOTS: Final = 256
_LEAST_STAMP_ERROR: Final = 20e-6


@dataclass(frozen=True)
class Requests:
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
    def of(cls, records: Records) -> Requests:
        """Return them of a case's records."""
        answered = np.isin(records.outcome, ANSWERED) & (records.sent != NEVER)
        lost = (records.sent != NEVER) & ~answered
        chosen = np.flatnonzero(answered)
        chosen = chosen[np.argsort(records.sent[chosen], kind="stable")]
        sent, done = records.sent[chosen] / 1e9, records.done[chosen] / 1e9
        lag = records.generator_lag()
        return cls(
            sent, done, ~records.ok[chosen], found_inside(sent, done),
            # The loop that stamps arrivals also stamps answers, and wakes up as late for them.
            max(_LEAST_STAMP_ERROR, float(np.quantile(lag, 0.99)) if len(lag) else 0.0),
            int(lost.sum()), records.window / 1e9,
        )  # fmt: skip


@dataclass(frozen=True)
class Candidate:
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
        """Return whether services depend on the load by more than chance, and enough to matter."""
        return self.deviation > SIGNIFICANT and abs(self.change) > MATERIAL


def candidates_of(parts: Sequence[Requests]) -> list[Candidate]:
    """Return the numbers of slots that agree with the departures, ascending."""
    most = min(_MOST_SLOTS, 1 + max(int(part.inside.max()) for part in parts))
    possible: list[Candidate] = []
    for slots in range(1, most + 1):
        candidate = _candidate(parts, slots)
        if candidate is None:
            continue
        possible.append(candidate)
        # Too many slots: waiting counts as service, and the more so the larger the number.
        if len(possible) > 3 and all(
            one.deviation > possible[-4].deviation for one in possible[-3:]
        ):
            break
    return possible


def _candidate(parts: Sequence[Requests], slots: int) -> Candidate | None:
    """Return the services with this many slots; ``None`` if the departures contradict it."""
    plain = with_overhead(parts, slots, 0.0)
    if plain is None or not (plain.deviation > SIGNIFICANT and plain.change < 0):
        return plain
    # An idle server seems slower: otherwise the time outside a slot overlaps the requests ahead.
    together = np.concatenate(plain.services)
    low, high = 0.0, _LARGEST_OVERHEAD * float(np.median(together))
    best = plain
    for _ in range(12):
        middle = (low + high) / 2
        tried = with_overhead(parts, slots, middle)
        if tried is None:
            high = middle
            continue
        best = min(best, tried, key=lambda one: one.deviation)
        low, high = (middle, high) if tried.change < 0 else (low, middle)
    return best


def with_overhead(parts: Sequence[Requests], slots: int, overhead: float) -> Candidate | None:
    """Return the services with this many slots and seconds outside them; ``None`` as above."""
    services = tuple(fifo_services(part.sent, part.done, slots, overhead) for part in parts)
    negative = sum(
        int((each < -part.stamp_error).sum()) for part, each in zip(parts, services, strict=True)
    )
    if negative > _MOST_OUT_OF_ORDER * sum(map(len, services)):
        return None
    deviation = deviation_of(parts, services)
    return Candidate(slots, overhead, services, deviation, _change(parts, services))


def deviation_of(parts: Sequence[Requests], services: Sequence[Floats]) -> float:
    """Return how much services depend on the number in the server, in standard errors.

    Within cases, whatever the direction in each; or over all cases together, which has more power
    if the direction is the same.
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
    """Combine independent standard scores into one: how unlikely their sum of squares is.

    Wilson and Hilferty (1931): the cube root of a chi-squared value is nearly normal. The result is
    on the scale of a two-sided score; a single one keeps its size.
    """
    number = len(scores)
    total = sum(score * score for score in scores)
    if number == 1:
        return math.sqrt(total)
    spread = 2 / (9 * number)
    one_sided = ((total / number) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    tail = NORMAL.cdf(-one_sided)
    return -NORMAL.inv_cdf(tail / 2) if tail > 1e-300 else one_sided


def _change(parts: Sequence[Requests], services: Sequence[Floats]) -> float:
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


def best_of(candidates: Sequence[Candidate]) -> Candidate:
    """Return the number with which services depend least on the number in the server."""
    return min(candidates, key=lambda one: (round(one.deviation, 6), one.slots))


def another_fits(
    parts: Sequence[Requests],
    candidates: Sequence[Candidate],
    best: Candidate,
    below: float = SIGNIFICANT,
) -> bool:
    """Return whether another number of slots, with another saturation rate, fits too."""
    return any(
        one.slots != best.slots
        and one.deviation < min(SIGNIFICANT, below)
        and abs(_contested(parts, one, best)) < SIGNIFICANT
        for one in candidates
    )


def _contested(parts: Sequence[Requests], one: Candidate, other: Candidate) -> float:
    """Return how long the services under ``one`` are where ``other`` disagrees, in standard errors.

    Take requests that found at least the smaller number of slots occupied, but fewer than the
    larger: they waited under the smaller number and began at once under the larger. With the right
    number, their services are like those of requests that found fewer; the rank sum of these two
    groups (Mann and Whitney 1947) sees more than a correlation over all requests.
    """
    fewer, more = sorted((one.slots, other.slots))
    services = np.concatenate(one.services)
    inside = np.concatenate([part.inside for part in parts])
    calm, between = services[inside < fewer], services[(fewer <= inside) & (inside < more)]
    if not len(calm) or not len(between):
        return 0.0
    total = len(calm) + len(between)
    excess = float(ranks(np.concatenate([between, calm]))[: len(between)].mean()) - (total + 1) / 2
    return excess / math.sqrt((total + 1) * len(calm) / len(between) / 12)
