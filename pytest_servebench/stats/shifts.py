"""By what factor a percentile or a mean changed between two runs, from the requests of both.

Intervals of single runs ignore each other, and that of a tail often has no upper end. The requests
of both runs together show more. Had the percentile become r times as long, then the share of NEW's
requests beyond some threshold t would be that of BASE's beyond t / r. So for each r, put all
requests in one order, BASE's times taken r-fold; of the K slowest, the share p that lies beyond the
percentile, each run should have its part, and

    D(r) = (NEW's among the K) / n_new - (BASE's) / n_base

should be 0 but for chance. The interval has all r for which it may be (a test turned round: Mood's
of 1950, for any percentile). Its ends are ratios of order statistics, so no distribution of
latencies is assumed, and a change elsewhere in the distribution is none of this percentile. For a
mean, D(r) is its own difference.

**Chance** is judged in time, by moving blocks (:mod:`~pytest_servebench.stats.bootstrap`) of the
difference of both runs bin by bin: runs that had the same arrivals had the same bursts, and their
difference does not have them. The variance is taken in two places:

* where both runs have their parts, at r = NEW / BASE: this gives the interval's ends, by Student's
  quantile;
* at r = 1, where the verdict falls. If both servers are alike, each block's difference is as likely
  to have the other sign, whatever its size (Fisher's randomization, 1935). Given the sizes, sums
  with random signs have the variance E = sum of squares, and tails lighter than the normal ones:
  with m equal blocks the kurtosis is 3 - 2 / m, and the quantile z - (z^3 - 3 z) / (12 m) (Cornish
  and Fisher 1938). A few long pauses in one run are thus never taken for many slow requests.

The end that is nearer to 1 has to pass both.

**Few stretches** of a run are independent if a queue grows all along: even if NEW's requests take a
hundred times as long in all of m blocks, that is chance once in 2^(m-1) times. But then its
services tell whether the server is another one (:mod:`pytest_servebench.stats.departures`): if they
surely take half as long again, the times that wait for them are at least so much longer.

On pairs of identical queues (M/M/1, M/D/1, M/G/1, services with rare long pauses, modulated
arrivals; at loads of 0.3, 0.6 and 0.8, 1,000 and 1,250 requests) gates on p50 to p99 and the mean
then give false alarms in fewer than 1 % of the pairs (``benchmarks/parts/gates.py``).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from pytest_servebench.stats.bootstrap import Floats, binned, bins_for, least_length, moving_blocks
from pytest_servebench.stats.departures import Services
from pytest_servebench.stats.episodes import nearest_rank
from pytest_servebench.stats.ratios import Range, exp
from pytest_servebench.stats.student import NORMAL, student_quantile

# Least that the quantile of a sum with random signs may be, of the normal one. The correction holds
# for many blocks: with m equal ones no sum exceeds sqrt(m E), which is less than this leaves.
_LIGHTEST: Final = 0.9

_LARGE: Final = 4.0
# Ratio of the services from which they tell that the times changed. On identical queues the limit
# of 1 % is at most 1.14; servers that slow down under load have a longer one if their queue is long
# by chance.
_SURELY: Final = 1.5


@dataclass(frozen=True)
class Side:
    """The requests of one run, or of its repeats one after the other.

    Attributes:
        values: times of the requests in seconds, infinite if they failed; shape ``(n,)``. There may
            be several of one request, which are in no order of time, but in one block.
        arrivals: when the request of each came, ns; shape ``(n,)``.
        window: length of the arrival window, ns.
        span: for how long requests are known to be alike, ns: in a batch, or as a session's; 0 if
            that is unknown.
    """

    values: Floats
    arrivals: npt.NDArray[np.int64]
    window: int
    span: float = 0.0


@dataclass(frozen=True)
class Shift:
    """How one statistic changed.

    Attributes:
        value: NEW / BASE, infinite or 0 where one of them is infinite.
        noise: standard error of D at ``value``; of a mean, on logarithms.
        degrees: of freedom of its variance.
        null: square root of E, on the same scale.
        events: m, the number of equal blocks that would have this E; infinite for a mean, whose
            blocks differ too much for the correction to help.
        number: K, of a percentile.
        slowest: for a percentile, the K slowest of BASE and of NEW, or all, the slowest first;
            ``None`` for a mean.
        weights: what one request of BASE and of NEW among the K adds to D.
        percentile: BASE's, of all its requests, seconds; ``None`` for a mean.
        beyond: share of NEW's requests beyond it; ``None`` for a mean.
        services: how the services changed, if the times wait for them, and changed by much.
    """

    value: float
    noise: float
    degrees: float
    null: float
    events: float
    number: int = 0
    slowest: tuple[Floats, Floats] | None = None
    weights: tuple[float, float] = (1.0, 1.0)
    percentile: float | None = None
    beyond: float | None = None
    services: Services | None = None

    @property
    def is_large(self) -> bool:
        """Return whether it is so large that a change of the services must show."""
        return not 1 / _LARGE < self.value < _LARGE

    def at(self, tail: float) -> Range:
        """Return NEW / BASE with its interval; 0 and infinity where there is no limit.

        Args:
            tail: probability of the truth outside of it, such as 0.05.
        """
        found = self._of_waits(tail)
        if self.services is None:
            return found
        at_least = self.services.at(tail)
        if self.value > 1 and at_least.low >= _SURELY:
            return Range(self.value, max(found.low, min(self.value, at_least.low)), found.high)
        if self.value < 1 and at_least.high <= 1 / _SURELY:
            return Range(self.value, found.low, min(found.high, max(self.value, at_least.high)))
        return found

    def _of_waits(self, tail: float) -> Range:
        """Return the interval that the times themselves give."""
        z = NORMAL.inv_cdf(1 - tail / 2)
        far = student_quantile(tail, self.degrees) * self.noise
        lighter = max(_LIGHTEST, 1 - (z**2 - 3) / (12 * max(1.0, self.events)))
        near = max(far, self.null * z * lighter)
        down, up = (near, far) if self.value >= 1 else (far, near)
        if self.slowest is None:
            return Range(self.value, self.value * exp(-down), self.value * exp(up))
        base, new = self.slowest
        of_base, of_new = self.weights
        low = _least(self.number, base, new, of_base, of_new, down)
        high = _least(self.number, new, base, of_new, of_base, up)
        return Range(
            self.value,
            min(self.value, low),
            max(self.value, 1 / high if high > 0 else math.inf),
        )


def _least(
    number: int, base: Floats, new: Floats, of_base: float, of_new: float, most: float
) -> float:
    """Return the ratio below which NEW has too many of the K slowest; 0 if it never has.

    D is above ``most`` with j requests of NEW and K - j of BASE among them, and has those where
    NEW's j-th is slower than BASE's (K - j + 1)-th.
    """
    j = math.floor((most + number * of_base) / (of_base + of_new) + 1e-9) + 1
    if j > min(number, len(new)):
        return 0.0
    if number - j >= len(base):
        return math.inf
    return 0.0 if math.isinf(base[number - j]) else float(new[j - 1] / base[number - j])


def percentile_shifts(base: Side, new: Side, permilles: Sequence[int]) -> list[Shift | None]:
    """Return the shift of each percentile.

    It is infinite or 0 if the percentile is infinite on one side. Then no ratio gives both runs
    their parts, and the first variance is taken at r = 1, too.

    Returns:
        ``None`` for a percentile that is zero on a side, or infinite on both.
    """
    ordered = [np.sort(side.values)[::-1] for side in (base, new)]
    counts = [len(one) for one in ordered]
    found: list[Shift | None] = [None] * len(permilles)
    if not all(counts):
        return found
    made = []
    for place, permille in enumerate(permilles):
        ranks = [n - nearest_rank(permille, n) for n in counts]
        old, now = (float(one[rank]) for one, rank in zip(ordered, ranks, strict=True))
        if old > 0 and now > 0 and math.isfinite(min(old, now)):
            made.append((place, old, now, sum(ranks) + 1))

    def columns() -> Iterator[tuple[Floats, Floats]]:
        for _, old, now, number in made:
            at_one = _among(base.values, new.values, number)
            # Divided, rather than multiplied by the ratio, both percentiles are exactly equal.
            equal = math.isfinite(max(old, now))
            yield _among(base.values / old, new.values / now, number) if equal else at_one
            yield at_one

    if not made:
        return found
    chance = _Chance.of(base, new, columns())
    for index, (place, old, now, number) in enumerate(made):
        found[place] = Shift(
            now / old,
            *chance.at(2 * index),
            number=number,
            slowest=(ordered[0][:number], ordered[1][:number]),
            weights=(1 / counts[0], 1 / counts[1]),
            percentile=old,
            beyond=float((new.values > old).mean()),
        )
    return found


def mean_shift(base: Side, new: Side) -> Shift | None:
    """Return the shift of the mean; ``None`` where it is zero or infinite on a side."""
    if not len(base.values) or not len(new.values):
        return None
    old, now = float(base.values.mean()), float(new.values.mean())
    if not 0 < old < math.inf or not 0 < now < math.inf:
        return None
    columns = []
    for ratio in (now / old, 1.0):
        sides = base.values * ratio, new.values
        middle = sum(float(one.sum()) for one in sides) / sum(map(len, sides))
        columns.append((sides[0] - middle, sides[1] - middle))
    noise, degrees, null, _ = _Chance.of(base, new, columns).at(0)
    change = math.log(now / old)
    scale = change / (now - old) if now != old else 1 / old
    return Shift(now / old, noise / now, degrees, null * scale, math.inf)


def _among(base: Floats, new: Floats, number: int) -> tuple[Floats, Floats]:
    """Return which requests are among the ``number`` slowest of both, less their share of all.

    Equal times at the threshold share the remaining places.
    """
    together = np.concatenate([base, new])
    least = np.partition(together, len(together) - number)[len(together) - number]
    above, at = together > least, together == least
    part = (number - int(above.sum())) / int(at.sum())
    chosen = above + part * at - number / len(together)
    return chosen[: len(base)], chosen[len(base) :]


def _sums(side: Side, values: Floats, bins: int) -> Floats:
    """Return what the requests of each bin add to a mean; shape ``(bins, 1)``."""
    return binned(values[:, np.newaxis] / len(values), side.arrivals, side.window, bins)


@dataclass(frozen=True)
class _Chance:
    """How much D varies by chance; arrays have an entry for each column.

    Attributes:
        noise: standard errors.
        degrees: of freedom: twice those that the blocks' kurtosis leaves, as differences have
            either sign, and fewer than the blocks.
        null: of sums with random signs.
        events: the number of equal blocks that would have this error.
    """

    noise: Floats
    degrees: Floats
    null: Floats
    events: Floats

    @classmethod
    def of(cls, base: Side, new: Side, columns: Iterable[tuple[Floats, Floats]]) -> Self:
        """Measure it.

        Args:
            base: of all columns.
            new: the same.
            columns: what each request of BASE and of NEW adds to D, times the number of requests.
        """
        bins = bins_for(max(len(base.values), len(new.values)))
        series = np.hstack(
            [_sums(new, of_new, bins) - _sums(base, of_base, bins) for of_base, of_new in columns]
        )
        least = max(least_length(one.span, one.window, bins) for one in (base, new))
        blocks = moving_blocks(series, least)
        length = max(1, round(bins / blocks.number))
        running = np.concatenate([np.zeros((1, series.shape[1])), np.cumsum(series, axis=0)])
        squares = (running[length:] - running[:-length]) ** 2
        total = squares.mean(axis=0) * blocks.number
        fourth = (squares**2).mean(axis=0) * blocks.number
        events = np.divide(total**2, fourth, out=np.ones_like(total), where=fourth > 0)
        degrees = np.clip(2 * blocks.degrees, 1.0, max(1.0, blocks.number - 1))
        return cls(np.sqrt(blocks.variances), degrees, np.sqrt(total), events)

    def at(self, column: int) -> tuple[float, float, float, float]:
        """Return the chance of a column at the ratio, and the null of that at 1 behind it."""
        null, events = float(self.null[column + 1]), float(self.events[column + 1])
        return float(self.noise[column]), float(self.degrees[column]), null, events
