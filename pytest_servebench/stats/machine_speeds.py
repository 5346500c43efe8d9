"""How many times as long the machine took for the same work in one search as in another.

The load generator does the same work for each request of both, but at other rates, and at a higher
rate a request costs less: programs that sleep less often between requests find more of their code
in the processor's caches. So its cost is regressed on the rate::

    ln generator = level - η ln rate + noise

The loads around the capacity and those of the ladder have a level of their own in each search: what
the machine was like in the minutes in which a capacity was found is told by the former alone, and
the latter, at far other rates, tell how the cost depends on the rate. A parabola would learn its
bend from how the speed drifted within a search.

How the server's own cost falls with the rate, r to the power of -γ, comes of the same regression.
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
    """How the machine's speed changed between searches, and what the rate does to costs.

    Attributes:
        slower: how many times as long the machine took in NEW.
        saving: γ, by how many per cent a request costs the server less if the rate grows by one;
            0 if that was not seen.
    """

    slower: float
    saving: float = 0.0


def speeds(base: Loads, new: Loads) -> Speeds | None:
    """Return how the machine's speed changed; ``None`` if too few loads tell it.

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
    base_level, _, new_level, *_ = np.linalg.lstsq(terms, generator)[0].tolist()
    slower = math.exp(new_level - base_level)
    if not np.isfinite(server).all():
        return Speeds(slower)
    return Speeds(slower, max(0.0, -float(np.linalg.lstsq(terms, server)[0][-1])))


def _levels(side: Loads) -> tuple[Sequence[Work], Sequence[Work]]:
    """Return the loads that tell a side's speed, and others; a mere ladder tells it, too."""
    return (side.around, side.others) if side.around else (side.others, ())


def _alike(groups: Sequence[Sequence[Work]]) -> list[list[Work]]:
    """Return the loads whose requests were the same work: not overloaded, of the usual answers."""
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
