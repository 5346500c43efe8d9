"""Relaxation time: how long a queue remembers its initial state."""

import math
from typing import Final

_NEAREST: Final = 1e-3
"""Least of 1 - √ρ that is told apart from saturation."""
_FULLEST: Final = 0.97
"""Loads nearer to saturation are treated as this one."""


def relaxation(load: float) -> float:
    """Return the relaxation time of a queue, in service times of all its servers together.

    1 / (1 - √ρ)², for Poisson arrivals and exponential services (Cohen 1982, The Single Server
    Queue, section III.7.3); longer in proportion to how variable both are together (Gross et al.,
    Fundamentals of Queueing Theory, section 5.3, for its heavy-traffic form).

    Args:
        load: ρ, 0 or more; above 1, where a queue grows, the same as at 1 / ρ.
    """
    return 1 / max(1 - math.sqrt(min(load, 1 / max(load, 1e-9))), _NEAREST) ** 2


def relaxation_of(rate: float, full: float) -> float:
    """Return the relaxation time in seconds; services may vary twice as much as exponential ones.

    Args:
        rate: of the arrivals, 1/s.
        full: μ, the rate at which the server was saturated, 1/s.
    """
    return 2 * relaxation(min(rate / full, _FULLEST)) / full
