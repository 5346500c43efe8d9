"""What a run may not have seen: the server with more requests in flight than ever during the run.

How long a request takes depends on how many others the server is processing, and a server may reach
its limit only with more of them than a run has seen: a language model's batch is full, a thread
pool is exhausted. A run that came close does not show this in its times, which vary from request to
request and seem to have short episodes (:mod:`pytest_servebench.stats.episodes`). But the number of
requests in flight is known for every run, and its episodes are as long as the server makes them.
With m independent observations, the probability that more than a share u of the time lies beyond
all that was observed is (1 - u)^m; n requests are m = n / (mean length of episodes) observations.

This matters only if requests delay each other. If they do not, the number in flight varies as much
when the same times are given to the same arrivals in another order. For Poisson arrivals it is then
a Poisson variable, for any distribution of service times (M/G/∞; Gross et al., Fundamentals of
Queueing Theory, section 6.2.2), and its variance equals its mean; in an M/M/1 queue it is
1 / (1 - ρ) times as much. No allowance is therefore made below 1.85 times, which in M/M/1 is a
utilization of 0.46: at utilizations up to one half, intervals become at most 5 % wider on average.
Nor is any made if the episodes of the times themselves are as long, as in a single queue.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pytest_servebench.load.records import Records
from pytest_servebench.stats.bootstrap import (
    Floats,
    binned,
    bins_for,
    least_length,
    moving_blocks,
)
from pytest_servebench.stats.episodes import FEWEST, SHARES, dispersion_of, length_of
from pytest_servebench.stats.intervals import LEAST_EFFECTIVE

_HELD_UP: Final = 1.85  # variance of the number in flight over that in another order
_TOP: Final = 20  # thousandths of the requests with most others in the server
_TAIL: Final = 100  # the same, of which the means of times mostly vary
_CHANCE: Final = 0.16  # one standard deviation: it adds to the doubt about what was seen


@dataclass(frozen=True)
class Unseen:
    """What a run may not have seen.

    Attributes:
        length: mean length in requests of the episodes in which most requests are in flight.
        share: of the requests that may arrive while more are in flight than ever in the run.
        dispersions: for some shares of the requests, those with most others in flight, in
            thousandths: the variance of their number over that of as many independent requests.
    """

    length: float = 1.0
    share: float = 0.0
    dispersions: Mapping[int, float] = field(default_factory=dict)

    def beyond(self, length: float) -> float:
        """Return the share of times that may not have been seen, for episodes of this length."""
        return self.share if self.length > length else 0.0

    def error(self, dispersions: Mapping[int, float]) -> float:
        """Return the factor on the error of a mean, 1 or more.

        In the tails, the ratio of the number in flight's variance to that of the times says how
        large the times' variance could be; the factor lies midway between the two errors.

        Args:
            dispersions: of the times, like those of the number in flight.
        """
        ratios = (one / dispersions[share] for share, one in self.dispersions.items())
        return math.sqrt(math.sqrt(max((1.0, *ratios))))


def unseen(records: Records) -> Unseen:
    """Return what a run may not have seen; nothing if requests do not delay each other."""
    numbers = records.in_flight().astype(np.float64)
    n = len(numbers)
    shares = [one for one in SHARES if one <= _TAIL and one * n >= 1000 * FEWEST]
    if not shares:
        return Unseen()
    apart = max(float(numbers.mean()), float(records.in_flight_reordered().var()))
    if numbers.var() < _HELD_UP * apart:
        return Unseen()
    counts = [math.ceil(share * n / 1000) for share in shares]
    bins = bins_for(n)
    series = binned(
        np.column_stack([_highest(numbers, count) for count in counts]),
        records.scheduled, records.window, bins,
    )  # fmt: skip
    blocks = moving_blocks(series, least_length(records.memory, records.window, bins))
    found = {
        share: dispersion_of(blocks, column, count / n, n)
        for column, (share, count) in enumerate(zip(shares, counts, strict=True))
    }
    top = [one for share, one in found.items() if share <= _TOP] or [found[shares[0]]]
    length = min(n / LEAST_EFFECTIVE, length_of(max(top), _TOP / 2000))
    return Unseen(length, 1 - _CHANCE ** (length / n), found)


def _highest(numbers: Floats, count: int) -> Floats:
    """Return which requests have the most others, minus their share; ties share the rest."""
    least = np.partition(numbers, len(numbers) - count)[len(numbers) - count]
    above, at = numbers > least, numbers == least
    part = (count - int(above.sum())) / int(at.sum())
    found: Floats = above + part * at - count / len(numbers)
    return found
