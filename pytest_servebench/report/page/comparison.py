"""The content of a comparison's page: what got slower first, then each metric, then each case."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_servebench.analysis.changes import VERDICTS, Change, Verdict
from pytest_servebench.analysis.comparability import Difference
from pytest_servebench.analysis.compare import CaseComparison, Comparison, fails, gates_of
from pytest_servebench.metrics import COMPARED, METRICS
from pytest_servebench.objectives.gates import Gate
from pytest_servebench.objectives.reader import written
from pytest_servebench.report import axes
from pytest_servebench.report.comparison import (
    change_text,
    gate_text,
    interval_text,
    labels,
    run_text,
    verdict_text,
    worse_text,
)
from pytest_servebench.report.comparison_notes import conclusion, notes, remedy
from pytest_servebench.report.facts import cell_name
from pytest_servebench.report.page.chart import Chart
from pytest_servebench.report.page.comparison_charts import overlay
from pytest_servebench.runs.node_ids import function_of
from pytest_servebench.runs.results import Run
from pytest_servebench.text.quantity import quantity
from pytest_servebench.text.safe import clean, joined

Found = tuple[Comparison, Sequence[Difference], Sequence[Difference]]
"""A comparison, the differences that were allowed, and those that prevent it."""

_BAR: Final = 300  # width of a change's drawing
_FARTHEST: Final = math.log(4)  # of a ratio's scale: values beyond are shown by an arrow
_CSS: Final[Mapping[Verdict, str]] = {
    "worse": "worse", "cannot tell": "unsure", "same": "same", "better": "better",
}  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """A change on the scale of its metric: places from 0 to the width of the drawing.

    Attributes:
        place: of the value, ``None`` if it is not known.
        low: lower end of the interval, ``None`` if there is none.
        high: upper end.
        open_low: whether the interval continues beyond the scale.
        open_high: the same at the other end.
    """

    place: int | None
    low: int | None
    high: int | None
    open_low: bool
    open_high: bool


@dataclass(frozen=True)
class Row:
    """One metric of one case."""

    case: str
    anchor: str
    base: str
    new: str
    change: str
    sort: str
    interval: str
    verdict: str
    css: str
    bar: Bar


@dataclass(frozen=True)
class MetricView:
    """One metric in all cases.

    Attributes:
        name: of the metric.
        rows: a row for each case.
        limits: places of the threshold, or of the margin within which figures count as the same.
        meaning: what the limits are.
        smaller: whether smaller is better.
        decides: whether verdicts depend on it.
    """

    name: str
    rows: tuple[Row, ...]
    limits: tuple[int, ...]
    meaning: str
    smaller: bool
    decides: bool


@dataclass(frozen=True)
class PairView:
    """One case on both sides."""

    anchor: str
    name: str
    verdict: Verdict
    css: str
    text: str
    repeats: str
    chart: Chart


@dataclass(frozen=True)
class Block:
    """BASE and one NEW."""

    number: int
    base: str
    new: str
    name: str
    conclusion: str
    css: str
    refused: tuple[tuple[str, str], ...]
    remedy: str
    allowed: tuple[tuple[str, str], ...]
    gates: tuple[tuple[str, str, str], ...]
    counts: tuple[tuple[str, str], ...]
    cases: tuple[PairView, ...]
    metrics: tuple[MetricView, ...]
    notes: tuple[str, ...]


def blocks(found: Sequence[Found], base: Path, news: Sequence[Path]) -> list[Block]:
    """Return what the page says.

    Args:
        found: the comparisons.
        base: directory of the earlier run, with its records.
        news: directories of the new runs.
    """
    return [
        _block(number, one, base, new)
        for number, (one, new) in enumerate(zip(found, news, strict=True), 1)
    ]


def _block(number: int, found: Found, base: Path, new: Path) -> Block:
    comparison, allowed, refused = found
    names = dict(zip(map(id, comparison.cases), _names(comparison.cases), strict=True))
    gates = [result.gate for result in comparison.gates]
    ordered = sorted(comparison.cases, key=lambda case: VERDICTS.index(case.verdict))
    anchors = {id(case): f"pair-{number}-{index}" for index, case in enumerate(ordered, 1)}
    shown = [] if refused else ordered
    changes = [case.changes[metric] for case in shown for metric in case.shown]
    return Block(
        number=number,
        base=run_text(comparison.base),
        new=run_text(comparison.new),
        name=clean(comparison.new.name),
        conclusion="These runs cannot be compared." if refused else conclusion(comparison),
        css="refused" if refused else "worse" if comparison.worse else
        "unsure" if comparison.undecided else "better",
        refused=_texts(refused),
        remedy=remedy(comparison, refused),
        allowed=_texts(allowed),
        gates=() if refused else tuple(
            (str(one.gate), "unsure" if one.verdict == "inconclusive" else one.verdict,
             gate_text(one, names))
            for one in comparison.gates
        ),
        counts=_counts(changes),
        cases=tuple(_pair(case, names[id(case)], anchors[id(case)], gates, base, new)
                    for case in shown),
        metrics=tuple(_metrics(shown, names, anchors, gates)),
        notes=() if refused else tuple(notes(comparison, every=True)),
    )  # fmt: skip


def _names(cases: Sequence[CaseComparison]) -> list[str]:
    """Return the display name of each case: only its cell if all are of one test."""
    known = labels(cases)
    if len({function_of(case.key.test) for case in cases}) > 1:
        return known
    cells = [cell_name(name) for name in known]
    return cells if len(set(cells)) == len(cells) else known


def _texts(found: Sequence[Difference]) -> tuple[tuple[str, str], ...]:
    return tuple((one.about, clean(one.text)) for one in found)


def _counts(changes: Sequence[Change]) -> tuple[tuple[str, str], ...]:
    number = Counter(one.verdict for one in changes)
    return tuple((_CSS[word], f"{number[word]} {word}") for word in VERDICTS if number[word])


# -- each case ------------------------------------------------------------------------------------


def _pair(
    case: CaseComparison, name: str, anchor: str, gates: Sequence[Gate], base: Path, new: Path
) -> PairView:
    numbers = (len(case.pair.base), len(case.pair.new))
    repeats = f"{numbers[0]} and {numbers[1]} repeats" if max(numbers) > 1 else ""
    return PairView(
        anchor=anchor,
        name=name,
        verdict=case.verdict,
        css=_CSS[case.verdict],
        text=_gist(case, gates),
        repeats=repeats,
        chart=overlay(case, base, new),
    )


def _gist(case: CaseComparison, gates: Sequence[Gate]) -> str:
    """Return the metrics that gave the case its verdict, with their changes."""
    found = [case.changes[metric] for metric in case.shown]
    deciding = [one for one in found if one.verdict == case.verdict]
    own = gates_of(case, gates)
    broken = [one for one in found if any(g.metric == one.metric and fails(g, one) for g in own)]
    return joined(
        f"{METRICS[one.metric].written} {change_text(one.metric, one.change.value)}"
        for one in dict.fromkeys((*broken, *deciding))
    )


# -- each metric ----------------------------------------------------------------------------------


def _metrics(
    cases: Sequence[CaseComparison],
    names: Mapping[int, str],
    anchors: Mapping[int, str],
    gates: Sequence[Gate],
) -> list[MetricView]:
    found = []
    for part in dict.fromkeys(case.key.request_class for case in cases):
        of_part = [case for case in cases if case.key.request_class == part]
        for metric in COMPARED:
            members = [case for case in of_part if metric in case.changes]
            if members:
                own = gates_of(members[0], gates)
                found.append(_metric(metric, members, names, anchors, own))
    return sorted(found, key=lambda one: not one.decides)


def _metric(
    metric: str,
    cases: Sequence[CaseComparison],
    names: Mapping[int, str],
    anchors: Mapping[int, str],
    gates: Sequence[Gate],
) -> MetricView:
    gate = next((one for one in gates if one.metric == metric), None)
    margin = gate.threshold if gate else METRICS[metric].same or 0.0
    smaller = not METRICS[metric].larger_is_better
    axis = _scale([case.changes[metric] for case in cases], margin)
    worse = worse_text(metric, margin)
    better = worse_text(metric, -margin)
    limits: tuple[int, ...] = (_at(axis, metric, margin if smaller else -margin),)
    meaning = f"dashed: the gate's threshold, {worse}"
    if gate is None:
        limits = (_at(axis, metric, -margin), _at(axis, metric, margin))
        ends = (better, worse) if smaller else (worse, better)
        meaning = f"dashed: the margin within which figures count as the same, {' to '.join(ends)}"
    return MetricView(
        name=clean(written(METRICS[metric], cases[0].key.request_class)),
        rows=tuple(
            _row(case, metric, names[id(case)], anchors[id(case)], gates, axis) for case in cases
        ),
        limits=limits,
        meaning=meaning,
        smaller=smaller,
        decides=any(metric in case.shown for case in cases),
    )


def _height(metric: str, value: float) -> float:
    """Return a change's place on its scale: logarithms of ratios, differences of shares."""
    if METRICS[metric].is_share:
        return value
    return math.log(value) if value > 0 else -math.inf


def _at(axis: axes.Axis, metric: str, margin: float) -> int:
    change = margin if METRICS[metric].is_share else 1 + margin
    return axis.at(_height(metric, change), _BAR)


def _scale(changes: Sequence[Change], margin: float) -> axes.Axis:
    ends = [
        abs(_height(one.metric, value))
        for one in changes
        for value in (one.change.value, one.change.low, one.change.high)
    ]
    finite = [end for end in ends if math.isfinite(end)]
    reach = 1.1 * min(_FARTHEST, max([*finite, 2 * margin]))
    return axes.Axis(-reach, reach, ())


def _row(
    case: CaseComparison,
    metric: str,
    name: str,
    anchor: str,
    gates: Sequence[Gate],
    axis: axes.Axis,
) -> Row:
    change = case.changes[metric]
    kind = METRICS[metric].kind
    worse = change.worse_by
    broken = any(gate.metric == metric and fails(gate, change) for gate in gates)
    return Row(
        case=name,
        anchor=anchor,
        base=quantity(kind, change.base),
        new=quantity(kind, change.new),
        change=change_text(metric, change.change.value),
        sort="inf" if worse == math.inf else "" if math.isnan(worse) else repr(worse),
        interval=interval_text(change),
        verdict=verdict_text(change, gates).lower(),
        css="worse" if broken else _CSS[change.verdict],
        bar=_bar(change, axis),
    )


def _bar(change: Change, axis: axes.Axis) -> Bar:
    metric = change.metric
    value = _height(metric, change.change.value)
    place = None if math.isnan(value) else axis.at(value, _BAR)
    ends = [_height(metric, end) for end in (change.change.low, change.change.high)]
    if not change.sampled or any(math.isnan(end) for end in ends):
        return Bar(place, None, None, open_low=False, open_high=False)
    return Bar(
        place,
        axis.at(ends[0], _BAR),
        axis.at(ends[1], _BAR),
        open_low=ends[0] < axis.first,
        open_high=ends[1] > axis.last,
    )


def names_of(runs: Sequence[Run]) -> str:
    """Return the heading's names."""
    base, *others = (clean(run.name) for run in runs)
    return f"{joined(others)} against {base}"
