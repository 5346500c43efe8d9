"""Moving blocks over time: what a sum is worth where neighbours are alike.

Künsch (1989), The jackknife and the bootstrap for general stationary observations, Annals of
Statistics 17:1217. The block length is chosen from the measured autocorrelation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Z: Final = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""

TAIL: Final = 0.025
_RESAMPLES: Final = 1000
_SEED: Final = 19890901  # any: the same records give the same intervals

# The automatic length balances bias and variance of the variance. An interval errs at one side
# only: a bias makes it too short. On M/M/1 queues half as long again covers better, and is hardly
# wider.
_CAUTION: Final = 1.5

Floats = npt.NDArray[np.float64]


def binned(values: Floats, times: npt.NDArray[np.int64], window: int, bins: int) -> Floats:
    """Return the sums of ``values`` (n, k) in equal bins of time; shape ``(bins, k)``."""
    place = np.clip(times / max(window, 1) * bins, 0, bins - 1).astype(np.int64)
    return np.column_stack(
        [np.bincount(place, weights=column, minlength=bins) for column in values.T]
    )


@dataclass(frozen=True)
class Resampled:
    """Moving-block resamples of k columns.

    Attributes:
        deviations: of a resample's sums from their expectation; shape ``(resamples, k)``.
        errors: standard error of each, estimated from the resample; shape ``(resamples, k)``.
        error: of the sums of the data themselves; shape ``(k,)``.
        blocks: how many blocks fit into the data.
    """

    deviations: Floats
    errors: Floats
    error: Floats
    blocks: float

    def variance(self, column: int) -> float:
        """Return the variance of the column's sum."""
        return float((self.deviations[:, column] ** 2).mean()) * _shortfall(self.blocks)

    def studentized(self, column: int) -> tuple[float, float]:
        """Return the 2.5 % and 97.5 % points of the column's sum minus its expectation.

        Each resample is measured by its own standard error (Götze and Künsch 1996, Annals of
        Statistics 24:1914), which latencies need: a run that saw few slow requests has too low a
        mean and too small an error at once.
        """
        errors = self.errors[:, column]
        good = errors > 0
        if not good.any():
            return 0.0, 0.0
        ratio = self.deviations[good, column] / errors[good]
        low, high = np.quantile(ratio, [TAIL, 1 - TAIL])
        scale = float(self.error[column]) * math.sqrt(_shortfall(self.blocks))
        return min(0.0, float(low)) * scale, max(0.0, float(high)) * scale


def _shortfall(blocks: float) -> float:
    """Return by how much the blocks' variance around their own mean is too small."""
    return 1 / max(0.2, 1 - 1 / blocks)


def resample(series: Floats) -> Resampled:
    """Draw blocks of neighbouring bins with replacement.

    All columns share the length of blocks, which is that of the one with the longest memory.

    Args:
        series: a row for each bin; shape ``(bins, k)``.
    """
    bins, columns = series.shape
    length = max(block_length(column) for column in series.T)
    number = -(-bins // length)
    starts = np.random.default_rng(_SEED).integers(0, bins - length + 1, (_RESAMPLES, number))
    running = np.concatenate([np.zeros((1, columns)), np.cumsum(series, axis=0)])
    sums = running[length:] - running[:-length]  # of each block that there is
    sums -= sums.mean(axis=0)
    # How often each block was drawn: all columns are then two products of matrices.
    drawn = np.zeros((_RESAMPLES, len(sums)))
    np.add.at(drawn, (np.arange(_RESAMPLES)[:, None], starts), 1.0)
    scale = bins / (number * length)
    totals = drawn @ sums
    within = np.maximum(0.0, drawn @ sums**2 - totals**2 / number)
    return Resampled(
        deviations=totals * scale,
        errors=np.sqrt(within) * scale,
        error=np.sqrt((sums**2).mean(axis=0) * bins / length),
        blocks=bins / length,
    )


def block_length(series: Floats) -> int:
    """Return the length of blocks for the mean of a stationary series, in its steps.

    Politis and White (2004) with the correction of Patton, Politis and White (2009), for blocks of
    fixed length: (2 G^2 / D)^(1/3) n^(1/3), where G and D come from the autocovariances, weighted
    by a flat-top window up to twice the lag beyond which no correlation is significant.
    """
    n = len(series)
    centred = series - series.mean()
    variance = float(centred @ centred) / n
    if variance <= 1e-300:
        return 1
    quiet = max(5, math.ceil(math.sqrt(math.log10(n))))  # K_n: lags in a row without correlation
    most = min(n - 1, math.ceil(math.sqrt(n)) + quiet)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(centred, size)) ** 2
    covariances = np.fft.irfft(spectrum, size)[: most + 1] / n
    significant = np.abs(covariances[1:] / variance) >= 2 * math.sqrt(math.log10(n) / n)
    last = _last_before_quiet(significant, quiet)
    if last == 0:
        return 1
    reach = min(2 * last, most)
    lags = np.arange(1, reach + 1)
    flat_top = np.minimum(1.0, 2 * (1 - lags / reach)) if reach > 1 else np.ones(1)
    weighted = flat_top * covariances[1 : reach + 1]
    g = 2 * float(lags @ weighted)
    long_run = variance + 2 * float(weighted.sum())
    if long_run <= 0:
        return 1
    best = _CAUTION * float((2 * g**2 / (4 / 3 * long_run**2) * n) ** (1 / 3))
    longest = math.ceil(min(3 * math.sqrt(n), n / 3))
    return max(1, min(round(best), longest))


def _last_before_quiet(significant: npt.NDArray[np.bool_], quiet: int) -> int:
    """Return the last lag before ``quiet`` insignificant ones in a row, 0 for none."""
    last = 0
    for lag, one in enumerate(significant.tolist(), start=1):
        if one:
            last = lag
        elif lag - last >= quiet:
            break
    return last


def few_blocks(blocks: float) -> float:
    """Return by how much Student's 97.5 % quantile exceeds the normal one's.

    A variance from few blocks is itself uncertain. Expansion of Cornish and Fisher.
    """
    degrees = max(2.0, blocks - 1)
    first = (Z**3 + Z) / 4
    second = (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96
    third = (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384
    return 1 + (first / degrees + second / degrees**2 + third / degrees**3) / Z
