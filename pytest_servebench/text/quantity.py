"""Values with their units, for people."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal

Kind = Literal["time", "throughput", "share", "cpu", "memory", "tokens", "token_rate"]

_SCALES: Final[Mapping[Kind, Callable[[float], tuple[float, str]]]] = MappingProxyType(
    {
        "time": lambda size: (
            (1e6, " µs") if size < 1e-3 else (1e3, " ms") if size < 1 else (1.0, " s")
        ),
        "throughput": lambda size: (1.0, "/s"),  # noqa: ARG005
        "share": lambda size: (100.0, " %"),  # noqa: ARG005
        "cpu": lambda size: (1.0, " %"),  # noqa: ARG005
        "memory": lambda size: (1e-9, " GB") if size >= 1e9 else (1e-6, " MB"),
        "tokens": lambda size: (1.0, " tokens"),  # noqa: ARG005
        "token_rate": lambda size: (1.0, " tokens/s"),  # noqa: ARG005
    }
)


def quantity(kind: Kind, value: float) -> str:
    """Return a value with a unit for people, such as ``12.3 ms``."""
    if math.isinf(value):
        return "infinite"
    factor, unit = _SCALES[kind](abs(value))
    return f"{trimmed(value * factor)}{unit}"


def trimmed(value: float) -> str:
    """Return ``value`` with at most three significant digits and no trailing zeros."""
    if value == 0:
        return "0"
    decimals = 2 - math.floor(math.log10(abs(value)))
    text = f"{value:.{max(0, min(decimals, 9))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
