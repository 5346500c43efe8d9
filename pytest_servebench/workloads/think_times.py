"""How long users think between the end of an answer and their next request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeGuard

from pytest_servebench.errors import OptionError
from pytest_servebench.workloads.lengths import lognormal

MOST_SECONDS: Final = 1e6
"""Longer ones are probably meant in another unit."""

_FORMS: Final = (
    'seconds, "exponential:MEAN", "uniform:LOW,HIGH", "lognormal:MEAN,CV" or '
    f'"lognormal:MEAN,CV,MOST" (CV: standard deviation / mean), of 0 to {MOST_SECONDS:g} s'
)


class ThinkTimes(Protocol):
    """A distribution of seconds."""

    def at(self, share: float) -> float:
        """Return the quantile of ``share``, from 0 to less than 1."""
        ...


@dataclass(frozen=True)
class Same:
    """Always the same."""

    seconds: float

    def at(self, share: float) -> float:  # noqa: ARG002 - all quantiles are alike
        """Return it."""
        return self.seconds


@dataclass(frozen=True)
class Exponential:
    """Exponential: the next request is equally likely at any moment."""

    mean: float

    def at(self, share: float) -> float:
        """See :class:`ThinkTimes`."""
        return -self.mean * math.log1p(-share)


@dataclass(frozen=True)
class Between:
    """Any time from ``low`` to ``high`` is equally likely."""

    low: float
    high: float

    def at(self, share: float) -> float:
        """See :class:`ThinkTimes`."""
        return self.low + share * (self.high - self.low)


@dataclass(frozen=True)
class LogNormal:
    """Many short ones and a few long ones; see :class:`.lengths.LogNormal`."""

    mean: float
    cv: float
    most: float = MOST_SECONDS

    def at(self, share: float) -> float:
        """See :class:`ThinkTimes`."""
        return min(lognormal(share, self.mean, self.cv), self.most)


def is_think_time(given: object) -> TypeGuard[float]:
    """Return whether something is a valid think time in seconds."""
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        return False
    return 0 <= given <= MOST_SECONDS


def think_times(given: Any, where: str) -> ThinkTimes:
    """Return the distribution that a user gave.

    Args:
        given: seconds, a text such as ``"exponential:5"``, or something with a method ``at``.
        where: the argument, for messages.

    Raises:
        OptionError: there is no such distribution.
    """
    if not isinstance(given, str) and callable(getattr(given, "at", None)):
        distribution: ThinkTimes = given
        return distribution
    wrong = OptionError(f"{where}={given!r}: give {_FORMS}.")
    if is_think_time(given):
        return Same(float(given))
    if not isinstance(given, str):
        raise wrong
    word, _, rest = given.rpartition(":")
    try:
        numbers = [float(one) for one in rest.split(",")]
    except ValueError:
        raise wrong from None
    if not all(map(is_think_time, numbers)):
        raise wrong
    match word, numbers:
        case "", [seconds]:
            return Same(seconds)
        case "exponential", [mean]:
            return Exponential(mean)
        case "uniform", [low, high] if low <= high:
            return Between(low, high)
        case "lognormal", [mean, cv, *most] if len(most) < 2:
            return LogNormal(mean, cv, *most)
    raise wrong


def drawn(times: ThinkTimes, share: float, where: str) -> float:
    """Return a quantile of a distribution, which may be a user's.

    Raises:
        OptionError: it is not a think time.
    """
    found = times.at(share)
    if not is_think_time(found):
        raise OptionError(
            f"{where}: at({share:.3g}) is {found!r}: give seconds, 0 to {MOST_SECONDS:g}."
        )
    return float(found)
