"""The highest rate that keeps a limit, from probes at several rates.

A *limit* allows a share q of the requests to go beyond it: ``p99<50ms`` allows 1 % to take 50 ms or
longer. What each probe saw of a limit is a count of requests beyond it. One curve through all of
them, logit s(r) = logit q + β (r / r* - 1), gives the capacity r*: the rate at which the share
beyond is q. For M/M/1 queues the share is exp(-(μ - r) d), log-linear in the rate; elsewhere tails
are nearly exponential (Abate, Choudhury and Whitt 1995, Stochastic Models 11:99), and near r*
the curve is close to a line.

Requests that wait in one queue go beyond a limit together. Counts therefore vary φ times as much as
binomial ones, and the likelihood is divided by φ (Wedderburn 1974, Biometrika 61:439). A probe that
saw nothing has no φ of its own, so that φ is pooled over the probes near r*.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import Records
from pytest_servebench.stats.bootstrap import Floats, binned, moving_blocks

OVERLOADED: Final = 0.2
"""Share beyond a limit from which on a queue may grow all the time: how far depends on the probe's
length, so that all that such a probe shows is that its rate is too high."""

_EVENTS: Final = 10.0  # independent events (requests beyond / φ) below which a bracket is open
_NEAR: Final = 1.7  # as a factor of r*: probes farther away say little of the line at r*
_TAIL: Final = 0.025
_BINS: Final = 1000
_SPREAD: Final = 0.8  # of ln β in its prior, around ln 8: weak
_SLOPE: Final = 8.0


@dataclass(frozen=True)
class Probed:
    """What one limit saw in one probe.

    Attributes:
        rate: arrivals per second that were asked for.
        seconds: of load that count, without those of settling.
        arrivals: in these seconds.
        beyond: how many of the arrivals went beyond the limit.
        dispersion: variance of ``beyond`` over that of as many independent requests; ``None`` where
            none or all went beyond.
    """

    rate: float
    seconds: float
    arrivals: int
    beyond: int
    dispersion: float | None

    @property
    def share(self) -> float:
        """Return the share of the arrivals that went beyond the limit, 0 without any."""
        return self.beyond / self.arrivals if self.arrivals else 0.0


@dataclass(frozen=True)
class Bracket:
    """Where the capacity lies with 95 % confidence.

    Attributes:
        value: the estimate, arrivals per second; ``None`` where there is none.
        low: the lower end; ``None`` if the probes give none.
        high: the upper end; ``None`` likewise.
        closed: whether the probes saw enough for an interval. The ends of one that is not closed
            are not to be relied on.
        needed_seconds: of load that would close it, if it is not closed and that can be told.
    """

    value: float | None
    low: float | None
    high: float | None
    closed: bool
    needed_seconds: float | None = None


def probed(
    records: Records, beyond: npt.NDArray[np.bool_], rate: float, settle: float = 0.0
) -> Probed:
    """Return what a limit saw in a probe, from its records.

    Args:
        records: of the probe.
        beyond: which requests went beyond the limit; shape ``(n,)``.
        rate: arrivals per second that were asked for.
        settle: seconds at the start that do not count.
    """
    start = min(int(settle * 1e9), records.window)
    counted = records.scheduled >= start
    arrived, exceeded = records.scheduled[counted] - start, beyond[counted]
    window = records.window - start
    n, k = len(arrived), int(exceeded.sum())
    dispersion = None
    if 0 < k < n:
        centred = exceeded[:, np.newaxis].astype(np.float64) - k / n
        bins = min(max(n, 4), _BINS)
        variance = float(moving_blocks(binned(centred, arrived, window, bins)).variances[0])
        dispersion = variance / (n * (k / n) * (1 - k / n))
    return Probed(rate, window / 1e9, n, k, dispersion)


@dataclass(frozen=True)
class Curve:
    """What the probes of one limit say about its r*: a distribution on a grid.

    Attributes:
        rates: candidates of r*, ascending; shape ``(m,)``.
        below: probability that r* is no higher than each; shape ``(m,)``, from 0 to 1.
        events: independent events that the probes near r* saw.
        dispersion: φ, pooled.
        allowed: the share q.
    """

    rates: Floats
    below: Floats
    events: float
    dispersion: float
    allowed: float

    def quantile(self, share: float) -> float:
        """Return the rate below which r* lies with a probability."""
        return float(np.interp(share, self.below, self.rates))

    def cumulative(self, rate: float) -> float:
        """Return the probability that r* lies no higher than a rate."""
        return float(np.interp(rate, self.rates, self.below))

    @property
    def needed(self) -> float:
        """Return the seconds of load near r* that would show enough events."""
        missing = max(0.0, _EVENTS - self.events)
        return missing * self.dispersion / (self.allowed * self.quantile(0.5))


def fit(probes: Sequence[Probed], allowed: float) -> Curve | None:
    """Return what the probes of one limit say about its r*; ``None`` if there are no requests.

    Args:
        probes: at any rates, in any order.
        allowed: the share q of the requests that may go beyond the limit, above 0 and below 0.5.
    """
    some = [one for one in probes if one.arrivals]
    if not some:
        return None
    all_rates = [one.rate for one in some]
    rates = np.geomspace(min(all_rates) / 4, max(all_rates) * 4, 481)
    rough = _curve(some, allowed, rates)
    middle = rough.quantile(0.5)
    near = [one for one in some if middle / _NEAR <= one.rate <= middle * _NEAR]
    return _curve(near, allowed, rates) if near else rough


def _curve(probes: Sequence[Probed], allowed: float, rates: Floats) -> Curve:
    dispersion = _pooled(probes)
    n, beyond, at = (
        np.array(values, dtype=np.float64)
        for values in zip(*((one.arrivals, one.beyond, one.rate) for one in probes), strict=True)
    )
    k = np.minimum(beyond, OVERLOADED * n)
    slopes = np.geomspace(1.0, 64.0, 43)
    prior = -((np.log(slopes / _SLOPE) / _SPREAD) ** 2) / 2
    steepness = slopes[:, np.newaxis, np.newaxis]
    line = math.log(allowed / (1 - allowed)) + steepness * (at / rates[:, np.newaxis] - 1)
    line = np.minimum(line, math.log(OVERLOADED / (1 - OVERLOADED)))
    fitted = k * line - n * np.log1p(np.exp(line))
    likelihood = fitted.sum(axis=-1) / dispersion  # (slopes, rates)
    total = likelihood + prior[:, np.newaxis]
    density = np.exp(total - total.max()).sum(axis=0)
    below = np.cumsum(density)
    below = (below - density / 2) / below[-1]
    return Curve(rates, below, float(k[k < OVERLOADED * n].sum()) / dispersion, dispersion, allowed)


def _pooled(probes: Sequence[Probed]) -> float:
    """Return φ of all probes together, each weighted by what it saw; 1 or more."""
    known = [
        (one.beyond, one.dispersion)
        for one in probes
        if one.dispersion is not None and one.share < OVERLOADED
    ]
    weight = sum(k for k, _ in known)
    return max(1.0, sum(k * phi for k, phi in known) / weight) if weight else 1.0


def least(curves: Sequence[Curve]) -> Bracket:
    """Return where the least of the limits' r* lies, which is the capacity.

    The limits see the same probes. The ends are right however their errors go together as long as
    they do not go apart: the lower one takes them as independent, the upper one as one.
    """
    if not curves:
        return Bracket(None, None, None, closed=False)
    grid = np.unique(np.concatenate([one.rates for one in curves]))
    each = [np.interp(grid, one.rates, one.below, left=0.0, right=1.0) for one in curves]
    below = 1 - np.prod([1 - one for one in each], axis=0)
    low = float(np.interp(_TAIL, below, grid))
    high = min(one.quantile(1 - _TAIL) for one in curves)
    limiting = curves[limiting_curve(curves)]
    value = min(max(limiting.quantile(0.5), low), high)
    closed = limiting.events >= _EVENTS
    return Bracket(value, low, high, closed, None if closed else limiting.needed)


def limiting_curve(curves: Sequence[Curve]) -> int:
    """Return the index of the limit with the least r*."""
    return min(range(len(curves)), key=lambda index: curves[index].quantile(0.5))
