"""Each clause and gate on the page, in words and as the drawing of a clause."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytest_servebench.metrics import METRICS
from pytest_servebench.report.axes import Axis, linear, logarithmic
from pytest_servebench.runs.results import ClauseResult
from pytest_servebench.text.numbers import MISSING
from pytest_servebench.text.quantity import Kind, quantity
from pytest_servebench.text.safe import clean

_BAR: Final = 240  # width of a clause's drawing


@dataclass(frozen=True)
class ClauseView:
    """One SLO clause, with places of its drawing, or one gate, with a text in its place.

    Attributes:
        clause: as judged.
        bound: for people.
        value: for people.
        interval: for people, empty if there is none.
        low: place of the interval's lower end, ``None`` if there is none.
        high: place of its upper end.
        open: whether the interval has no upper end.
        place: place of the value.
        infinite: whether the value has none, as it is infinite.
        bound_place: place of the bound.
        message: one line.
        comparison: of a gate, what its message says of the earlier run; else empty.
    """

    clause: ClauseResult
    name: str
    bound: str
    value: str
    message: str
    interval: str = ""
    low: int | None = None
    high: int | None = None
    open: bool = False
    place: int | None = None
    infinite: bool = False
    bound_place: int = 0
    comparison: str = ""


def clause_view(one: ClauseResult) -> ClauseView:
    """Return a clause with its drawing, whose scale holds bound, value and interval."""
    if one.is_gate:
        return _gate_view(one)
    known_metric = METRICS.get(one.metric)
    kind: Kind = known_metric.kind if known_metric else "time"
    value = one.value
    infinite = value is None and kind == "time"
    known = [x for x in (one.bound, value, one.low, one.high) if x is not None]
    axis = _clause_axis(kind, known)
    low = high = None
    is_open = one.low is not None and one.high is None
    text = ""
    if one.low is not None:
        low = axis.at(one.low, _BAR)
        high = _BAR if one.high is None else axis.at(one.high, _BAR)
        upper = "∞" if one.high is None else quantity(kind, one.high)
        text = f"{quantity(kind, one.low)} to {upper}"
    return ClauseView(
        clause=one,
        name=clean(one.clause),
        bound=quantity(kind, one.bound),
        value="∞" if infinite else MISSING if value is None else quantity(kind, value),
        interval=text,
        low=low,
        high=high,
        open=is_open,
        place=None if value is None else axis.at(value, _BAR),
        infinite=infinite,
        bound_place=axis.at(one.bound, _BAR),
        message=clean(one.message),
    )


def _gate_view(one: ClauseResult) -> ClauseView:
    """Return a gate: its bound is a change, so that no scale holds both bound and value."""
    metric = METRICS.get(one.metric)
    sign = "-" if metric and metric.larger_is_better else "+"
    unit = "points" if metric and metric.is_share else "%"
    message = clean(one.message)
    return ClauseView(
        clause=one,
        name=clean(one.clause),
        bound=f"{sign}{100 * one.bound:g} {unit}",
        value=quantity(metric.kind, one.value) if metric and one.value is not None else MISSING,
        message=message,
        comparison=message.removeprefix(f"{clean(one.clause)}: "),
    )


def _clause_axis(kind: Kind, known: Sequence[float]) -> Axis:
    if kind == "time" and min(known) > 0:
        axis = logarithmic(known)
        return Axis(axis.first, axis.last, (), logarithmic=True)
    low, high = min(known), max(known)
    edge = 0.12 * (high - low) or 0.12 * abs(high) or 1.0
    return linear(low - edge, high + edge)
