"""The language of gates, such as ``p99:10%``: what a metric may get worse by.

::

    expression = gate { "," gate }
    gate       = metric ":" number "%"

A percentage of the base's value; for shares of requests (``success_rate``, ``drop_rate``,
``error_rate``), which are percentages themselves, percentage points.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pytest_servebench.objectives.slo_grammar import METRICS
from pytest_servebench.text.quantity import Kind

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {name: kind for name, kind in METRICS.items() if name not in ("max", "cpu_peak", "memory_mean")}
)
"""Metrics that runs are compared by, in the order of reports. A maximum is compared by no gate:
the longest run has the longest."""

LARGER_IS_BETTER: Final = frozenset({"throughput", "success_rate"})
NAMES: Final = MappingProxyType({name: name for name in KINDS} | {"p999": "p99.9"})

_GATE: Final = re.compile(r"\s*([A-Za-z_][\w.]*)\s*:\s*(\d+(?:\.\d*)?|\.\d+)\s*%\s*", re.ASCII)
_BY_NAME: Final = {shown: name for name, shown in NAMES.items()} | {name: name for name in KINDS}


@dataclass(frozen=True)
class Gate:
    """What one metric may get worse by.

    Attributes:
        metric: a key of :data:`KINDS`.
        threshold: a fraction of the base's value, or a difference of shares.
    """

    metric: str
    threshold: float

    def __str__(self) -> str:
        return f"{NAMES[self.metric]}:{100 * self.threshold:g}%"


def parse_gates(text: str) -> tuple[Gate, ...]:
    """Return the gates of an expression, one at least.

    Raises:
        ValueError: it cannot be read; the message says what was expected, and of several parts,
            which one it is.
    """
    return tuple(_gate(part, several="," in text) for part in text.split(","))


def _gate(text: str, *, several: bool) -> Gate:
    where = f"{text.strip()!r}: " if several else ""
    metrics = f"metrics: {', '.join(NAMES.values())}"
    match = _GATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{where}expected METRIC:NUMBER%, such as p99:10%; {metrics}")
    word = match[1].lower()
    metric = _BY_NAME.get(word)
    if metric is None:
        close = difflib.get_close_matches(word, _BY_NAME, n=1)
        guess = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"{where}no metric {word!r}; {guess}{metrics}")
    threshold = float(match[2]) / 100
    if threshold >= 1 and (metric in LARGER_IS_BETTER or KINDS[metric] == "share"):
        raise ValueError(f"{where}{word} cannot get worse by 100 % or more; give less")
    return Gate(metric, threshold)
