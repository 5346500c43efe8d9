"""Test after each run whether arrivals look like the process that they were drawn from."""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

# Two-sided 99.9 % of the normal distribution: with three figures per run, a good generator
# fails in three runs out of a thousand.
_BAND = 3.2905
_ROUNDING = 2  # ns

Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ArrivalCheck:
    """Statistics of a schedule, each with its expected band.

    Attributes:
        achieved_rate: actual arrivals per second of the schedule.
        rate_z: deviation of their number from the expected one, in standard deviations.
        dispersion: variance over mean of counts in equal bins; 1 for Poisson.
        dispersion_band: contains 99.9 % of such processes.
        lag1: correlation of neighbouring gaps; 0 if gaps are independent.
        lag1_band: half-width of the band that contains 99.9 % of such processes.
    """

    achieved_rate: float
    rate_z: float
    dispersion: float
    dispersion_band: tuple[float, float]
    lag1: float
    lag1_band: float

    @property
    def plausible(self) -> bool:
        """Return whether every statistic lies within its band."""
        low, high = self.dispersion_band
        return (
            abs(self.rate_z) <= _BAND
            and low <= self.dispersion <= high
            and abs(self.lag1) <= self.lag1_band
        )


def check_renewal(
    times: Seconds,
    rate: float,
    duration: float,
    burstiness: float = 1.0,
    *,
    shown_over: float | None = None,
    z: float = _BAND,
) -> ArrivalCheck:
    """Compare arrival times (s, ascending) with independent gamma gaps of mean ``1 / rate``.

    Of ``burstiness`` 1 these are a Poisson process.

    Counts: the number of renewals in a long time has ``burstiness`` times the variance of a Poisson
    process, where ``burstiness`` is the squared coefficient of variation c of the gaps; for a mean
    of m in a bin its variance is c m + (1 - c^2) / 6, from the second and third moments of gamma
    gaps (D. R. Cox: Renewal Theory, 1962, section 4.5). Dispersion: in the index of dispersion
    test (Fisher), (k - 1) D / E[D] is chi-squared with k - 1 degrees of freedom; its quantiles by
    Wilson and Hilferty's cube-root approximation. Lag-1 correlation of n independent gaps is normal
    with mean 0, deviation 1/sqrt(n) (Bartlett).

    Args:
        times: shape ``(n,)``.
        rate: arrivals per second.
        duration: length of the window in seconds.
        burstiness: squared coefficient of variation of the gaps.
        shown_over: the window that the achieved rate refers to, if time was changed.
        z: half-width of the bands in standard deviations of a normal distribution.
    """
    number = len(times)
    expected = rate * duration
    # For gaps that are not exponential, the law of the counts holds only in long bins.
    in_a_bin = 5 if burstiness == 1 else 10 * max(1.0, burstiness)
    bins = max(2, min(1000, int(expected // in_a_bin)))
    counts, _ = np.histogram(times, bins=bins, range=(0, duration))
    mean = counts.mean()
    dispersion = float(counts.var(ddof=1) / mean) if mean > 0 else 0.0
    usual = burstiness + (1 - burstiness**2) / (6 * max(expected / bins, 1.0))
    lag1, lag1_band = _lag1(times, z)
    long_enough = expected >= 2 * in_a_bin or burstiness == 1
    return ArrivalCheck(
        achieved_rate=number / (shown_over or duration),
        # Square roots of counts have the same deviation whatever the mean, and are nearly normal
        # even for small counts (F. J. Anscombe, Biometrika 35, 1948).
        rate_z=2
        * (math.sqrt(number + 3 / 8) - math.sqrt(expected + 1 / 8))
        / math.sqrt(burstiness),
        dispersion=dispersion,
        dispersion_band=(
            usual * _chi_squared_quantile(bins - 1, -z) / (bins - 1),
            usual * _chi_squared_quantile(bins - 1, z) / (bins - 1),
        )
        if long_enough
        else (0.0, math.inf),
        lag1=lag1,
        # A few heavy-tailed gaps are far from normal.
        lag1_band=lag1_band if number > 20 * burstiness or burstiness == 1 else math.inf,
    )


def check_lattice(times: npt.NDArray[np.int64], rate: float, duration: float) -> ArrivalCheck:
    """Compare arrival times (ns) with equal gaps of ``1 / rate``, to the ns."""
    figures = check_nothing(times, duration)
    even = np.arange(len(times)) * (1e9 / rate)
    exact = len(times) == math.ceil(rate * duration - 1e-9) and (
        len(times) == 0 or float(np.abs(times - even).max()) <= _ROUNDING
    )
    # Counts in equal bins differ by at most one.
    return replace(figures, rate_z=0.0 if exact else math.inf, dispersion_band=(0.0, 1.0))


def check_nothing(times: npt.NDArray[np.int64], duration: float) -> ArrivalCheck:
    """Return the statistics of arrival times (ns), with no expected bands."""
    number = len(times)
    bins = max(2, min(1000, number // 5))
    counts, _ = np.histogram(times / 1e9, bins=bins, range=(0, duration))
    mean = counts.mean()
    return ArrivalCheck(
        achieved_rate=number / duration,
        rate_z=0.0,
        dispersion=float(counts.var(ddof=1) / mean) if mean > 0 else 0.0,
        dispersion_band=(0.0, math.inf),
        lag1=_lag1(times / 1e9, 0.0)[0],
        lag1_band=math.inf,
    )


def _lag1(times: Seconds, z: float) -> tuple[float, float]:
    gaps = np.diff(times)
    # Gaps that differ only by rounding have no meaningful correlation.
    if len(gaps) <= 2 or gaps.std() <= _ROUNDING * 1e-9:
        return 0.0, math.inf
    return float(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]), z / math.sqrt(len(gaps) - 1)


def _chi_squared_quantile(degrees: int, z: float) -> float:
    spread = 2 / (9 * degrees)
    return float(degrees * max(0.0, 1 - spread + z * math.sqrt(spread)) ** 3)
