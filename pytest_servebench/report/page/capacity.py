"""The highest rates at which servers keep an SLO, as the page shows them, with their probes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_servebench.objectives.capacity import stated
from pytest_servebench.report import capacity_chart, capacity_table
from pytest_servebench.report.capacity_chart import CapacityPanel, Found, Standing
from pytest_servebench.report.captions import capacity_marks
from pytest_servebench.report.case_table import verdict_cell
from pytest_servebench.report.figures import standing
from pytest_servebench.report.page.cases import CaseView
from pytest_servebench.report.page.chart import Chart, Label, outline
from pytest_servebench.report.sweep import X_LABEL
from pytest_servebench.runs.capacity import CapacityProbe
from pytest_servebench.runs.results import CapacityResult, CaseResult, Run, Sizes
from pytest_servebench.runs.titles import server_titles
from pytest_servebench.text.numbers import MISSING, significant
from pytest_servebench.text.quantity import trimmed
from pytest_servebench.text.safe import clean

_SHAPES: Final[Mapping[Standing, tuple[str, str]]] = {
    "kept": ("o", "mark"), "broken": ("X", "mark"), "undecided": ("o", "mark hollow"),
}  # fmt: skip
_VERDICTS: Final[Mapping[Standing, str]] = {
    "kept": "passed", "broken": "failed", "undecided": "inconclusive",
}  # fmt: skip
_MEANINGS: Final[Mapping[str, str]] = {
    "invalid": "the load generator, not the server, was the limit",
    "failed": "the capacity is too low, or the answers were wrong",
    "test-failed": "the test failed for a reason other than its capacity",
    "inconclusive": "the interval of the capacity is too wide",
    "excused": "the test was expected to fail, or skipped itself",
}
_HEADINGS: Final = (
    ("first broken", "The clause that is broken first as the rate rises"),
    ("probes that count", "Probes that the interval rests on, of all"),
    ("seconds used", "Time used of the search's budget"),
    ("recovery", "Time without load that the server needed after an overload"),
    ("generator fails at", "Rate that the load generator could not make"),
    (
        "fitted queue",
        "Capacity of a queue with the probes' service times; the interval rests on it, too",
    ),
)
_SMALL: Final = 7  # half a marker
_LETTER: Final = 24  # between the letters of two searches
_BASELINE: Final = 38  # of the letters, from the top of the drawing

Classes = Mapping[tuple[str, Sizes | None], str]
"""Kind and sizes to the CSS class with the colour."""


@dataclass(frozen=True)
class Entry:
    """One entry of the legend.

    Attributes:
        shape: as of :class:`~.chart.Key`.
        css: classes with its colour.
        mark: outline of a marker.
        text: what it stands for.
    """

    shape: str
    css: str
    mark: str
    text: str


@dataclass(frozen=True)
class ProbeRow:
    """One probe: its cells, and the anchor of its case if there is one."""

    anchor: str
    label: str
    verdict: str
    verdict_text: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class SearchView:
    """One search: a row of the table, and its probes.

    Attributes:
        css: with the colour.
        name: of the server.
        letter: in the drawings.
        verdict: its standing.
        verdict_text: in words.
        capacity: with its interval, or the state in words.
        more: what would close an open interval.
        cells: further ones of the row.
        shares: headings of the table of probes, one for each limit.
        slower: heading of the column with the machine's slowdown; empty without one.
        probes: its rows.
        cases: the probes' cases.
    """

    css: str
    name: str
    letter: str
    verdict: str
    verdict_text: str
    capacity: str
    more: str
    cells: tuple[str, ...]
    shares: tuple[str, ...]
    slower: str
    probes: tuple[ProbeRow, ...]
    cases: tuple[CaseView, ...]


@dataclass(frozen=True)
class BlockView:
    """The searches of one test and SLO."""

    heading: str
    headings: tuple[tuple[str, str], ...]
    searches: tuple[SearchView, ...]
    told: tuple[str, ...]
    legend: tuple[Entry, ...]
    charts: tuple[Chart, ...]
    note: str


def capacity_blocks(run: Run, classes: Classes, views: Mapping[int, CaseView]) -> list[BlockView]:
    """Return the section's blocks; none without a search.

    Args:
        run: with its capacities and their probes.
        classes: of the servers' colours.
        views: of the probes, by the id of each.
    """
    return [
        _block(heading, found, run.probes, classes, views)
        for heading, found in capacity_table.blocks(run.capacities)
    ]


@dataclass(frozen=True)
class AttentionView:
    """Capacities of one standing that did not simply pass.

    Attributes:
        verdict: the standing.
        heading: what it means.
        causes: name of the search, and why.
    """

    verdict: str
    heading: str
    causes: tuple[tuple[str, str], ...]


def question(run: Run) -> str:
    """Return the question that a run of searches answers."""
    titles = list(server_titles(run.capacities).values())
    return (
        "How much does each server carry?"
        if len(titles) > 1
        else f"How much does {titles[0]} carry?"
    )


def answer(run: Run) -> list[str]:
    """Return a sentence for each test and SLO: what each server carries."""
    found = capacity_table.blocks(run.capacities)
    texts = []
    for heading, own in found:
        head = heading if len(found) > 1 else capacity_chart.asked(own)
        each = (f"{name} {capacity_table.limited(one)}"
                for name, one in zip(capacity_table.names(own), own, strict=True))  # fmt: skip
        texts.append(f"{head}: {'; '.join(each)}.")
    return texts


def verdicts(run: Run) -> list[str]:
    """Return the standing of each capacity."""
    return [standing(one) for one in run.capacities]


def attention(run: Run) -> list[AttentionView]:
    """Return the capacities that did not simply pass, the worst first."""
    found: dict[str, list[tuple[str, str]]] = {word: [] for word in _MEANINGS}
    for _, own in capacity_table.blocks(run.capacities):
        for name, one in zip(capacity_table.names(own), own, strict=True):
            word = standing(one)
            if word in found:
                messages = [clean(c.message) for c in one.clauses if c.verdict == one.verdict]
                found[word] += [(name, text) for text in messages or [clean(one.reason)]]
    return [
        AttentionView(word, _MEANINGS[word], tuple(causes))
        for word, causes in found.items() if causes
    ]  # fmt: skip


def verdict_of(one: CapacityResult) -> tuple[str, str]:
    """Return a capacity's verdict, and what the page calls it."""
    where = standing(one)
    if where == "passed" and not one.clauses:
        return where, "found"
    return where, verdict_cell(one).text.lower()


def _block(
    heading: str,
    found: Sequence[CapacityResult],
    cases: Sequence[CaseResult],
    classes: Classes,
    views: Mapping[int, CaseView],
) -> BlockView:
    panels = capacity_chart.capacity_panels(found, cases)
    alone = capacity_chart.one_size_each(found)
    css = [classes[one.server.kind, None if alone else one.sizes] for one in found]
    letters = [one.letter for one in panels[0].found] if panels else [""] * len(found)
    searches = tuple(
        _search(one, name, letter, look, own, views)
        for one, name, letter, look, own in zip(
            found, capacity_table.names(found), letters, css,
            capacity_chart.probes_of(found, cases), strict=True,
        )
    )  # fmt: skip
    shown = [
        place for place in range(len(_HEADINGS))
        if any(one.cells[place] != MISSING for one in searches)
    ]  # fmt: skip
    return BlockView(
        heading,
        tuple(_HEADINGS[place] for place in shown),
        tuple(
            dataclasses.replace(one, cells=tuple(one.cells[place] for place in shown))
            for one in searches
        ),
        tuple(_told(found)),
        tuple(_legend(panels, searches)) if panels else (),
        tuple(_chart(panel, css) for panel in panels),
        capacity_marks(panels) if panels else _without_drawing(found),
    )


def _told(found: Sequence[CapacityResult]) -> list[str]:
    """Return the remarks below the table, without those that need attention."""
    texts = capacity_table.carried(found)
    for name, one in zip(capacity_table.names(found), found, strict=True):
        above = standing(one) in _MEANINGS
        texts += [
            f"{name}: {clean(clause.message)}." for clause in one.clauses
            if not (above and clause.verdict == one.verdict)
        ]  # fmt: skip
        if one.reason and not above:
            texts.append(f"{name}: {clean(one.reason)}.")
        texts += [f"{name}: {remark}." for remark in capacity_table.remarks(one)]
    return texts


def _without_drawing(found: Sequence[CapacityResult]) -> str:
    if any(probe.arrivals for one in found for probe in one.probes):
        return f"No request broke {' or '.join(capacity_chart.never_broken(found))}."
    return "No probe was measured."


# -- the tables -----------------------------------------------------------------------------------


def _search(
    one: CapacityResult, name: str, letter: str, css: str, probes: capacity_chart.Probes,
    views: Mapping[int, CaseView],
) -> SearchView:  # fmt: skip
    verdict, text = verdict_of(one)
    used = sum(probe.used for probe in one.probes)
    more = one.needed_seconds
    recovery = "slow" if one.slow_recovery else MISSING
    if one.recovery_seconds is not None:
        recovery = f"after {significant(one.recovery_seconds)} s"
    limit = one.generator_limit
    return SearchView(
        css, name, letter, verdict, text, stated(one),
        f"about {trimmed(more)} s more of load would close it" if more else "",
        (
            clean(one.limiting) or MISSING,
            f"{used} of {len(one.probes)}",
            f"{significant(one.seconds)} of {significant(one.budget)}",
            recovery,
            MISSING if limit is None else f"{trimmed(limit)}/s",
            MISSING if one.expected is None else f"{significant(one.expected)}/s",
        ),
        tuple(clean(limit.clause) for limit in one.limits),
        capacity_table.SLOWER if one.slowdowns else "",
        tuple(_probe(one, probe, case, views) for probe, case in probes),
        tuple(views[id(case)] for _, case in probes if case is not None and id(case) in views),
    )  # fmt: skip


def _probe(
    one: CapacityResult,
    probe: CapacityProbe,
    case: CaseResult | None,
    views: Mapping[int, CaseView],
) -> ProbeRow:
    view = None if case is None else views.get(id(case))
    word = capacity_chart.overall(case, one.limits)
    verdict, text = _VERDICTS[word], str(word)
    if probe.state != "measured" and not probe.used:
        verdict, text = "invalid", capacity_table.STATES[probe.state]
    return ProbeRow(
        "" if view is None else view.anchor,
        clean(probe.label) or "not measured",
        verdict,
        text,
        (
            significant(probe.rate),
            capacity_table.STAGES[probe.stage],
            MISSING if not probe.seconds else significant(probe.seconds),
            str(probe.arrivals) if probe.arrivals else MISSING,
            *capacity_table.shares(one, probe),
            *capacity_table.slower(one, probe),
            "yes" if probe.used else "no",
        ),
    )


# -- the drawings ---------------------------------------------------------------------------------


def _legend(panels: Sequence[CapacityPanel], searches: Sequence[SearchView]) -> list[Entry]:
    entries = [
        Entry("bar", one.css, "", f"{one.letter} {one.name}: {one.capacity}".strip())
        for one in searches
    ]
    words = {mark.standing for panel in panels for one in panel.found for mark in one.marks}
    for word, (shape, css) in _SHAPES.items():
        if word in words:
            entries.append(Entry("", css.removeprefix("mark"), outline(12, 7, shape, 5), word))
    if panels[0].generator_limits:
        entries.append(Entry("limit", "", "", capacity_chart.NO_MORE))
    return entries


def _chart(panel: CapacityPanel, css: Sequence[str]) -> Chart:
    several = any(one.letter for one in panel.found)
    chart = Chart(
        f"{panel.title}, {panel.unit}", _described(panel), panel.x, panel.y,
        panel.x.labelled(X_LABEL), lanes=int(several),
    )  # fmt: skip
    for one, look in zip(panel.found, css, strict=True):
        if one.band is not None:
            low, high = one.band
            chart.area([low, high], [0.0] * 2, [math.inf] * 2,
                       f"band {look}" + ("" if one.closed else " open"))  # fmt: skip
        if one.middle is not None:
            (place,) = chart.px([one.middle]).tolist()
            chart.trace([(place, chart.top), (place, chart.bottom)],
                        f"at {look}" + ("" if one.closed else " open"))  # fmt: skip
    for rate in panel.generator_limits:
        (place,) = chart.px([rate]).tolist()
        chart.trace([(place, chart.top), (place, chart.bottom)], "limit")
    chart.bounds([panel.bound], left=True)
    for one, look in zip(panel.found, css, strict=True):
        _marks(chart, one, look)
    gap = _LETTER / (chart.right - chart.left)
    for one, place in panel.letter_places(gap):
        look = css[panel.found.index(one)]
        x = round(chart.left + place * (chart.right - chart.left))
        chart.labels.append(Label(x, _BASELINE, one.letter, f"mid letter {look}"))
    return chart


def _marks(chart: Chart, one: Found, look: str) -> None:
    for mark in one.marks:
        (place,) = chart.px([mark.rate]).tolist()
        point = mark.point
        if math.isinf(point.value):
            chart.marker(place, chart.top + 4, "^", f"mark {look}", _SMALL)
            continue
        if point.low is not None and point.high is not None and math.isfinite(point.high):
            low, high = chart.py([point.low, point.high]).tolist()
            chart.trace([(place, low), (place, high)], f"whisker thin {look}")
        shape, css = _SHAPES[mark.standing]
        (height,) = chart.py([point.value]).tolist()
        chart.marker(place, height, shape, f"{css} {look}", _SMALL)


def _described(panel: CapacityPanel) -> str:
    texts = []
    for one in panel.found:
        values = (f"{significant(mark.point.value)} at {significant(mark.rate)}/s, {mark.standing}"
                  for mark in sorted(one.marks, key=lambda mark: mark.rate))  # fmt: skip
        texts.append(f"{one.name}: capacity {stated(one.result)}; {'; '.join(values)}")
    unit = panel.y.labelled(panel.unit)
    return f"{panel.title} in {unit} of each probe against the offered rate. {'. '.join(texts)}."
