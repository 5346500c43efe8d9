"""Round numbers for axes, few enough to read."""

import math
from typing import Final

_LOGARITHMIC: Final = (
    (1.0,),
    (1.0, 3.0),
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0),
    tuple(1.0 + 0.2 * step for step in range(45)),
)
_FEWEST: Final = 4


def linear_ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten that lie between two limits.

    Args:
        low: lower limit.
        high: upper limit, above ``low``.
        most: how many steps there may be at most.
        whole: whether only whole numbers make sense.
    """
    finest = (high - low) / most
    power = math.floor(math.log10(finest))
    steps = (factor * 10.0**power for factor in (1, 2, 5, 10))
    step = next(step for step in steps if step >= finest * (1 - 1e-9))
    if whole:
        step = max(step, 1.0)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 3 - power) for index in range(first, last + 1)]


def logarithmic_ticks(low: float, high: float, most: int = 10) -> list[float]:
    """Return round numbers between two positive limits, four at least where there are so many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks: list[float] = []
    for steps in _LOGARITHMIC:
        ticks = [
            round(step * 10.0**power, 12 - power)
            for power in range(first, last + 1)
            for step in steps
            if low <= step * 10.0**power <= high and step < 10
        ]
        if len(ticks) >= _FEWEST:
            break
    return ticks[:: math.ceil(len(ticks) / most)]
