"""Axes of charts: from values to places, with few and round ticks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from pytest_servebench.report.plot_scales import logarithmic_rates, nice_ticks
from pytest_servebench.text.numbers import plain

Floats = npt.NDArray[np.float64]

_SMALLEST_SPAN: Final = 5.0  # of a logarithmic axis: less would make noise look like a difference
_FEW: Final = 8  # rates of which some have no tick rather than that round numbers replace them
_PERCENTILES: Final = ((0.5, "p50"), (0.1, "p90"), (0.01, "p99"), (1e-3, "p99.9"),
                       (1e-4, "p99.99"), (1e-5, "p99.999"))  # fmt: skip


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
        """Return where values are, 0 at the start and 1 at the end; what is beyond is put there."""
        known = np.asarray(values, dtype=np.float64)
        first, last = self.first, self.last
        if self.logarithmic:
            smallest = min(first, last)
            known = np.log(np.maximum(known, smallest))
            first, last = math.log(first), math.log(last)
        result: Floats = np.clip((known - first) / (last - first), 0.0, 1.0)
        return result

    def holds(self, value: float) -> bool:
        """Tell whether a value is on the axis."""
        return min(self.first, self.last) <= value <= max(self.first, self.last)


def grouped(text: str) -> str:
    """Return a number's text with narrow spaces between its thousands, from five digits on."""
    return re.sub(
        r"(?<![\d.])\d{5,}", lambda found: f"{int(found[0]):,}".replace(",", "\u202f"), text
    )


def linear(low: float, high: float, most: int = 5, *, whole: bool = False) -> Axis:
    """Return an axis from ``low`` to ``high`` with about ``most`` ticks, ``whole`` numbers only."""
    found = MaxNLocator(most, steps=[1, 2, 5, 10], integer=whole).tick_values(low, high)
    slack = 1e-9 * (high - low)
    ticks = [float(tick) for tick in found if low - slack <= tick <= high + slack]
    return Axis(low, high, tuple((tick, _round_text(tick, high - low)) for tick in ticks))


def from_zero(values: Iterable[float], least: float = 0.0, *, whole: bool = False) -> Axis:
    """Return a linear axis from zero to above the highest of ``values``."""
    highest = max((value for value in values if math.isfinite(value)), default=0.0)
    return linear(0.0, 1.08 * max(highest, least) or 1.0, whole=whole)


def logarithmic(values: Iterable[float], fallback: tuple[float, float] = (1.0, 1000.0)) -> Axis:
    """Return a logarithmic axis around the positive ones of ``values``."""
    known = [value for value in values if 0 < value < math.inf]
    low, high = (min(known), max(known)) if known else fallback
    span = max(high / low, 1.0)
    extra = math.sqrt(_SMALLEST_SPAN / span) if span < _SMALLEST_SPAN else 1.0
    low, high = low / extra / 1.15, high * extra * 1.2
    ticks = nice_ticks(low, high)
    while len(ticks) > 6:
        ticks = ticks[::-2][::-1]
    return Axis(low, high, tuple((tick, grouped(plain(tick))) for tick in ticks), logarithmic=True)


def percents(lowest: float) -> Axis:
    """Return an axis that ends at 100 % and begins at a round number below ``lowest``."""
    floor = 90.0 if lowest >= 92 else max(0.0, 10 * math.floor((lowest - 2) / 10))
    axis = linear(floor, 100.0)
    return Axis(floor, 100 + 0.06 * (100 - floor), axis.ticks)


def rates(known: Iterable[float], most: int = 7) -> Axis:
    """Return an axis for offered rates: those themselves are ticks, of many the round numbers."""
    values = sorted(set(known))
    low, high = values[0], values[-1]
    is_log = logarithmic_rates(values)
    if is_log:
        edge = (high / low) ** 0.08
        first, last = low / edge, high * edge
    else:
        edge = 0.1 * (high - low) or 0.5 * high or 0.5
        first, last = low - edge, high + edge
    bare = Axis(first, last, (), logarithmic=is_log)
    places = bare.place(values)
    kept: list[int] = []
    for index in range(len(values) - 1, -1, -1):
        if not kept or places[kept[-1]] - places[index] >= 1 / most:
            kept.append(index)
    shown = [values[index] for index in reversed(kept)]
    if is_log and len(shown) < len(values) > _FEW:
        shown = nice_ticks(first, last)
    return Axis(first, last, tuple((one, grouped(plain(one))) for one in shown), logarithmic=is_log)


def slower(number: int) -> Axis:
    """Return an axis for the share of ``number`` requests that are slower, from all to one."""
    smallest = 0.5 / max(number, 10)
    ticks = [(share, text) for share, text in _PERCENTILES if share >= smallest]
    return Axis(1.0, smallest, ((1.0, "0"), *ticks), logarithmic=True)


def _round_text(value: float, span: float) -> str:
    text = plain(round(value, max(0, 3 - math.floor(math.log10(span)))) if span > 0 else value)
    return "0" if text == "-0" else grouped(text)
