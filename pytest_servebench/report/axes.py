"""Axes of charts: from values to places, with few and round ticks. Page and plots share them."""

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.report.ticks import linear_ticks, logarithmic_ticks
from pytest_servebench.text.numbers import plain

Floats = npt.NDArray[np.float64]

MARGIN: Final = 0.065
"""Least share of an axis left free at the lowest and the highest rate."""
LETTER: Final = 0.021
"""Share of the page's horizontal axis that a digit takes."""

PERCENTILE: Final = "requests at most this slow, %"
"""What the axis of :func:`slower` is."""

_SMALLEST_SPAN: Final = 5.0  # of a logarithmic axis: less would make noise look like a difference
_MOST_TICKS: Final = 8
_FEW: Final = 8  # up to so many rates, some lose their tick; beyond, round numbers replace them
_LOG_FROM: Final = 15.0  # highest rate / lowest, beyond which the low ones would overlap
_PERCENTILES: Final = ((1.0, "0"), (0.5, "50"), (0.1, "90"), (0.01, "99"), (1e-3, "99.9"),
                       (1e-4, "99.99"), (1e-5, "99.999"))  # fmt: skip


@dataclass(frozen=True)
class Axis:
    """From values to shares of the axis' length.

    Attributes:
        first: value at its start.
        last: value at its end; smaller than ``first`` where the axis runs backwards.
        ticks: value and label.
        logarithmic: whether equal ratios have equal lengths.
    """

    first: float
    last: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def place(self, values: Sequence[float] | Floats) -> Floats:
        """Return the positions of values, 0 at the start and 1 at the end, clipped to these."""
        numbers = np.asarray(values, dtype=np.float64)
        first, last = self.first, self.last
        if self.logarithmic:
            numbers = np.log(np.maximum(numbers, min(first, last)))
            first, last = math.log(first), math.log(last)
        result: Floats = np.clip((numbers - first) / (last - first), 0.0, 1.0)
        return result

    def at(self, value: float, length: int) -> int:
        """Return the place of a value on a drawing of this length."""
        return round(float(self.place([value])[0]) * length)

    def holds(self, value: float) -> bool:
        """Return whether a value is on the axis."""
        return min(self.first, self.last) <= value <= max(self.first, self.last)

    def closest(self, values: Iterable[float]) -> float:
        """Return how far apart the closest values are, as a share of the axis' length."""
        places = self.place(sorted(set(values))).tolist()
        return min((b - a for a, b in itertools.pairwise(places)), default=1.0)

    def labelled(self, text: str) -> str:
        """Return the axis' label, which says if it is logarithmic."""
        return f"{text} (log scale)" if self.logarithmic else text


def grouped(text: str) -> str:
    """Return a number's text with narrow spaces between its thousands, from five digits on."""
    return re.sub(
        r"(?<![\d.])\d{5,}", lambda digits: f"{int(digits[0]):,}".replace(",", "\u202f"), text
    )


def _numbered(ticks: Iterable[float]) -> tuple[tuple[float, str], ...]:
    return tuple((tick, grouped(plain(tick))) for tick in ticks)


def linear(low: float, high: float, most: int = 6, *, whole: bool = False) -> Axis:
    """Return an axis from ``low`` to ``high`` with up to ``most`` steps, ``whole`` ones only."""
    return Axis(low, high, _numbered(linear_ticks(low, high, most, whole=whole)))


def from_zero(values: Iterable[float], least: float = 0.0, *, whole: bool = False) -> Axis:
    """Return a linear axis from zero to above the highest of ``values``.

    Without a finite value, it has no ticks: numbers would say where infinite values are.
    """
    highest = max((value for value in values if math.isfinite(value)), default=None)
    if highest is None and not least:
        return Axis(0.0, 1.0, ())
    highest = highest or 0.0
    return linear(0.0, 1.1 * max(highest, least) or 1.0, whole=whole)


def logarithmic(values: Iterable[float]) -> Axis:
    """Return a logarithmic axis around the positive ones of ``values``.

    Without a finite value, it has no ticks: numbers would say where infinite values are.
    """
    positive = [value for value in values if 0 < value < math.inf]
    if not positive:
        return Axis(1.0, _SMALLEST_SPAN, (), logarithmic=True)
    low, high = min(positive), max(positive)
    span = max(high / low, 1.0)
    extra = math.sqrt(_SMALLEST_SPAN / span) if span < _SMALLEST_SPAN else 1.0
    # More room above, where infinite values are drawn.
    low, high = low / extra / 1.15, high * extra * 1.4
    return Axis(low, high, _numbered(logarithmic_ticks(low, high, _MOST_TICKS)), logarithmic=True)


def percents(lowest: float) -> Axis:
    """Return an axis that ends at 100 % and begins at a round number below ``lowest``."""
    floor = 90.0 if lowest >= 92 else max(0.0, 10 * math.floor((lowest - 2) / 10))
    return Axis(floor, 100 + 0.06 * (100 - floor), linear(floor, 100.0, whole=True).ticks)


def rates(offered: Iterable[float], margin: float = MARGIN, letter: float = LETTER) -> Axis:
    """Return an axis for offered rates: the rates are the ticks, or round numbers if too many.

    Args:
        offered: requests/s, at least one.
        margin: share of the axis left free at the lowest and the highest rate.
        letter: share of the axis that a digit of a label takes.
    """
    values = sorted(set(offered))
    low, high = values[0], values[-1]
    is_log = len(values) > 2 and high / low >= _LOG_FROM
    beside = margin / (1 - 2 * margin)  # as a share of the part that the rates themselves take
    if is_log:
        edge = (high / low) ** beside
        first, last = low / edge, high * edge
    else:
        edge = beside * (high - low) or 0.5 * high or 0.5
        first, last = low - edge, high + edge
    bare = Axis(first, last, (), logarithmic=is_log)
    places = dict(zip(values, bare.place(values).tolist(), strict=True))
    # From the highest down: the ends of the range matter most.
    shown = [high]
    for rate in values[-2::-1]:
        needed = letter * ((len(plain(rate)) + len(plain(shown[-1]))) / 2 + 0.7)
        if places[shown[-1]] - places[rate] >= needed:
            shown.append(rate)
    if len(shown) < len(values) > _FEW:
        shown = logarithmic_ticks(first, last) if is_log else linear_ticks(first, last, 6)
    return Axis(first, last, _numbered(sorted(shown)), logarithmic=is_log)


def slower(number: int) -> Axis:
    """Return an axis for the share of ``number`` requests that are slower, from all to one."""
    smallest = 0.4 / max(number, 10)
    ticks = tuple((share, text) for share, text in _PERCENTILES if share >= smallest)
    return Axis(1.0, smallest, ticks, logarithmic=True)
