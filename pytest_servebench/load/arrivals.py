"""When requests arrive: the schedule, drawn from a seed, and its check after the run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Two-sided 99.9 % of the normal distribution: with three figures a run, a good generator is
# doubted in three runs of a thousand.
_BAND = 3.2905


def streams(seed: int, rate: float) -> tuple[np.random.Generator, np.random.Generator]:
    """Return independent generators for arrivals and for payloads.

    They depend on the seed and the rate alone, so that every server and every buffer size meets the
    same arrivals: differences between two cases are the servers', not the dice's.
    """
    root = np.random.SeedSequence([seed, round(rate * 1_000_000)])
    arrivals, payloads = root.spawn(2)
    return np.random.default_rng(arrivals), np.random.default_rng(payloads)


def poisson_schedule(
    rate: float, duration: float, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return arrival times in ns, ascending, of a Poisson process in ``[0, duration)``.

    Args:
        rate: mean arrivals a second.
        duration: length of the window in seconds.
        generator: source of the exponential gaps.
    """
    expected = rate * duration
    chunk = int(expected + 6 * math.sqrt(expected) + 16)
    times = np.cumsum(generator.exponential(1 / rate, chunk))
    while times[-1] < duration:
        more = np.cumsum(generator.exponential(1 / rate, chunk)) + times[-1]
        times = np.concatenate([times, more])
    return (times[times < duration] * 1e9).astype(np.int64)


@dataclass(frozen=True)
class ArrivalCheck:
    """Whether arrivals look Poisson, each figure with its 99.9 % band.

    Attributes:
        achieved_rate: arrivals a second that the schedule really had.
        rate_z: deviation of their number from rate x duration, in standard deviations.
        dispersion: variance over mean of counts in equal bins; 1 for Poisson.
        dispersion_band: where 99.9 % of Poisson processes lie.
        lag1: correlation of neighbouring gaps; 0 for Poisson.
        lag1_band: half-width of the band in which 99.9 % of Poisson processes lie.
    """

    achieved_rate: float
    rate_z: float
    dispersion: float
    dispersion_band: tuple[float, float]
    lag1: float
    lag1_band: float

    @property
    def plausible(self) -> bool:
        """Tell whether every figure lies within its band."""
        low, high = self.dispersion_band
        return (
            abs(self.rate_z) <= _BAND
            and low <= self.dispersion <= high
            and abs(self.lag1) <= self.lag1_band
        )


def check_poisson(times: npt.NDArray[np.int64], rate: float, duration: float) -> ArrivalCheck:
    """Compare arrival times (ns, ascending) with a Poisson process of ``rate`` over ``duration`` s.

    Dispersion: in the index of dispersion test (Fisher), (k - 1) D is chi-squared with k - 1
    degrees of freedom; its quantiles by Wilson and Hilferty's cube-root approximation.
    Lag-1 correlation of n independent gaps is normal with mean 0, deviation 1/sqrt(n) (Bartlett).
    """
    number = len(times)
    expected = rate * duration
    bins = max(2, min(1000, int(expected // 5)))
    counts, _ = np.histogram(times, bins=bins, range=(0, duration * 1e9))
    mean = counts.mean()
    dispersion = float(counts.var(ddof=1) / mean) if mean > 0 else 0.0
    gaps = np.diff(times).astype(np.float64)
    lag1, lag1_band = 0.0, math.inf
    if len(gaps) > 2 and gaps.std() > 0:
        lag1 = float(np.corrcoef(gaps[:-1], gaps[1:])[0, 1])
        lag1_band = _BAND / math.sqrt(len(gaps) - 1)
    return ArrivalCheck(
        achieved_rate=number / duration,
        rate_z=(number - expected) / math.sqrt(expected),
        dispersion=dispersion,
        dispersion_band=(
            _chi_squared_quantile(bins - 1, -_BAND) / (bins - 1),
            _chi_squared_quantile(bins - 1, _BAND) / (bins - 1),
        ),
        lag1=lag1,
        lag1_band=lag1_band,
    )


def _chi_squared_quantile(degrees: int, z: float) -> float:
    spread = 2 / (9 * degrees)
    return float(degrees * max(0.0, 1 - spread + z * math.sqrt(spread)) ** 3)
