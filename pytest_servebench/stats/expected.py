"""What a queue fitted to the probes says about the capacity, beside the counts.

Counts of requests beyond a limit rest on the few times at which the queue was long. How long the
server worked on each request is known much better, and where nothing else matters, the capacity
that follows from it is, too. It is taken as Student's t, whose tails give way where counts
disagree.

Both rest on the same requests and err together (their correlation is 0.2 to 0.8 on simulated
queues): what may be counted twice is discounted, as in covariance intersection (Julier and Uhlmann
1997, Proceedings of the American Control Conference, 2369). The likelihood of the counts gets the
weight 1/2 if the queue is as certain as they are, and more if it is less certain.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from pytest_servebench.stats.capacity import Curve
from pytest_servebench.stats.student import Z

PARTS: Final = 8
"""Into which the probes are cut, for the error of what is expected from them."""
_DISCOUNT: Final = 0.5
_MISFIT: Final = 0.06
"""Standard deviation of the logarithm of a server's capacity around that of a queue that is not
told from it; in simulation, the mean was at most 0.06."""
_TAIL: Final = 0.025


@dataclass(frozen=True)
class Expected:
    """The capacity of a queue that was fitted to the probes.

    Attributes:
        rate: arrivals per second.
        error: standard deviation of its logarithm, from :data:`PARTS` parts of the probes.
    """

    rate: float
    error: float


def informed(curve: Curve, expected: Expected | None) -> Curve:
    """Return the distribution of r* from counts and queue; without a queue, from counts alone."""
    if expected is None:
        return curve
    error = math.hypot(expected.error, _MISFIT)
    counted = math.log(curve.quantile(1 - _TAIL) / curve.quantile(_TAIL)) / (2 * Z)
    weight = 1 - _DISCOUNT * min(1.0, counted / error) ** 2
    mass = np.diff(curve.below, prepend=0.0, append=1.0)
    mass = (mass[:-1] + mass[1:]) / 2
    degrees = PARTS - 1
    away = np.log(curve.rates / expected.rate) / error
    density = mass**weight * (1 + away**2 / degrees) ** (-(degrees + 1) / 2)
    below = np.cumsum(density)
    return replace(curve, below=(below - density / 2) / below[-1])
