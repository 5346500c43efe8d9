"""How much slower the machine was during some loads of a search than during others.

On a shared virtual machine the same work takes a tenth or a fifth longer for some seconds or
minutes, and no steal need be reported. Loads of different minutes then do not lie on one curve.

The load generator does the same work for each request, and so does the server: where both took
more CPU time in the same loads, it was the machine. After a regression of both on the rate, at
which idle programs wake up more or less often, the server's residuals are regressed on the
generator's (partial regression: Frisch and Waugh 1933, Econometrica 1:387)::

    ln server = a + b ln rate + λ (ln generator - a' - b' ln rate) + noise

Its prediction says how much slower the server was. Noise in the generator's cost lowers λ as
it should (attenuation: Fuller 1987, Measurement Error Models, section 1.1), and where λ is not
beyond doubt above 0, the machine's speed did not vary by more than can be told.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pytest_servebench.stats.student import Z, student

_LEAST_DEGREES: Final = 3  # of freedom
_FARTHEST: Final = 0.3
ALIKE: Final = 0.02
"""By how much answers and connections for each request may differ, if it is the same work."""


@dataclass(frozen=True)
class Work:
    """What the requests of one load cost.

    Attributes:
        rate: at which they were sent, 1/s.
        generator: CPU seconds of the load generator for each.
        server: CPU seconds of the server for each; NaN if they are not seen.
        answer: bytes of each answer's body.
        connections: opened for each.
        failed: share of them.
        overloaded: whether the server had more to do than it could.
    """

    rate: float
    generator: float
    server: float
    answer: float = 0.0
    connections: float = 0.0
    failed: float = 0.0
    overloaded: bool = False


@dataclass(frozen=True)
class Pace:
    """How fast the machine was in one load.

    Attributes:
        slower: logarithm of how many times as long the server took for the same work as in the
            median of the loads.
        error: its standard deviation.
    """

    slower: float = 0.0
    error: float = 0.0

    @property
    def far(self) -> bool:
        """Return whether it was so fast or slow that the load says little about the other loads."""
        return abs(self.slower) > _FARTHEST


MEDIAN_PACE: Final = Pace()


def paces(loads: Sequence[Work], others: Sequence[Work] = ()) -> tuple[Pace, ...]:
    """Return how fast the machine was in each load; none if they do not show that it varied.

    Args:
        loads: at rates that are not far from each other.
        others: at further rates: they tell how costs depend on it.
    """
    every = [*loads, *others]
    own = np.arange(len(every)) < len(loads)
    usual = np.array([not one.overloaded for one in every], dtype=np.bool_)
    told = own & usual
    degrees = int(told.sum()) - 3  # mean, rate and slope
    if degrees < _LEAST_DEGREES or not _same_work([one for one in every if not one.overloaded]):
        return ()
    rate, generator, server = np.log([(one.rate, one.generator, one.server) for one in every]).T
    common = np.column_stack([np.ones_like(rate), rate])
    cause, effect = (
        values - common @ np.linalg.lstsq(common[usual], values[usual])[0]
        for values in (generator, server)
    )
    cause, effect = (values - values[told].mean() for values in (cause, effect))
    squares = float(cause[told] @ cause[told])
    if squares <= 0:
        return ()
    slope = float(cause[told] @ effect[told]) / squares
    error = float(np.linalg.norm((effect - slope * cause)[told])) / math.sqrt(degrees)
    if slope <= Z * student(degrees) * error / math.sqrt(squares):
        return ()
    slower = slope * (cause - np.median(cause[own]))
    # Without a pause between its requests the generator's work is less: it seems faster, if not
    # as fast.
    slower = np.where(usual, slower, np.maximum(slower, 0.0))[own]
    return tuple(Pace(one, error) for one in slower.tolist())


def _same_work(loads: Sequence[Work]) -> bool:
    """Return whether the requests were alike: longer answers cost both programs more, too."""
    answers = [one.answer for one in loads]
    opened = [one.connections for one in loads]
    return (
        max(answers) - min(answers) <= ALIKE * max(answers)
        and max(opened) - min(opened) <= ALIKE
    )  # fmt: skip
