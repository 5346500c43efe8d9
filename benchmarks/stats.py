"""Statistics for the reports."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]
"""Times in ns."""
T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """The median of some repeats and how far they lie apart."""

    median: float
    low: float
    high: float

    def text(self, form: str = "{:.0f}") -> str:
        """Return ``median (low-high)``."""
        low, high = form.format(self.low), form.format(self.high)
        return form.format(self.median) + ("" if low == high else f" ({low}–{high})")


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return the median and range of the values that are not missing."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(statistics.median(known), min(known), max(known))


def text(value: Spread | None, form: str = "{:.0f}") -> str:
    """Return a cell of a table."""
    return "–" if value is None else value.text(form)


def select(runs: Iterable[dict[str, Any]], **wanted: object) -> list[dict[str, Any]]:
    """Return the runs with these entries."""
    return [run for run in runs if all(run.get(key) == value for key, value in wanted.items())]


def names(runs: Iterable[dict[str, Any]]) -> list[str]:
    """Return the peers of some runs, in the registry's order of first mention."""
    return sorted({str(run["peer"]): None for run in runs}, key=_order(runs))


def _order(runs: Iterable[dict[str, Any]]) -> Any:
    place = {str(run["peer"]): int(run.get("place", 0)) for run in runs}
    return lambda name: place[name]


def lag_figures(lag: Times) -> dict[str, float]:
    """Return the quantiles of some lags in µs."""
    if len(lag) == 0:
        return {}
    p50, p99, p999 = np.quantile(lag, [0.5, 0.99, 0.999]) / 1e3
    return {"p50": float(p50), "p99": float(p99), "p99.9": float(p999), "count": len(lag)}


def lattice_lag(times: Times, rate: float) -> Times:
    """Return how late each of some evenly paced events was, relative to the best even lattice.

    The lattice ``t0 + i / rate`` is the latest for which no event is early: a delay that all events
    have in common, such as the way to the server, does not count as lag.
    """
    ideal = np.round(np.arange(len(times)) * (1e9 / rate)).astype(np.int64)
    offset = np.sort(times) - ideal
    lag: Times = offset - offset.min(initial=np.iinfo(np.int64).max)
    return lag


def paired_lag(scheduled: Times, arrived: Times) -> Times | None:
    """Return arrival minus schedule, both sorted; ``None`` if their numbers differ.

    Arrivals are not matched to scheduled times: if one overtakes another, their lags swap, and the
    distribution hardly changes.
    """
    if len(scheduled) != len(arrived):
        return None
    return np.sort(arrived) - np.sort(scheduled)


def inside(times: Times, settle: float, seconds: float) -> npt.NDArray[np.bool_]:
    """Return which times lie in the steady window, which begins ``settle`` after the first."""
    if len(times) == 0:
        return np.zeros(0, dtype=np.bool_)
    start = times.min() + int(settle * 1e9)
    steady: npt.NDArray[np.bool_] = (times >= start) & (times < start + int(seconds * 1e9))
    return steady


def rotated(items: Sequence[T], by: int) -> list[T]:
    """Return the items beginning with another one, so that no peer always runs first."""
    by %= max(len(items), 1)
    return [*items[by:], *items[:by]]
