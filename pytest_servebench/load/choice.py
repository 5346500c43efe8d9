"""Which of a load's requests each arrival takes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Real
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import OptionError

Chosen = npt.NDArray[np.uint32]
"""For each arrival the index of its request; shape ``(n,)``."""


class Choice(Protocol):
    """How each arrival's request is chosen: frozen plain data."""

    def draw(self, arrivals: int, requests: int, generator: np.random.Generator) -> Chosen:
        """Return for each of ``arrivals`` one of ``requests``, numbered from 0."""
        ...


@dataclass(frozen=True)
class AtRandom:
    """All requests are equally likely."""

    def draw(self, arrivals: int, requests: int, generator: np.random.Generator) -> Chosen:
        """Return independent draws."""
        return generator.integers(0, requests, arrivals, dtype=np.uint32)


@dataclass(frozen=True)
class InOrder:
    """One request after the other, starting over after the last."""

    def draw(self, arrivals: int, requests: int, generator: np.random.Generator) -> Chosen:  # noqa: ARG002
        """Return the order; ``generator`` is not used."""
        return (np.arange(arrivals) % requests).astype(np.uint32)


@dataclass(frozen=True)
class Weighted:
    """Some requests are more likely than others.

    Attributes:
        weights: of each request, positive; only their ratios count.
    """

    weights: tuple[float, ...] = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse invalid weights, which would silently change the mix."""
        for number, weight in enumerate(self.weights):
            checked_weight(weight, f"Weighted: weights[{number}]", "the request")

    def draw(self, arrivals: int, requests: int, generator: np.random.Generator) -> Chosen:
        """Return independent draws, from the inverse of the distribution function."""
        ends = np.cumsum(np.asarray(self.weights, dtype=np.float64))
        drawn = np.searchsorted(ends, generator.random(arrivals) * ends[-1], side="right")
        # Rounding may carry a draw to the last end.
        chosen: Chosen = np.minimum(drawn, requests - 1).astype(np.uint32)
        return chosen


def checked_weight(weight: object, where: str, of: str) -> float:
    """Return a weight as a number.

    Args:
        weight: what a user gave.
        where: how messages name it.
        of: what has the weight, for messages.

    Raises:
        OptionError: it is not a positive number.
    """
    if isinstance(weight, bool) or not isinstance(weight, Real) or not 0 < float(weight) < math.inf:
        raise OptionError(f"{where} is {weight!r}: give a positive number, or leave {of} out.")
    return float(weight)
