"""How long a server takes for each request while several are in flight, and how that changed.

Waits depend on all that happened before: a server near its limit may have a long queue in one short
run and none in the next. The services in which it works a queue off hardly depend on each other, so
that the time between two departures, while at least as many requests are in flight as usual in the
run, is known far better than any wait. If services take longer, so does everything that waits for
them.

It is a ratio of sums over time: of the seconds with so many requests in flight, and of the
departures meanwhile. Its error comes from moving blocks of what each bin of time adds to it, so
that a pause counts as one event, however long it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.stats.bootstrap import Floats, binned, bins_for, moving_blocks
from pytest_servebench.stats.ratios import Range, exp
from pytest_servebench.stats.student import student_quantile


class Stretches(NamedTuple):
    """The stretches of time between arrivals and departures with many requests in flight.

    Attributes:
        begins: when each began, ns; shape ``(m,)``.
        seconds: how long it was.
        left: whether it ended with a departure.
    """

    begins: npt.NDArray[np.int64]
    seconds: Floats
    left: npt.NDArray[np.bool_]

    @property
    def each(self) -> float:
        """Return the seconds for each departure; 0 if there is none."""
        number = int(self.left.sum())
        return float(self.seconds.sum()) / number if number else 0.0


def stretches(records: Records, least: float) -> Stretches:
    """Return the stretches with at least so many requests in flight."""
    taken = records.outcome != Outcome.DROPPED
    ended = records.done[taken & (records.done != NEVER)]
    times = np.concatenate([records.scheduled[taken], ended])
    steps = np.repeat([1, -1], (int(taken.sum()), len(ended)))
    order = np.argsort(times, kind="stable")
    times, steps = times[order], steps[order]
    deep = np.cumsum(steps)[:-1] >= least
    return Stretches(times[:-1][deep], np.diff(times)[deep] / 1e9, steps[1:][deep] < 0)


@dataclass(frozen=True)
class Services:
    """How the services of two runs compare.

    Attributes:
        ratio: NEW / BASE.
        errors: of its logarithm, from each run, with their degrees of freedom.
    """

    ratio: float
    errors: tuple[tuple[float, float], ...]

    def at(self, tail: float) -> Range:
        """Return the ratio with its interval; ``tail``: probability of the truth outside of it."""
        far = math.hypot(*(error * student_quantile(tail, known) for error, known in self.errors))
        return Range(self.ratio, self.ratio * exp(-far), self.ratio * exp(far))


def services(base: Sequence[Records], new: Sequence[Records]) -> Services | None:
    """Return how services compare; ``None`` if none were seen on a side.

    Args:
        base: the repeats of a load before.
        new: those of now.
    """
    sides = [_each(side) for side in (base, new)]
    known = [one for one in sides if one is not None]
    if len(known) < len(sides):
        return None
    return Services(known[1][0] / known[0][0], tuple((one[1], one[2]) for one in known))


def _each(repeats: Sequence[Records]) -> tuple[float, float, float] | None:
    """Return the seconds for each departure, its relative error, and the degrees of freedom."""
    parts = []
    for records in repeats:
        found = records.in_flight()[records.ok]
        if not len(found):
            return None
        some = stretches(records, max(1.0, float(np.median(found))))
        columns = np.column_stack([some.seconds, some.left])
        last = max(int(records.done.max()), records.window)  # the drain counts, too
        parts.append(binned(columns, some.begins, last + 1, bins_for(len(records))))
    series = np.concatenate(parts) if parts else np.zeros((0, 2))
    seconds, number = series.sum(axis=0).tolist()
    if not seconds or not number:
        return None
    blocks = moving_blocks(series[:, :1] - seconds / number * series[:, 1:])
    error = math.sqrt(float(blocks.variances[0])) / seconds
    return seconds / number, error, float(blocks.degrees[0])
