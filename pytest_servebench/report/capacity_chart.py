"""The probes of searches for a capacity against their rates, for page and plots."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pytest_servebench.errors import SLOSyntaxError
from pytest_servebench.metrics import METRICS
from pytest_servebench.objectives.slo_grammar import Clause, parse_slo
from pytest_servebench.report import axes
from pytest_servebench.report.capacity_table import names
from pytest_servebench.report.panels import Panel, Point, percentile_panel
from pytest_servebench.report.series import letter_of
from pytest_servebench.report.sweep import spread
from pytest_servebench.runs.capacity import CapacityLimit, CapacityProbe
from pytest_servebench.runs.results import CapacityResult, CaseResult, VerdictWord
from pytest_servebench.text.safe import clean, joined

Standing = Literal["kept", "broken", "undecided"]
_STANDINGS: Final[dict[VerdictWord, Standing]] = {
    "passed": "kept", "failed": "broken", "inconclusive": "undecided", "invalid": "undecided",
}  # fmt: skip
_WORST_FIRST: Final[tuple[Standing, ...]] = ("broken", "undecided", "kept")
_LOG_FROM: Final = (
    15.0  # highest rate / lowest capacity, beyond which that capacity would be at an edge
)
_FAR: Final = 2.0  # as a factor: probes higher above every capacity are left out
_BEYOND: Final = 1.04  # of the highest rate, to which a linear axis reaches
_OPEN: Final = 1.25  # of the rate from which a capacity is open, to which the axis reaches
_FLOOR: Final = 0.2  # of the allowed share, to which the axis of shares reaches at least
_LOWEST: Final = 3.0  # part of its value down to which an interval is shown


@dataclass(frozen=True)
class Mark:
    """One probe.

    Attributes:
        rate: offered.
        point: what is drawn, in the axis' unit.
        standing: whether it kept the limit.
    """

    rate: float
    point: Point
    standing: Standing


@dataclass(frozen=True)
class Found:
    """One search.

    Attributes:
        result: what it found.
        name: of the server, and what else distinguishes it.
        letter: where there are several.
        marks: its probes, in the order of running.
    """

    result: CapacityResult
    name: str
    letter: str
    marks: tuple[Mark, ...]

    @property
    def band(self) -> tuple[float, float] | None:
        """Return between which rates the capacity lies, infinite if open; ``None`` if unknown."""
        low, high = self.result.ends
        return None if low == 0 and math.isinf(high) else (low, high)

    @property
    def middle(self) -> float | None:
        """Return the rate that stands for the capacity: the estimate, or the end that is known."""
        known = (self.result.value, self.result.low, self.result.high)
        return next((one for one in known if one is not None), None)

    @property
    def closed(self) -> bool:
        """Return whether there is an interval of 95 %."""
        return self.result.state == "found"


@dataclass(frozen=True)
class CapacityPanel:
    """What the probes saw of one limit, against the rate.

    Attributes:
        title: the heading.
        unit: of the vertical axis.
        x: the rates.
        y: the vertical axis.
        bound: of the limit, in the axis' unit, and its text.
        found: the searches.
        beyond: rates of probes that are too far above every capacity to be drawn, ascending.
    """

    title: str
    unit: str
    x: axes.Axis
    y: axes.Axis
    bound: tuple[float, str]
    found: tuple[Found, ...]
    beyond: tuple[float, ...] = ()

    @property
    def generator_limits(self) -> list[float]:
        """Return the rates that the load generator failed to make, ascending."""
        known = {one.result.generator_limit for one in self.found}
        return sorted(one for one in known if one is not None)

    def letter_places(self, gap: float) -> list[tuple[Found, float]]:
        """Return where the searches' letters stand, as shares of the axis, ``gap`` apart."""
        known = [(one, one.middle) for one in self.found if one.letter]
        placed = sorted(
            ((one, float(self.x.place([rate])[0])) for one, rate in known if rate is not None),
            key=lambda one: one[1],
        )
        places = spread([place for _, place in placed], gap)
        return [(one, place) for (one, _), place in zip(placed, places, strict=True)]


NO_MORE: Final = "the load generator could make no more"
"""Legend of the rates that it failed to make."""


def one_size_each(found: Sequence[CapacityResult]) -> bool:
    """Return whether every server has a single size, so that its colour needs no shades."""
    cells = {(one.server.kind, one.sizes) for one in found}
    return len({kind for kind, _ in cells}) == len(cells)


def asked(found: Sequence[CapacityResult]) -> str:
    """Return the aim of searches with the same limits."""
    return f"Highest rate that keeps {joined(clean(one.clause) for one in found[0].limits)}"


def capacity_panels(
    found: Sequence[CapacityResult], cases: Iterable[CaseResult], letter: float = axes.LETTER
) -> list[CapacityPanel]:
    """Return the panels of each limit; none if no probe was measured.

    One shows the percentile, if the limit is one; another the share of the requests that broke the
    limit, from which the capacity is estimated, if any did.

    Args:
        found: searches of one test, with the same limits.
        cases: the probes of the run.
        letter: share of the horizontal axis that a digit of a label takes.
    """
    probed = list(zip(found, probes_of(found, cases), strict=True))
    if not any(probe.arrivals for one in found for probe in one.probes):
        return []
    x = _rate_axis(found, letter)
    panels = []
    for index, limit in enumerate(found[0].limits):
        if (clause := _percentile_clause(limit)) is not None:
            panel = percentile_panel(METRICS[clause.metric])
            marks = [_read(panel, own, limit) for _, own in probed]
            panels.append(
                _panel(panel.title, panel.unit, x, (1e3 * clause.bound, limit), found, marks)
            )
        title = f"Requests that broke {clean(limit.clause)}"
        if not _broke(found, index):
            continue  # all would be zero
        marks = [_shares(index, own, limit) for _, own in probed]
        panels.append(_panel(title, "%", x, (100 * limit.allowed, limit), found, marks))
    return panels


Probes = list[tuple[CapacityProbe, CaseResult | None]]
"""The probes of a search, each with its case unless it has none."""


def probes_of(found: Sequence[CapacityResult], cases: Iterable[CaseResult]) -> list[Probes]:
    """Return the probes of each search, with their cases where they were measured."""
    known = {(case.nodeid, case.label): case for case in cases}
    return [
        [(probe, known.get((one.nodeid, probe.label))) for probe in one.probes] for one in found
    ]


def standing_of(case: CaseResult | None, clause: str) -> Standing:
    """Return whether a probe kept a limit, as its own verdict on the clause says."""
    verdicts = () if case is None else (one.verdict for one in case.clauses if one.clause == clause)
    return next((_STANDINGS[one] for one in verdicts), "undecided")


def overall(case: CaseResult | None, limits: Sequence[CapacityLimit]) -> Standing:
    """Return whether a probe kept all limits."""
    words = {standing_of(case, one.clause) for one in limits}
    return next((word for word in _WORST_FIRST if word in words), "undecided")


def _percentile_clause(limit: CapacityLimit) -> Clause | None:
    try:
        (clause,) = parse_slo(limit.clause)
    except (SLOSyntaxError, ValueError):
        return None  # of a run that was written by hand
    metric = METRICS[clause.metric]
    of_all = metric.times is not None and metric.permille is not None and not clause.request_class
    return clause if of_all else None


def _read(panel: Panel, own: Probes, limit: CapacityLimit) -> list[Mark]:
    return [
        Mark(probe.rate, point, standing_of(case, limit.clause))
        for probe, case in own
        if case is not None and case.measured and (point := panel.point(case)) is not None
    ]


def _shares(index: int, own: Probes, limit: CapacityLimit) -> list[Mark]:
    return [
        Mark(
            probe.rate, Point(100 * probe.beyond[index] / probe.counted[index]),
            standing_of(case, limit.clause),
        )
        for probe, case in own
        if len(probe.counted) > index and probe.counted[index]
    ]  # fmt: skip


def _panel(
    title: str, unit: str, x: axes.Axis, bound: tuple[float, CapacityLimit],
    found: Sequence[CapacityResult], marks: Sequence[list[Mark]],
) -> CapacityPanel:  # fmt: skip
    height, limit = bound
    beyond = tuple(sorted(mark.rate for own in marks for mark in own if mark.rate > x.last))
    marks = [[mark for mark in own if mark.rate <= x.last] for own in marks]
    points = [mark.point for own in marks for mark in own]
    ends = [
        end
        for point in points
        for end in (point.value, point.low, point.high)
        # An interval that begins near zero would take all the space.
        if end is not None and 0 < end < math.inf and end >= point.value / _LOWEST
    ]
    floor = [height * _FLOOR] if any(point.value == 0 for point in points) else []
    several = len(found) > 1
    return CapacityPanel(
        title, unit, x, axes.logarithmic([height, *floor, *ends]), (height, clean(limit.clause)),
        tuple(
            Found(one, name, letter_of(place) if several else "", tuple(own))
            for place, (one, name, own) in enumerate(zip(found, names(found), marks, strict=True))
        ),
        beyond,
    )  # fmt: skip


def _rate_axis(found: Sequence[CapacityResult], letter: float) -> axes.Axis:
    """Return an axis on which each capacity is seen: linear unless they are far apart."""
    probed = [probe.rate for one in found for probe in one.probes if probe.arrivals]
    ends = [
        end
        for one in found
        for end in (one.low, one.value, one.high, one.generator_limit)
        if end is not None and end > 0
    ]
    limit = _FAR * max(ends, default=math.inf)
    probed = [rate for rate in probed if rate <= limit]
    # An open interval shows that it continues.
    beyond = [_OPEN * one.low for one in found if one.low and one.high is None]
    highest = max(*probed, *ends, *beyond, 0.0)
    capacities = [one.value or one.low or one.high for one in found]
    if highest / min((one for one in capacities if one), default=highest) < _LOG_FROM:
        return axes.linear(0.0, _BEYOND * highest)
    return axes.rates([*probed, *ends, *beyond], letter=letter)


def never_broken(found: Sequence[CapacityResult]) -> list[str]:
    """Return the limits that no request of any probe broke."""
    return [
        clean(limit.clause)
        for index, limit in enumerate(found[0].limits)
        if not _broke(found, index)
    ]


def _broke(found: Sequence[CapacityResult], index: int) -> bool:
    return any(sum(probe.beyond[index : index + 1]) for one in found for probe in one.probes)
