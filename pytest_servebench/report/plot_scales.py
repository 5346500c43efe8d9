"""Scales and ticks that suit the numbers, with few and readable labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from pytest_servebench.text.numbers import plain

_STEPS: Final = (
    (1.0,),
    (1.0, 3.0),
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0),
    tuple(1.0 + 0.2 * step for step in range(45)),
)
_LOG_FROM: Final = 15.0  # highest rate / lowest, beyond which the low ones would lie on each other
_SMALLEST_SPAN: Final = 5.0  # of a logarithmic axis: less would make noise look like a difference
_FEW: Final = 8  # rates of which some have no tick rather than that round numbers replace them
_MARGIN: Final = 0.065  # of the width: beside the lowest and the highest rate, at least
_CHARACTER: Final = 0.085  # inches that a character of a tick's label takes, with its share of air


def logarithmic_rates(rates: Sequence[float]) -> bool:
    """Tell whether the rates span so much that they need a logarithmic axis."""
    return len(set(rates)) > 2 and max(rates) / min(rates) >= _LOG_FROM


def closest(rates: Iterable[float], width: float) -> float:
    """Return how far apart the closest rates are, in inches, on an axis ``width`` inches wide."""
    known = sorted(set(rates))
    if len(known) < 2:
        return width
    place = math.log if logarithmic_rates(known) else float
    gaps = [place(b) - place(a) for a, b in itertools.pairwise(known)]
    return 0.86 * width * min(gaps) / (place(known[-1]) - place(known[0]))


def scale_rates(ax: Axes, rates: Iterable[float], width: float, room: float = 0.0) -> None:
    """Give the x axis the rates as its ticks, or where they are too many, round numbers.

    Args:
        ax: the axes.
        rates: requests/s, at least one.
        width: of the axes in inches.
        room: inches that curves need on either side of a rate.
    """
    known = sorted(set(rates))
    low, high = known[0], known[-1]
    logarithmic = logarithmic_rates(known)
    margin = min(max(_MARGIN * width, room), 0.4 * width)
    share = margin / (width - 2 * margin)  # of what the rates themselves take
    if logarithmic:
        ax.set_xscale("log")
        edge = (high / low) ** share
        limits = low / edge, high * edge
    else:
        edge = share * (high - low) or 0.5 * high
        limits = low - edge, high + edge
    ax.set_xlim(limits)
    position = math.log if logarithmic else float
    inches = width / (position(limits[1]) - position(limits[0]))
    # From the highest down: the ends of the range matter most, and the lowest is kept as well.
    kept = [high]
    for rate in [*reversed(known[1:-1]), low] if low < high else []:
        room = inches * (position(kept[-1]) - position(rate))
        needed = _CHARACTER * (len(plain(rate)) + len(plain(kept[-1]))) / 2 + 0.06
        if room >= needed:
            kept.append(rate)
    if len(kept) == len(known) or len(known) <= _FEW:
        _set_ticks(ax.xaxis, kept[::-1])
    elif logarithmic:
        _set_ticks(ax.xaxis, nice_ticks(*limits))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.set_xlabel("offered rate, requests/s" + (" (log scale)" if logarithmic else ""))


def scale_logarithmic(ax: Axes, values: Iterable[float], fallback: tuple[float, float]) -> None:
    """Make the y axis logarithmic around positive ``values``, with four to ten labelled ticks."""
    known = [value for value in values if 0 < value < math.inf]
    low, high = (min(known), max(known)) if known else fallback
    span = max(high / low, 1.0)
    extra = math.sqrt(_SMALLEST_SPAN / span) if span < _SMALLEST_SPAN else 1.0
    # More room above: that is where what has no number is drawn.
    low, high = low / extra / 1.15, high * extra * 1.6
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    _set_ticks(ax.yaxis, nice_ticks(low, high))


def nice_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two limits of a logarithmic axis."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks: list[float] = []
    for steps in _STEPS:
        ticks = [
            round(step * 10.0**power, 12 - power)
            for power in range(first, last + 1)
            for step in steps
            if low <= step * 10.0**power <= high and step < 10
        ]
        if len(ticks) >= 4:
            break
    every = math.ceil(len(ticks) / 10)
    return ticks[::every]


def scale_linear(ax: Axes, values: Iterable[float]) -> None:
    """Let the y axis begin at zero and end above the highest of ``values``."""
    highest = max((value for value in values if math.isfinite(value)), default=0.0)
    ax.set_ylim(0, 1.12 * highest or 1.0)
    ax.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))


def scale_percent(ax: Axes, lowest: float) -> None:
    """Let the y axis end at 100 % and begin at a round number below ``lowest``."""
    floor = 90.0 if lowest >= 92 else max(0.0, 10 * math.floor((lowest - 2) / 10))
    ax.set_ylim(floor, 100 + 0.06 * (100 - floor))
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))


def _set_ticks(axis: object, values: Sequence[float]) -> None:
    axis.set_major_locator(FixedLocator(values))  # type: ignore[attr-defined]
    axis.set_major_formatter(FixedFormatter([plain(v) for v in values]))  # type: ignore[attr-defined]
    axis.set_minor_locator(NullLocator())  # type: ignore[attr-defined]
