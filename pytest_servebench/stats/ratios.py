"""By how much a figure changed between two runs, with an interval.

Each side brings a value with its 95 % interval; the interval of the difference is made from these
by MOVER, the method of variance estimates recovery (Donner and Zou 2012, Statistical Methods in
Medical Research 21:347): with distances d from each value to the ends of its interval,

    low  = (new - base) - sqrt(d_low(new)^2 + d_high(base)^2)
    high = (new - base) + sqrt(d_high(new)^2 + d_low(base)^2)

which keeps intervals that are longer on one side as they are. On logarithms it gives an interval of
the ratio; for two shares with Wilson's intervals it is Newcombe's (1998, Statistics in Medicine
17:873, method 10).

If both sides were repeated, variation between runs is visible too. Welch's t (1947, Biometrika
34:28) gives an interval from the runs' values alone, and the wider of both is used.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import variance

from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.stats.intervals import wilson_interval
from pytest_servebench.stats.student import NORMAL, Z, student_quantile


@dataclass(frozen=True)
class Range:
    """A value and an interval around it; values may be infinite, and NaN stands for unknown."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, estimate: Estimate) -> "Range":
        """Return an estimate's range, in which ``None`` is infinite."""
        ends = (estimate.value, estimate.low, estimate.high)
        return cls(*(math.inf if one is None else one for one in ends))

    @property
    def open(self) -> bool:
        """Return whether a finite value has no upper limit, for want of requests."""
        return math.isfinite(self.value) and math.isinf(self.high)

    def through(self, function: Callable[[float], float]) -> "Range":
        """Return value and ends through a rising function."""
        return Range(function(self.value), function(self.low), function(self.high))


@dataclass(frozen=True)
class Sample:
    """What one run says of one metric.

    Attributes:
        range: the value with its 95 % interval.
        share: whether it is a share of requests, with Wilson's interval.
        sampled: whether the interval is one of sampling, which grows with the level; otherwise it
            is a convention.
    """

    range: Range
    share: bool = False
    sampled: bool = True

    def at(self, z: float) -> Range:
        """Return the interval of another level, from normal quantile 1.96 to ``z``.

        Wilson's interval at another level is that of another number of requests; any other is
        scaled on logarithms.
        """
        if not self.sampled:
            return self.range
        if self.share:
            return _wilson_at(self.range, z)
        return _scaled(self.range, z / Z)


def log(value: float) -> float:
    """Return the natural logarithm; that of 0 is minus infinity, and that of NaN NaN."""
    return -math.inf if value <= 0 else math.log(value)


def exp(value: float) -> float:
    """Return e to the power of a value, infinite where it is too large; of NaN NaN."""
    return math.inf if value >= 700 else math.exp(value)


def ratio(
    base: Sequence[Sample], new: Sequence[Sample], tail: float, caution: float = 1.0
) -> Range:
    """Return new / base with its interval.

    Args:
        base: a sample for each run, one at least.
        new: the same.
        tail: probability of the truth outside of the interval, such as 0.05.
        caution: additional factor by which MOVER's interval is widened.
    """
    return _change(base, new, tail, caution, log).through(exp)


def difference(
    base: Sequence[Sample], new: Sequence[Sample], tail: float, caution: float = 1.0
) -> Range:
    """Return new - base with its interval; arguments as for :func:`ratio`."""
    return _change(base, new, tail, caution, lambda value: value)


def geometric_mean(values: Sequence[float]) -> float:
    """Return the value that has the mean logarithm."""
    return exp(arithmetic_mean([log(value) for value in values]))


def arithmetic_mean(values: Sequence[float]) -> float:
    """Return the mean, also of infinities; NaN for those of both signs."""
    return sum(values) / len(values)


def _change(
    base: Sequence[Sample],
    new: Sequence[Sample],
    tail: float,
    caution: float,
    scale: Callable[[float], float],
) -> Range:
    z = NORMAL.inv_cdf(1 - tail / 2)
    sides = [[one.at(z * caution).through(scale) for one in side] for side in (base, new)]
    found = mover(_together(sides[0]), _together(sides[1]))
    values = [[one.value for one in side] for side in sides]
    return between_runs(found, values[0], values[1], tail)


def between_runs(found: Range, base: Sequence[float], new: Sequence[float], tail: float) -> Range:
    """Return the interval of a difference, or that of Welch where this is wider.

    Args:
        found: the difference, from within the runs.
        base: a value for each run.
        new: the same.
        tail: probability of the truth outside of it.
    """
    if min(len(base), len(new)) < 2 or not all(map(math.isfinite, (*base, *new))):
        return found
    half = welch(base, new, tail)
    # No limit at all: each run had too few requests, and says nothing about the spread.
    low = half if math.isinf(found.low) else max(half, found.value - found.low)
    high = half if math.isinf(found.high) else max(half, found.high - found.value)
    return Range(found.value, found.value - low, found.value + high)


def mover(base: Range, new: Range) -> Range:
    """Return new - base with its interval; see the module.

    If a value is infinite there are no distances. Then the difference only lies between those of
    the far ends of both intervals.
    """
    value = new.value - base.value
    if not (math.isfinite(base.value) and math.isfinite(new.value)):
        low, high = new.low - base.high, new.high - base.low
        return Range(
            value, -math.inf if math.isnan(low) else low, math.inf if math.isnan(high) else high
        )
    return Range(
        value,
        value - math.hypot(new.value - new.low, base.high - base.value),
        value + math.hypot(new.high - new.value, base.value - base.low),
    )


def welch(base: Sequence[float], new: Sequence[float], tail: float) -> float:
    """Return half the width of Welch's interval of a difference of means; two values a side."""
    parts = [variance(side) / len(side) for side in (base, new)]
    total = sum(parts)
    if total == 0:
        return 0.0
    degrees = total**2 / sum(
        part**2 / (len(side) - 1) for part, side in zip(parts, (base, new), strict=True)
    )
    return student_quantile(tail, degrees) * math.sqrt(total)


def _together(ranges: Sequence[Range]) -> Range:
    n = len(ranges)
    value = arithmetic_mean([one.value for one in ranges])
    if not math.isfinite(value):
        return Range(
            value,
            arithmetic_mean([r.low for r in ranges]),
            arithmetic_mean([r.high for r in ranges]),
        )
    return Range(
        value,
        value - math.hypot(*(one.value - one.low for one in ranges)) / n,
        value + math.hypot(*(one.high - one.value for one in ranges)) / n,
    )


def _scaled(one: Range, factor: float) -> Range:
    """Return the range with its distances on logarithms made longer."""
    value, low, high = log(one.value), log(one.low), log(one.high)
    if not math.isfinite(value):
        return one
    return Range(
        one.value, exp(value - factor * (value - low)), exp(value + factor * (high - value))
    )


def _wilson_at(one: Range, z: float) -> Range:
    """Return Wilson's interval of another level, from that of 95 %.

    Its half width h solves h^2 (1 + w)^2 = p (1 - p) w + w^2 / 4 with w = z^2 / n: the square
    equation gives w, and with it n.
    """
    half = (one.high - one.low) / 2
    if not 0 < half < 0.5:
        return one
    a, b, c = half**2 - 0.25, 2 * half**2 - one.value * (1 - one.value), half**2
    weight = (-b - math.sqrt(max(0.0, b * b - 4 * a * c))) / (2 * a)
    return Range.of(wilson_interval(one.value, Z**2 / weight * (Z / z) ** 2))
