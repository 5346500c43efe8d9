"""How many times as long the machine took for the same work in one search as in another.

The load generator does the same work for each request in both, but at different rates, and at a
higher rate a request costs less CPU time: programs that sleep less often between requests find more
of their code in the processor's caches. The cost is therefore regressed on the rate::

    ln generator = level - η ln rate + noise

In each search, the loads around the capacity and those of the ladder have separate levels: only the
former show how fast the machine was in the minutes in which the capacity was found, and the latter,
at very different rates, show how the cost depends on the rate. A parabola would fit its curvature
to the drift of the speed within a search.

The same regression gives how the server's own cost falls with the rate, as r to the power of -γ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from pytest_servebench.stats.machine_paces import ALIKE, Work

_LEAST_DEGREES: Final = 3  # of freedom


class Loads(NamedTuple):
    """The loads of the searches of one side: around their capacities, and the others."""

    around: Sequence[Work]
    others: Sequence[Work] = ()


@dataclass(frozen=True)
class Speeds:
    """How the machine's speed changed between searches, and how costs depend on the rate.

    Attributes:
        slower: how many times as long the machine took in NEW.
        saving: γ: if the rate grows by 1 %, a request costs the server γ % less; 0 if unknown.
    """

    slower: float
    saving: float = 0.0


def speeds(base: Loads, new: Loads) -> Speeds | None:
    """Return how the machine's speed changed; ``None`` if too few loads show it.

    Args:
        base: the loads of the searches before.
        new: those of the searches now, under the same generator.
    """
    groups = _alike([*_levels(base), *_levels(new)])
    if not groups[0] or not groups[2]:
        return None
    loads = [one for group in groups for one in group]
    rate, generator, server = np.log([(one.rate, one.generator, one.server) for one in loads]).T
    levels = np.repeat(np.eye(len(groups)), [len(group) for group in groups], axis=0)
    terms = np.column_stack([levels, rate])
    if len(loads) - int(np.linalg.matrix_rank(terms)) < _LEAST_DEGREES:
        return None
    seen = server if np.isfinite(server).all() else np.zeros_like(server)
    costs, powers = np.linalg.lstsq(terms, np.column_stack([generator, seen]))[0].T.tolist()
    return Speeds(math.exp(costs[2] - costs[0]), max(0.0, -powers[-1]))


def _levels(side: Loads) -> tuple[Sequence[Work], Sequence[Work]]:
    """Return the loads that show a side's speed, and others; a ladder alone shows it, too."""
    return (side.around, side.others) if side.around else (side.others, ())


def _alike(groups: Sequence[Sequence[Work]]) -> list[list[Work]]:
    """Return the loads whose requests were the same work: not overloaded, of usual answers."""
    usual = [one for group in groups for one in group if not one.overloaded]
    answer = float(np.median([one.answer for one in usual] or [0.0]))
    opened = float(np.median([one.connections for one in usual] or [0.0]))
    return [
        [
            one
            for one in group
            if not one.overloaded
            and abs(one.answer - answer) <= ALIKE * answer
            and abs(one.connections - opened) <= ALIKE
        ]
        for group in groups
    ]
