"""Limits of a percentile if slow requests come in episodes.

Whether a request is beyond a time is taken to depend on the one before it alone (Gilbert 1960, Bell
System Technical Journal 39:1253): slow requests come in *episodes* of geometric length, s on
average, and n requests hold J of those that belong in the tail p, binomial of n / s with the
probability p. Of k requests that are beyond, B begin an episode, binomial of k with the probability
1 / s. The number N of requests in the tail is then

    P(N <= k) = P(J <= B).

For s = 1, independent requests, N is binomial, and the limits are Woodruff's (1952, JASA 47:635):
exact, whatever the distribution of the times. A run misses the tail altogether with the probability
(1 - p)^(n / s): each episode counts once. An effective number of requests, made from the variance
of N, counts it about twice, as the longer episodes have more of the requests; it needs nearly twice
as many requests to be sure of a bound beyond everything that was seen.

**The length** comes from the variance of N over moving blocks, at several shares of slow requests.
At the percentile itself it is known from few episodes, and a run that saw few of them has too low a
percentile and too short a length at once. So the upper limit takes the longest of those at the
percentile and at up to ten times as many requests (the same pauses and bursts, seen earlier and
more often), and allows for its error twice: once because it is unknown, once because it errs
together with the percentile.

**Times of single tokens** are not times in a queue. In a queue, the slowest requests are in the
midst of episodes in which others are slow, and these are as long. But a gap between tokens is
longer than half of the others because many requests are in the batch, for seconds, and among the
slowest tenth because a prompt was read meanwhile, once. What larger shares show then counts only up
to the 95 % limit of the variance at the percentile itself, which is known better than in a queue:
the slowest gaps are in many more episodes. Nor does a long gap delay other requests, as the
following allows for: h is 1.

**Stalls** are shared by all requests in the batch. One long stall may be that of more requests than
belong beyond a percentile, and these show no variance at all: their lower limit, too, takes the
length at up to ten times as many.

**What was not seen** may be worse. Requests that each take very long seldom delay others, until two
of them meet, and then for as long as they take. A run without such a meeting looks like a calmer
queue, except that its slowest request is far slower than most: by the factor h more than the
slowest of n exponential times, as a queue's mostly are (:func:`heaviness`). How much more the
number of slow requests varies than that of independent ones is then taken to be h times as much,
unless the error of the length is already larger. A server whose few very slow requests delay nobody
pays for it: its blocks vary a little more than independent requests by chance, and that is
multiplied as well; and the standard error of a mean is always multiplied, by √h.

**Far away** so much caution is not needed: for the percentile to be above a bound when what was
seen is below two thirds or a third of it, the missed episodes would have to be of another size, not
only more of them. Where there is no upper limit, a *ceiling* at 1.5 times an order statistic allows
for the error of the length once, or for h, and one at 3 times for half of the error alone.

**A server near its limit** may be seen at it only with more requests than a run ever had in it; see
:mod:`pytest_servebench.stats.unseen`. A share of them is then taken to be slower than all others.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

import numpy as np

from pytest_servebench.load.quantities import Cause
from pytest_servebench.stats.bootstrap import TAIL, Blocks, Floats, degrees_of_freedom
from pytest_servebench.stats.intervals import LEAST_EFFECTIVE
from pytest_servebench.stats.student import Z, student, variance_limit

SHARES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 300, 500)
"""Shares of slow requests, in thousandths, at which the length of episodes is measured."""

_BEYOND: Final = 10  # times the share at the percentile: up to there the length is measured
_OWN: Final = 2  # the same for the lower limit, and for the error that is not the percentile's own
FEWEST: Final = 3
"""Requests, without which there are no episodes to measure."""
_FEWEST_IN_TAIL: Final = 20  # requests, of which two are beyond p90
_DISTANCES: Final = (1.5, 3.0)
_NOTHING: Final = 0.1  # p90 / mean below which most times are next to nothing; exponential: 2.3
_REACH: Final = 7.0  # standard deviations, beyond which probabilities are taken for 0


# -- the number of requests in a tail -------------------------------------------------------------


def length_of(dispersion: float, tail: float) -> float:
    """Return the mean length of episodes in requests, 1 or more.

    N has the variance n p ((s - 1) + s q) for q = 1 - p.

    Args:
        dispersion: variance of the number of requests in the tail, over the binomial n p q.
        tail: p, the share of the requests in it.
    """
    kept = 1 - tail
    return max(1.0, (1 + kept * dispersion) / (1 + kept))


def at_most(beyond: int, number: int, tail: float, length: float) -> float:
    """Return the probability that no more than ``beyond`` of ``number`` requests are in the tail.

    Args:
        beyond: k.
        number: n.
        tail: p.
        length: s.
    """
    first, begin = _binomial(beyond, 1 / length)
    below, reached = _no_more(max(1, int(number / length + 1e-9)), tail)
    # P(J <= b) for each number b of episodes that so many requests can make: 0 before the first
    # that is noticeable, 1 after the last.
    start = first - below
    before = min(len(begin), max(0, -start))
    part = reached[max(0, start) : max(0, start) + len(begin) - before]
    after = begin[before + len(part) :]
    return min(1.0, float(begin[before : before + len(part)] @ part) + float(after.sum()))


@lru_cache(maxsize=64)
def _no_more(number: int, share: float) -> tuple[int, Floats]:
    """Return :func:`_binomial` summed up."""
    first, chances = _binomial(number, share)
    return first, np.cumsum(chances)


def _binomial(number: int, share: float) -> tuple[int, Floats]:
    """Return the first number with a noticeable probability, and the probabilities from it on."""
    if share >= 1:
        return number, np.ones(1)
    middle, deviation = number * share, math.sqrt(number * share * (1 - share))
    first = max(0, int(middle - _REACH * deviation - _REACH))
    last = min(number, math.ceil(middle + _REACH * deviation + _REACH))
    k = np.arange(first, last + 1)
    factorials = _log_factorials(1 << max(10, number.bit_length()))
    logs = factorials[number] - factorials[k] - factorials[number - k]
    return first, np.exp(logs + k * math.log(share) + (number - k) * math.log1p(-share))


@lru_cache(maxsize=4)
def _log_factorials(most: int) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])


def lower_rank(permille: int, number: int, length: float) -> int:
    """Return the rank (from 1) of the value that is above the percentile with 2.5 % at most.

    Args:
        permille: the percentile, in thousandths.
        number: of values.
        length: mean length of episodes, 1 if they are independent.

    Returns:
        0 where there is no lower limit.
    """
    if permille == 500:  # the fast half comes in episodes as the slow one does, and has room for n
        return number + 1 - upper_rank(permille, number, length)
    fewest = _first(number, 1 - permille / 1000, length, 1 - TAIL, Z)
    # Of fewer than some episodes, most likely none was seen: then even the highest is too low.
    return min(number - fewest, nearest_rank(permille, number))


def upper_rank(permille: int, number: int, length: float, unseen: float = 0.0) -> int:
    """Return the rank of the value that is below the percentile with 2.5 % at most.

    Args:
        permille: as for :func:`lower_rank`.
        number: likewise.
        length: likewise.
        unseen: share of all requests that may be slower than all that were seen.

    Returns:
        ``number + 1`` where there is no upper limit.
    """
    tail = 1 - permille / 1000 - unseen
    if tail <= 0:
        return number + 1
    # A hair more than 2.5 %, as the search is for the first number that has it.
    above = math.nextafter(TAIL, 1.0)
    return number + 1 - _first(number, tail, length, above, -Z)


def _first(number: int, tail: float, length: float, chance: float, normal: float) -> int:
    """Return the least k with P(N <= k) >= ``chance``, at most ``number``.

    Args:
        number: n.
        tail: p.
        length: s.
        chance: a probability.
        normal: its quantile of the normal distribution, near which the search begins.
    """
    deviation = math.sqrt(number * tail * (length - 1 + length * (1 - tail)))
    near = number * tail + normal * deviation
    low, high = 0, number
    for guess in (math.floor(near - deviation / 2 - 2), math.ceil(near + deviation / 2 + 2)):
        if low <= guess < high:
            if at_most(guess, number, tail, length) >= chance:
                high = guess
            else:
                low = guess + 1
    while low < high:
        middle = (low + high) // 2
        if at_most(middle, number, tail, length) >= chance:
            high = middle
        else:
            low = middle + 1
    return low


def nearest_rank(permille: int, n: int) -> int:
    """Return which of n values in order, from 1, is the percentile."""
    return max(1, -(-permille * n // 1000))


def heaviness(ordered: Floats) -> float:
    """Return by how much the slowest request exceeds that of an exponential tail, 1 or more.

    The largest of n exponential times is about ln n + γ means (Gumbel 1935, Annales de l'Institut
    Henri Poincaré 5:115), their 90th percentile ln 10. Where the 90th percentile is below a tenth
    of the mean, most times are next to nothing, such as gaps between tokens that came together: it
    says nothing of the others. Then the slowest is compared with exponential times beyond it, as
    long as the rest of the slowest tenth. (The slowest is in neither mean: it is what is judged.)

    Args:
        ordered: times of the requests, ascending; infinite ones do not count; shape ``(n,)``.
    """
    n = int(np.searchsorted(ordered, math.inf))
    if n < _FEWEST_IN_TAIL:
        return 1.0
    rank = nearest_rank(900, n)
    p90, slowest = float(ordered[rank - 1]), float(ordered[n - 1])
    usual = p90 * (math.log(n) + np.euler_gamma) / math.log(10)
    if p90 < _NOTHING * float(ordered[: n - 1].mean()):
        excess = float(ordered[rank : n - 1].mean()) - p90
        usual = p90 + excess * (math.log(n - rank) + np.euler_gamma)
    return max(1.0, slowest / usual) if usual > 0 else 1.0


# -- how long the episodes are --------------------------------------------------------------------


@dataclass(frozen=True)
class Lengths:
    """Mean lengths of episodes for the limits of one percentile, in requests.

    Attributes:
        low: for the lower limit.
        high: for an upper limit among the times that were seen.
        far: for upper limits beyond them, by :data:`_DISTANCES`.
    """

    low: float
    high: float
    far: tuple[float, ...]

    def shortest(self, other: Self) -> "Lengths":
        """Return the shorter of both, each for itself."""
        far = tuple(map(min, self.far, other.far))
        return Lengths(min(self.low, other.low), min(self.high, other.high), far)


def lengths(
    blocks: Blocks,
    means: Mapping[int, float],
    number: int,
    permille: int,
    heavy: float,
    *,
    cause: Cause = "queue",
) -> Lengths:
    """Return the lengths of episodes for a percentile.

    Args:
        blocks: whose first columns are whether each request is among the slowest
            :data:`SHARES`, less the mean.
        means: share to the part of the requests that is beyond: less than the share if many
            requests took the same time.
        number: of requests.
        permille: the percentile, in thousandths.
        heavy: :func:`heaviness` of the times.
        cause: of slow times.
    """
    tail = 1000 - permille
    resolved = [one for one in SHARES if one >= tail and one * number >= 1000 * FEWEST]
    resolved = resolved or [SHARES[-1]]
    near = [one for one in resolved if one <= _BEYOND * tail] or resolved[:1]
    own = [one for one in near if one <= _OWN * tail] or near[:1]
    beyond = [one for one in near if one >= _OWN * tail] or near
    found = {one: _dispersion(blocks, SHARES.index(one), means[one], number) for one in near}
    highest = math.inf
    if cause == "token":
        heavy = 1.0
        degrees = float(blocks.degrees[SHARES.index(near[0])])
        highest = found[near[0]][0] * variance_limit(degrees)

    def longest(shares: list[int], once: float, together: float, heavy: float) -> float:
        """Return the longest, allowing for its own error, and for that with the percentile."""

        def allowed(share: int) -> float:
            own, error = found[share]
            longer: float = error**once * max(own * error**together, 1 + (own - 1) * heavy)
            return longer if share == near[0] else min(longer, highest)

        dispersion = max(map(allowed, shares))
        most = max(1.0, number / LEAST_EFFECTIVE)
        return min(most, length_of(dispersion, tail / 1000))

    low = longest(own, 1, 0, 1.0)
    if cause == "stall":
        low = max(low, longest(near, 0, 0, 1.0))
    return Lengths(
        low=low,
        high=longest(near, 1, 1, heavy),
        far=(longest(beyond, 0, 1, heavy), longest(beyond, 0, 0.5, 1.0)),
    )


def dispersion_of(blocks: Blocks, column: int, mean: float, number: int) -> float:
    """Return the variance of a number of requests over that of independent ones, 1 or more.

    Args:
        blocks: of whether each request is one of them, less the mean.
        column: in them.
        mean: share of the requests that are.
        number: of requests.
    """
    spread = mean * (1 - mean)
    return max(1.0, float(blocks.variances[column]) / (number * spread)) if spread > 0 else 1.0


def _dispersion(blocks: Blocks, column: int, mean: float, number: int) -> tuple[float, float]:
    """Return a dispersion, and the factor on it that stands for its error."""
    spread = mean * (1 - mean)
    if spread <= 0:
        return 1.0, 1.0
    # Independent requests have an error too, which the binomial limits know of.
    full = degrees_of_freedom(number, 1 / spread - 3)
    error = (student(float(blocks.degrees[column])) / student(full)) ** 2
    return dispersion_of(blocks, column, mean, number), max(1.0, error)


# -- the limits -----------------------------------------------------------------------------------


def limits(
    ordered: Floats, permille: int, known: Lengths, unseen: float = 0.0
) -> tuple[float, float, float]:
    """Return the limits between which a percentile lies with 95 %, and a ceiling.

    The upper limit is infinite where too few episodes were seen; the ceiling, a limit far beyond
    the times that were seen, where they are too few even for that, or where none is needed.

    Args:
        ordered: times of the requests, ascending; infinite for failed ones; shape ``(n,)``.
        permille: the percentile, in thousandths.
        known: lengths of episodes.
        unseen: see :func:`upper_rank`.
    """
    n = len(ordered)
    low = lower_rank(permille, n, known.low)
    high = upper_rank(permille, n, known.high, unseen)
    ceiling = math.inf
    if high > n:
        for distance, length, missed in zip(_DISTANCES, known.far, (unseen, 0.0), strict=True):
            rank = upper_rank(permille, n, length, missed)
            ceiling = min(ceiling, distance * _value(ordered, rank))
    return (float(ordered[low - 1]) if low else 0.0), _value(ordered, high), ceiling


def _value(ordered: Floats, rank: int) -> float:
    return float(ordered[rank - 1]) if rank <= len(ordered) else math.inf
