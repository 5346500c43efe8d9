"""Moving blocks over time: the variance of a sum of correlated values.

Künsch (1989), The jackknife and the bootstrap for general stationary observations, Annals of
Statistics 17:1217. The block length is chosen from the measured autocorrelation.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

TAIL: Final = 0.025
_RESAMPLES: Final = 1000
_LUGSAIL: Final = 3
_MOST_BINS: Final = 1000
_FEWEST_BINS: Final = 4
SPANS: Final = 2.0
"""Minimum length of a block, in multiples of the time over which values are alike."""
_FEWEST_BLOCKS: Final = 6  # however long sessions last
_SEED: Final = 19890901  # any: the same records give the same intervals

# The automatic length balances bias and variance of the variance. An interval errs at one side
# only: a bias makes it too short. On M/M/1 queues half as long again covers better, and is hardly
# wider.
_CAUTION: Final = 1.5

Floats = npt.NDArray[np.float64]


def bins_for(n: int) -> int:
    """Return the number of time bins for n requests."""
    return min(max(n, _FEWEST_BINS), _MOST_BINS)


def binned(values: Floats, times: npt.NDArray[np.int64], window: int, bins: int) -> Floats:
    """Return the sums of ``values`` (n, k) in equal bins of time; shape ``(bins, k)``."""
    place = np.clip(times / max(window, 1) * bins, 0, bins - 1).astype(np.int64)
    return np.column_stack(
        [np.bincount(place, weights=column, minlength=bins) for column in values.T]
    )


@dataclass(frozen=True)
class Blocks:
    """All blocks of neighbouring bins, of k columns.

    Attributes:
        sums: of each block, less their mean; shape ``(blocks, k)``.
        number: how many blocks fit into the data side by side.
        variances: of the columns' sums over all of the data; shape ``(k,)``.
        degrees: of freedom of each variance, 1 or more; shape ``(k,)``.
    """

    sums: Floats
    number: float
    variances: Floats
    degrees: Floats

    def studentized(self, column: int) -> tuple[float, float]:
        """Return the 2.5 % and 97.5 % points of the column's sum minus its expectation.

        Blocks are drawn with replacement, and each resample is measured by its own standard error
        (Götze and Künsch 1996, Annals of Statistics 24:1914), which latencies need: a run that saw
        few slow requests has too low a mean and too small an error at once.
        """
        number = math.ceil(self.number)
        drawn = self.sums[:, column].copy()[_places(len(self.sums), number)]
        totals = drawn.sum(axis=1)
        squares = np.square(drawn, out=drawn).sum(axis=1)  # in place: it is most of the memory
        errors = np.sqrt(np.maximum(0.0, squares - totals**2 / number))
        good = errors > 0
        if not good.any():
            return 0.0, 0.0
        low, high = np.quantile(totals[good] / errors[good], [TAIL, 1 - TAIL])
        scale = math.sqrt(float(self.variances[column]))
        return min(0.0, float(low)) * scale, max(0.0, float(high)) * scale


@lru_cache(maxsize=1)  # times of a case, and cases of a run, often have blocks of one length
def _places(blocks: int, number: int) -> npt.NDArray[np.int64]:
    """Return which blocks each resample draws; shape ``(resamples, number)``."""
    return np.random.default_rng(_SEED).integers(0, blocks, (_RESAMPLES, number))


def least_length(span: float, window: int, bins: int) -> int:
    """Return the minimum number of bins in a block, for requests that are known to be alike.

    A property that all requests of a session share is hardly significant at any single lag, so the
    automatic length ignores it; it also ignores what the few requests of one class share with those
    between them. Blocks must be longer than such stretches.

    Args:
        span: for how long requests are alike, ns; 0 if unknown.
        window: length of the arrival window, ns.
        bins: into which it is cut.
    """
    return max(1, min(round(SPANS * span / max(window, 1) * bins), bins // _FEWEST_BLOCKS))


def moving_blocks(series: Floats, least: int = 1) -> Blocks:
    """Return the blocks of a stationary series, with their estimate of the sum's variance.

    The variance is that of moving-block resamples, in closed form. Blocks that are short compared
    to the memory make it too small, and blocks a third as long make it smaller still: twice the
    first less the second removes the leading bias and errs on the safe side (the lugsail
    estimator of Vats and Flegal 2022, Biometrika 109:735, with their r = 3 and c = 1/2).

    All columns share the length of blocks, which is that of the one with the longest memory.

    Args:
        series: a row for each bin; shape ``(bins, k)``.
        least: bins of a block; see :func:`least_length`.
    """
    length = max(least, *(block_length(column) for column in series.T))
    number = len(series) / length
    sums = _sums(series, length)
    variances = _variance(sums, number)
    if length >= _LUGSAIL:
        third = length // _LUGSAIL
        shorter = _variance(_sums(series, third), len(series) / third)
        variances = np.maximum(variances, 2 * variances - shorter)
    squared = sums**2
    squares = squared.mean(axis=0)
    fourth = np.square(squared, out=squared).mean(axis=0)
    kurtosis = np.full(len(squares), 3.0)  # any, if nothing varies
    np.divide(fourth, squares**2, out=kurtosis, where=squares**2 > 0)
    degrees = np.array([degrees_of_freedom(number, float(one)) for one in kurtosis])
    return Blocks(sums, number, variances, degrees)


def _sums(series: Floats, length: int) -> Floats:
    """Return the sum of each block, less their mean; shape ``(bins - length + 1, k)``."""
    running = np.concatenate([np.zeros((1, series.shape[1])), np.cumsum(series, axis=0)])
    sums: Floats = running[length:] - running[:-length]
    sums -= sums.mean(axis=0)
    return sums


def _variance(sums: Floats, number: float) -> Floats:
    # Blocks vary too little around their own mean.
    variance: Floats = (sums**2).mean(axis=0) * number / max(0.2, 1 - 1 / number)
    return variance


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


def degrees_of_freedom(number: float, kurtosis: float) -> float:
    """Return the degrees of freedom of a variance from ``number`` values, 1 or more.

    O'Neill (2014, The American Statistician 68:282): 2n / (κ - (n - 3) / (n - 1)), which is n - 1
    for normal values. What happens in few blocks, such as the one time that the queue was long, has
    a high kurtosis: its variance is known from these few only.

    Args:
        number: of values.
        kurtosis: fourth central moment / squared variance; 3 for normal values.
    """
    if number <= 2:
        return 1.0
    spread = kurtosis - (number - 3) / (number - 1)
    degrees = 2 * number / spread if spread > 0 else math.inf
    return min(max(degrees, 1.0), number - 1)
