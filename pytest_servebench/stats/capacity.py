"""The highest rate that keeps a limit, from probes at several rates.

A *limit* allows a share q of the requests to go beyond it: ``p99<50ms`` allows 1 % to take 50 ms or
longer. What each probe saw of a limit is a count of requests beyond it. One curve through all of
them gives the capacity r*, the rate at which the share beyond is q::

    logit s(r) = logit q + z + κ z²,   z = β (r / r* - 1)

For M/M/1 queues the share is exp(-(μ - r) d), log-linear in the rate; elsewhere tails are nearly
exponential (Abate, Choudhury and Whitt 1995, Stochastic Models 11:99), and the curve bends a
little. Once a probe saturated the server, the highest throughput of any probe anchors the curve: at
that rate nearly all requests go beyond the limit, whatever the distributions, which mostly
determines β.

If the machine was slower by the share v, (β + ln(1/q)) v is added to z, r* being that of the median
speed: for M/M/1 queues exactly, as μ is then μ (1 - v), and near saturation for others.

Requests that wait in one queue go beyond a limit together. Counts therefore vary φ times as much as
binomial ones, and the likelihood is divided by φ (Wedderburn 1974, Biometrika 61:439). A probe that
saw nothing has no φ of its own, so φ is pooled over the probes; it grows with the share, about as
its square root on the queues of ``simulation/searches.py``. As φ is an estimate too, the likelihood
is that of Student's t.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from pytest_servebench.stats.bootstrap import Floats
from pytest_servebench.stats.probed import OVERLOADED, Probed, is_saturated, saturation
from pytest_servebench.stats.relaxation import relaxation_of

_EVENTS: Final = 1.0  # independent events (requests beyond / φ) below which a bracket is open
WIDEST: Final = 2.5
"""High / low of a bracket, above which it is open, too."""
_TAIL: Final = 0.025
_DOUBTFUL: Final = 0.0025
"""Tail of an open bracket's ends."""
_CAUTION: Final = 1.5
"""Factor on how far the lower one is from the estimate, as what is seen of rare pauses and bursts
is too little rather than too much; each end is then right with 97.5 % in simulation."""
_SLOW_CAUTION: Final = 2.0  # the same if probes do not settle
_SLOWEST: Final = 3.0  # seconds of relaxation, above which probes do not settle: a bracket is open
_POINTS: Final = 61  # of r* on the grid

# Priors. Those of the slope and the bend hold what exponential, constant, lognormal (c² = 2) and
# four-server queues have, and more.
_SLOPE: Final = 8.0  # the middle of ln β
_SPREAD: Final = 1.2  # its standard deviation: weak
_DEVIATIONS: Final = np.linspace(-2.2, 2.2, 21)
_BEND: Final = 0.03  # κ
_BEND_SPREAD: Final = 0.05
_BENDS: Final = np.linspace(-0.1, 0.2, 5)
_TOP: Final = -0.5  # ln q + z + κ z² where the server is saturated
_TOP_SPREAD: Final = 0.45
_TOP_ABOVE: Final = 1.5
"""The same upwards: a server that works on more requests at once under overload saturates
earlier."""

_GROWTH: Final = 0.55  # φ grows with this power of the odds of going beyond
_PRIOR_DISPERSION: Final = 10.0
_PRIOR_EVENTS: Final = 0.5  # requests beyond: what its prior weighs
_LEAST_DEGREES: Final = 8.0  # of freedom of φ
_UNSEEN: Final = 3.0  # times relaxation over a probe's length: what its blocks cannot see of φ
_STEADY: Final = 2.0  # degrees of freedom by which the scatter between probes is held at 1


@dataclass(frozen=True)
class Bracket:
    """Where the capacity lies.

    Attributes:
        value: the estimate, arrivals per second; ``None`` where there is none.
        low: the lower end; ``None`` if the probes give none.
        high: the upper end; ``None`` likewise.
        closed: whether the probes saw enough for an interval of 95 %. If it is not closed, the ends
            are cautious, and each holds by itself with 97.5 %: there is a lower one above the
            lowest rate that was probed, and an upper one only if the server was saturated.
        needed_seconds: of load that would close it, if it is open and more load helps.
    """

    value: float | None
    low: float | None
    high: float | None
    closed: bool
    needed_seconds: float | None = None


@dataclass(frozen=True)
class Curve:
    """What the probes say about the r* of one limit: a distribution on a grid.

    Attributes:
        rates: candidates of r*, ascending; shape ``(m,)``.
        below: probability that r* is no higher than each; shape ``(m,)``, from 0 to 1.
        slope: β, the most likely.
        events: independent events that the probes near r* saw.
        dispersion: φ at r*, pooled.
        allowed: the share q.
        lowest: rate that was probed.
        saturated: lowest rate that saturated the server; ``None`` if none did.
        relaxation: relaxation time of the queue at r*, seconds; 0 if the server was not saturated.
        counted: share of all arrivals that the limit counts.
        strain: for each probe, the share that went beyond the limit, divided by q.
    """

    rates: Floats
    below: Floats
    slope: float
    events: float
    dispersion: float
    allowed: float
    lowest: float = 0.0
    saturated: float | None = None
    relaxation: float = 0.0
    counted: float = 1.0
    strain: tuple[float, ...] = ()

    def quantile(self, share: float) -> float:
        """Return the rate below which r* lies with a probability."""
        return float(np.exp(np.interp(share, self.below, np.log(self.rates))))

    def cumulative(self, rate: float) -> float:
        """Return the probability that r* lies no higher than a rate."""
        return float(np.interp(rate, self.rates, self.below))

    @property
    def needed(self) -> float:
        """Return the seconds of load near r* that would show enough events.

        The width of an interval shrinks with the square root of their number.
        """
        width = math.log(self.quantile(1 - _TAIL) / self.quantile(_TAIL)) / math.log(WIDEST)
        enough = max(_EVENTS, self.events * width**2)
        missing = max(0.0, enough - self.events)
        return missing * self.dispersion / (self.allowed * self.counted * self.quantile(0.5))


def fit(probes: Sequence[Probed], allowed: float) -> Curve | None:
    """Return what the probes say about the r* of one limit; ``None`` if there are no requests.

    Args:
        probes: at any rates, in any order.
        allowed: the share q of the requests that may go beyond the limit, above 0 and below 0.5.
    """
    some = [one for one in probes if one.arrivals]
    if not some:
        return None
    full = saturation(some)
    rates = [one.rate for one in some]
    rough = _curve(some, allowed, min(rates) / 4, max(rates) * 4, full)
    low, high = (rough.quantile(share) for share in (1e-4, 1 - 1e-4))
    curve = _curve(some, allowed, low / 1.1, high * 1.1, full, rough)
    return replace(
        curve,
        lowest=min(rates),
        saturated=min((one.rate for one in some if is_saturated(one)), default=None),
        relaxation=0.0 if full is None else relaxation_of(curve.quantile(0.5), full),
        counted=sum(one.arrivals for one in some) / sum(one.offered for one in some),
        strain=tuple(one.share / allowed for one in probes),
    )


def _curve(
    probes: Sequence[Probed],
    allowed: float,
    low: float,
    high: float,
    full: float | None,
    before: Curve | None = None,
) -> Curve:
    rates = np.geomspace(low, high, _POINTS)
    n, beyond, at = (
        np.array(values, dtype=np.float64)
        for values in zip(*((one.arrivals, one.beyond, one.rate) for one in probes), strict=True)
    )
    k = np.minimum(beyond, OVERLOADED * n)
    slopes = _SLOPE * np.exp(_SPREAD * _DEVIATIONS)
    prior = -(_DEVIATIONS[:, np.newaxis] ** 2) / 2 - ((_BENDS - _BEND) / _BEND_SPREAD) ** 2 / 2
    start, cap = _logit(allowed), _logit(OVERLOADED)
    drift = np.array([-math.expm1(-one.pace.slower) for one in probes])
    errors = np.array([one.pace.error for one in probes])
    to_top = -math.log(allowed)
    line = start + _curved(slopes, at / rates[:, np.newaxis] - 1, drift, to_top)
    line = np.minimum(line, cap)
    # By the curve, not by each probe's count: a probe that saw few by chance would weigh more.
    growth = np.ones(len(at))
    blurred = np.zeros(len(at))
    if before is not None:
        distance = before.slope * (at / before.quantile(0.5) - 1)
        distance += (before.slope + to_top) * drift
        odds = np.exp(np.minimum(start + distance, cap))
        share = odds / (1 + odds)
        # For counts whose logit has an error (Williams 1982, Applied Statistics 31:144).
        blurred = n * share * (1 - share) * ((before.slope + to_top) * errors) ** 2
        growth = np.exp(_GROWTH * np.clip(distance, -1.5, cap - start))
    dispersion = _pooled(probes, growth)
    if before is not None:
        dispersion *= _scatter(k, n, share, dispersion * growth + blurred)
        if full is not None:
            seconds = sum(one.seconds * one.beyond for one in probes) / max(
                1.0, float(beyond.sum())
            )
            relaxation = relaxation_of(before.quantile(0.5), full)
            dispersion *= 1 + _UNSEEN * min(1.0, relaxation / max(seconds, 1e-9))
    weights = 1 / (dispersion * growth + blurred)
    fitted = line @ (k * weights) - np.log1p(np.exp(line)) @ (n * weights)
    events = float((k * weights)[k < OVERLOADED * n].sum())
    degrees = max(_LEAST_DEGREES, 2 * events)
    total = prior - (degrees + 1) / 2 * np.log1p(2 * (fitted.max() - fitted) / degrees)
    if full is not None:
        top = math.log(allowed) + _curved(slopes, (full / rates - 1)[:, np.newaxis])[..., 0]
        spread = np.where(top > _TOP, _TOP_ABOVE, _TOP_SPREAD)
        total = total - ((top - _TOP) / spread) ** 2 / 2
    density = np.exp(total - total.max())
    slope = float((density.sum(axis=(0, 2)) @ slopes) / density.sum())
    marginal = density.sum(axis=(1, 2))
    below = np.cumsum(marginal)
    below = (below - marginal / 2) / below[-1]
    return Curve(rates, below, slope, events, float(dispersion), allowed)


def _curved(
    slopes: Floats, distance: Floats, drift: Floats | float = 0.0, to_top: float = 0.0
) -> Floats:
    """Return z + κ z², z = β (r / r* - 1), of each r* and probe; ``(m, slopes, bends, n)``.

    Beyond its vertex the parabola is replaced by its extreme value.

    Args:
        slopes: candidates of β.
        distance: r / r* - 1; shape ``(m, n)``.
        drift: by what share the server was slower in each probe; shape ``(n,)``.
        to_top: ln(1/q).
    """
    steep = slopes[:, np.newaxis, np.newaxis]
    z = steep * distance[:, np.newaxis, np.newaxis] + (steep + to_top) * drift
    bends = _BENDS[:, np.newaxis]
    vertex = -0.5 / np.where(bends == 0, 1e-9, bends)
    z = np.where(bends > 0, np.maximum(z, vertex), np.minimum(z, vertex))
    result: Floats = z + bends * np.square(z)
    return result


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


def _pooled(probes: Sequence[Probed], growth: Floats) -> float:
    """Return the pooled φ at r*, each probe weighted by its count; 1 or more."""
    known = [
        (one.beyond, one.dispersion / grown)
        for one, grown in zip(probes, growth.tolist(), strict=True)
        if one.dispersion is not None and one.share < OVERLOADED
    ]
    weight = _PRIOR_EVENTS + sum(k for k, _ in known)
    total = _PRIOR_EVENTS * _PRIOR_DISPERSION + sum(k * phi for k, phi in known)
    return max(1.0, float(total / weight))


def _scatter(k: Floats, n: Floats, share: Floats, dispersion: Floats) -> float:
    """Return by what factor probes differ more than the blocks within them, 1 or more.

    Pearson's statistic over its degrees of freedom, for the probes that the curve fits at all:
    blocks do not show what lasts as long as a probe.
    """
    seen = (k < OVERLOADED * n) & (n * share > 1)
    degrees = int(seen.sum()) - 2
    if degrees < 1:
        return 1.0
    excess = (k - n * share)[seen] ** 2 / (dispersion * n * share * (1 - share))[seen]
    return max(1.0, (math.fsum(excess.tolist()) + _STEADY) / (degrees + _STEADY))


def least(curves: Sequence[Curve]) -> Bracket:
    """Return where the least r* of the limits lies, which is the capacity.

    The limits see the same probes. The ends hold as long as the limits' errors are not negatively
    correlated: the lower end takes them as independent, the upper one as identical. Limits that
    another limit dominates are left out.
    """
    if not curves:
        return Bracket(None, None, None, closed=False)
    curves = [curves[index] for index in rivals(curves)]
    grid = np.unique(np.concatenate([one.rates for one in curves]))
    each = [np.interp(grid, one.rates, one.below, left=0.0, right=1.0) for one in curves]
    below = 1 - np.prod([1 - one for one in each], axis=0)
    low = float(np.interp(_TAIL, below, grid))
    high = min(one.quantile(1 - _TAIL) for one in curves)
    limiting = curves[limiting_curve(curves)]
    value = min(max(limiting.quantile(0.5), low), high)
    slow = limiting.relaxation > _SLOWEST
    if limiting.events >= _EVENTS and high <= WIDEST * low and not slow:
        return Bracket(value, low, high, closed=True)
    away = float(np.interp(_DOUBTFUL, below, grid)) / value
    least_rate = value * min(1.0, away) ** (_SLOW_CAUTION if slow else _CAUTION)
    most = [
        max(one.quantile(1 - _DOUBTFUL), one.saturated)
        for one in curves
        if one.saturated is not None
    ]
    return Bracket(
        value,
        least_rate if least_rate > limiting.lowest else None,
        min(most, default=None),
        closed=False,
        needed_seconds=None if slow else limiting.needed,
    )


def limiting_curve(curves: Sequence[Curve]) -> int:
    """Return the index of the limit that is broken first; all limits have the same probes."""
    return min(rivals(curves), key=lambda index: curves[index].quantile(0.5))


def rivals(curves: Sequence[Curve]) -> list[int]:
    """Return the indexes of the limits that no other limit dominates in all probes."""
    strains = [one.strain for one in curves]
    return [
        index for index, own in enumerate(strains)
        if not any(own != one and np.all(np.less_equal(own, one)) for one in strains)
    ]  # fmt: skip
