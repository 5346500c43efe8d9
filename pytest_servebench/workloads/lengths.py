"""Distributions of numbers of tokens."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Protocol

from pytest_servebench.errors import OptionError

_FORMS: Final = (
    'a number, "uniform:LOW,HIGH", "lognormal:MEAN,CV" or "lognormal:MEAN,CV,MOST" (CV: standard '
    "deviation / mean)"
)
_NORMAL: Final = NormalDist()


class Lengths(Protocol):
    """A distribution of numbers of tokens."""

    def at(self, share: float) -> int:
        """Return the quantile of ``share``, between 0 and 1."""
        ...


@dataclass(frozen=True)
class Constant:
    """Always the same number."""

    tokens: int

    def at(self, share: float) -> int:  # noqa: ARG002 - all quantiles are alike
        """Return it."""
        return self.tokens


@dataclass(frozen=True)
class Uniform:
    """Each whole number from ``low`` to ``high`` is equally likely."""

    low: int
    high: int

    def at(self, share: float) -> int:
        """See :class:`Lengths`."""
        return min(self.low + int(share * (self.high - self.low + 1)), self.high)


@dataclass(frozen=True)
class LogNormal:
    """Many short ones and a few long ones, as users' prompts and answers are.

    Attributes:
        mean: before rounding and ``most``.
        cv: standard deviation / mean.
        most: upper limit.
    """

    mean: float
    cv: float
    most: float = math.inf

    def at(self, share: float) -> int:
        """See :class:`Lengths`."""
        return max(1, round(min(lognormal(share, self.mean, self.cv), self.most)))


def lognormal(share: float, mean: float, cv: float) -> float:
    """Return a quantile of a lognormal distribution; ``cv``: standard deviation / mean.

    The logarithm is normal with variance ln(1 + cv²) and mean ln(mean) minus half of it.
    """
    variance = math.log1p(cv**2)
    # The quantiles at 0 and 1 are infinite.
    normal = _NORMAL.inv_cdf(min(max(share, 1e-12), 1 - 1e-12))
    return mean * math.exp(math.sqrt(variance) * normal - variance / 2)


def lengths(given: int | str | Lengths, where: str) -> Lengths:
    """Return the distribution that a user gave.

    Args:
        given: a number of tokens, or a text such as ``"lognormal:200,1"``.
        where: the argument, for messages.

    Raises:
        OptionError: there is no such distribution.
    """
    if not isinstance(given, (int, str)) and callable(getattr(given, "at", None)):
        return given
    wrong = OptionError(f"{where}={given!r}: give {_FORMS}, of 1 or more.")
    if isinstance(given, bool) or not isinstance(given, (int, str)):
        raise wrong
    if isinstance(given, int) or re.fullmatch(r"\d+", given):
        tokens = int(given)
        if tokens < 1:
            raise wrong
        return Constant(tokens)
    word, _, rest = given.partition(":")
    try:
        numbers = [float(one) for one in rest.split(",")]
    except ValueError:
        raise wrong from None
    if not all(math.isfinite(one) for one in numbers):
        raise wrong
    match word, numbers:
        case "uniform", [low, high] if 1 <= low <= high and low.is_integer() and high.is_integer():
            return Uniform(int(low), int(high))
        case "lognormal", [mean, cv, *most] if (
            mean >= 1 and cv >= 0 and len(most) < 2 and all(one >= 1 for one in most)
        ):
            return LogNormal(mean, cv, *most)
    raise wrong
