"""Bounds of SLOs near the measured values: those far away are mentioned, not drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytest_servebench.metrics import METRICS, Times
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.safe import clean, joined

_REACH: Final = 10.0  # a bound this many times beyond the data would squeeze it


@dataclass(frozen=True)
class Bound:
    """A bound on a time.

    Attributes:
        value: ms.
        clause: that sets it.
        metric: its name.
    """

    value: float
    clause: str
    metric: str


def bounds_of(case: CaseResult, times: Times) -> list[Bound]:
    """Return the bounds that a case's SLOs set on some times."""
    return [
        Bound(1e3 * one.bound, clean(one.clause), one.metric)
        for one in case.clauses
        if not one.is_gate
        and one.request_class == case.request_class
        and one.metric in METRICS
        and METRICS[one.metric].times is times
    ]


def near(bounds: Sequence[Bound], lowest: float, highest: float) -> tuple[list[Bound], str]:
    """Return the bounds that are near the measured values, and a note on the others.

    Args:
        bounds: any.
        lowest: measured value, ms.
        highest: measured value, ms.
    """
    first, last = lowest / _REACH, highest * _REACH
    above = [one.clause for one in bounds if one.value > last]
    below = [one.clause for one in bounds if one.value < first]
    notes = [
        f"Too far {side} to be drawn: {joined(texts)}."
        for side, texts in (("above", above), ("below", below))
        if texts
    ]
    return [one for one in bounds if first <= one.value <= last], " ".join(notes)
