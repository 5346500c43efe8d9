"""Intervals of shares and of rates, from counts that vary more than independent ones would."""

import math
from typing import Final

from pytest_servebench.stats.bootstrap import degrees_of_freedom
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.stats.student import Z, student

# Latencies that drift during a short run look like a single observation. With six, a median still
# lies between the extremes that were seen, so a bound far from them can be judged.
LEAST_EFFECTIVE: Final = 6.0


def wilson_interval(share: float, effective: float) -> Estimate:
    """Return a share with Wilson's 95 % interval for that number of independent requests."""
    weight = Z**2 / effective
    centre = (share + weight / 2) / (1 + weight)
    half = math.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def poisson_interval(count: float, dispersion: float, seconds: float) -> Estimate:
    """Return a rate (1/s) with its 95 % score interval.

    Args:
        count: events seen.
        dispersion: variance of the count over its mean; 1 for a Poisson process.
        seconds: time of observation.
    """
    if seconds <= 0:
        return Estimate(0.0, 0.0, None)
    weight = Z**2 * dispersion
    half = math.sqrt(weight * count + weight**2 / 4)
    rate = count / seconds
    low, high = (count + weight / 2 - half) / seconds, (count + weight / 2 + half) / seconds
    return Estimate(rate, max(0.0, min(rate, low)), max(rate, high))


def dispersion_of(count: float, variance: float, degrees: float) -> float:
    """Return the dispersion of a count for :func:`poisson_interval`, widened for its own error.

    Args:
        count: events seen.
        variance: of their number, from blocks.
        degrees: of freedom of this variance.
    """
    return (variance / count if count else 1.0) * student(degrees) ** 2


def effective_number(n: int, share: float, variance: float, degrees: float) -> float:
    """Return the equivalent number of independent requests for the share, at most n.

    Args:
        n: number of requests.
        share: the share of them.
        variance: of the share, from blocks.
        degrees: of freedom of this variance: it is itself uncertain. The binomial limits already
            include that of independent requests; only the additional loss counts.
    """
    independent = share * (1 - share) / n
    if independent <= 0:
        return float(n)
    effective = n * min(1.0, independent / variance) if variance > 0 else float(n)
    full = degrees_of_freedom(n, 1 / (share * (1 - share)) - 3)
    effective *= (student(full) / student(degrees)) ** 2
    return min(float(n), max(LEAST_EFFECTIVE, effective))
