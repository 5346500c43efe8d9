"""The content of a run's page, computed for its template."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_servebench.analysis.evaluation import Evaluation, evaluate
from pytest_servebench.report.answer import answer, question
from pytest_servebench.report.attention import blocks, causes, doubts, server_troubles
from pytest_servebench.report.captions import marks
from pytest_servebench.report.facts import (
    date_text,
    headline,
    program_text,
    servers,
    setup_text,
    starts,
)
from pytest_servebench.report.figures import groups
from pytest_servebench.report.page import capacity
from pytest_servebench.report.page.case_charts import case_charts
from pytest_servebench.report.page.cases import CaseView, anchors, case_view
from pytest_servebench.report.page.chart import Chart, outline
from pytest_servebench.report.page.evaluation import EvaluationView, evaluation_view
from pytest_servebench.report.page.log_tails import LogTail, death_logs
from pytest_servebench.report.page.sizing import SizingView, sizing_view
from pytest_servebench.report.page.sweep_charts import class_charts, sweep_charts
from pytest_servebench.report.page.theme import Classes, Shade, looks
from pytest_servebench.report.panels import class_panels, panels
from pytest_servebench.report.series import colours, make_series
from pytest_servebench.report.sessions import per_second
from pytest_servebench.report.variants import variants
from pytest_servebench.runs.case_records import read_records
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import CapacityResult, CaseResult, Run, Sizes
from pytest_servebench.runs.titles import server_titles
from pytest_servebench.text.numbers import plain
from pytest_servebench.text.safe import abridged, clean, counted, first_few, joined

_VERDICTS: Final = (
    "invalid", "failed", "test-failed", "inconclusive", "excused", "passed", "none"
)  # fmt: skip
_WORDS: Final = {"none": "without an SLO", "test-failed": "failed in the test itself"}
_ADVICE: Final = {
    "invalid": "Free the machine or lower the rate, then run these cases again.",
    "failed": "Open the case: it shows when requests were slow or lost, and what the server "
    "logged.",
    "test-failed": "See pytest's own output for what went wrong in the test.",
    "excused": "Nothing to do, unless they should pass: the marker or the test says why they fail.",
    "inconclusive": "Measure longer (--servebench-duration) or repeat (--servebench-repeats); each "
    "case says how much is needed.",
}
_MOST_POINTS: Final = 2500  # requests drawn one by one in a drawing
_FEWEST_POINTS: Final = 150
_LONGEST_TITLE: Final = 120  # characters
_MOST_NAMES: Final = 4  # of servers, in a title that would be longer
_ALL_POINTS: Final = 30_000  # in all drawings of one kind together, which bounds the file's size


@dataclass(frozen=True)
class ServerView:
    """One server of the run."""

    title: str
    implementation: str
    settings: str
    start: str
    css: str


@dataclass(frozen=True)
class Attention:
    """Cases that did not simply pass, grouped by what they have in common.

    Attributes:
        verdict: of all of them.
        heading: what it means.
        share: how many of the run's cases they are.
        causes: each with its cases, by the server's name.
        advice: what to do.
    """

    verdict: str
    heading: str
    share: str
    causes: tuple[tuple[str, Mapping[str, Sequence[CaseView]]], ...]
    advice: str


@dataclass(frozen=True)
class MatrixRow:
    """One server's cells."""

    server: ServerView
    cells: tuple[tuple[CaseView, ...], ...]


@dataclass(frozen=True)
class Matrix:
    """The cases of one test by rate, buffer and rows.

    Attributes:
        test: its name, as :func:`variants` gives it.
        rates: each with the number of its columns.
        sizes: heading of each column.
        rows: one for each server.
    """

    test: str
    rates: tuple[tuple[str, int], ...]
    sizes: tuple[str, ...]
    rows: tuple[MatrixRow, ...]


@dataclass(frozen=True)
class SweepView:
    """The drawings over all cases of one test."""

    test: str
    charts: tuple[Chart, ...]
    classes: tuple[tuple[Chart, ...], ...]
    legend: tuple[tuple[str, str, int, str], ...]
    note: str


@dataclass(frozen=True)
class Content:
    """Everything the template of a run's page needs."""

    title: str
    name: str
    date: str
    question: str
    answer: tuple[str, ...]
    counts: tuple[tuple[str, int, str], ...]
    troubles: tuple[str, ...]
    doubts: tuple[str, ...]
    death_logs: tuple[LogTail, ...]
    attention: tuple[Attention, ...]
    servers: tuple[ServerView, ...]
    facts: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]
    added: tuple[tuple[str, str], ...]
    shades: Mapping[str, Shade]
    matrices: tuple[Matrix, ...]
    cases: tuple[CaseView, ...]
    choices: Mapping[str, tuple[tuple[str, str], ...]]
    several_tests: bool
    several_rows: bool
    evaluation: EvaluationView | None
    sweeps: tuple[SweepView, ...]
    capacities: tuple[capacity.BlockView, ...]
    capacity_attention: tuple[capacity.AttentionView, ...]
    sizing: SizingView | None
    missing: str


def content(
    run: Run, directory: Path, added: Mapping[str, str],
    added_to_cases: Sequence[Mapping[str, str]], *, sizing: bool = False,
) -> Content:  # fmt: skip
    """Return what the page says.

    Args:
        run: what was measured.
        directory: of the run: records and logs are looked for there.
        added: what hooks have added to the run.
        added_to_cases: the same of each case.
        sizing: whether with the section on sizing, which takes a few seconds for each server.
    """
    everything: list[CaseResult | CapacityResult] = [*run.every_case, *run.capacities]
    palette = colours(one.server.kind for one in everything)
    titles = server_titles(everything)
    classes, shades = looks(
        (
            *((case.server.kind, case.sizes) for case in run.every_case),
            *((one.server.kind, one.sizes) for one in run.capacities),
        ),
        palette,
    )
    names = variants(run.cases)
    views = _case_views(run, directory, names, titles, classes, added_to_cases)
    by_id = {id(case): view for case, view in zip(run.every_case, views, strict=True)}
    ordered = [case for group in groups(run.cases) for case in group.cases]
    shown = tuple(by_id[id(case)] for case in ordered)
    loaded = [case for case in run.cases if not is_plain(case)]
    tests: dict[str, list[CaseResult]] = {}
    for case in loaded:
        tests.setdefault(by_id[id(case)].function, []).append(case)
    driven = [one for one in everything if isinstance(one, CapacityResult) or not is_plain(one)]
    started = starts(driven)
    known = {
        kind: ServerView(titles[kind], program_text(server), setup_text(server, brief=True),
                         started[kind], classes[kind, None])
        for kind, server in servers(driven).items()
    }  # fmt: skip
    css = {kind: classes[kind, None] for kind in titles}
    evaluation = evaluate(run.cases, interleaved=run.interleaved)
    unread = [view for view in shown if view.missing]
    return Content(
        title=_title(run, titles),
        name=clean(run.name),
        date=date_text(run.started),
        question=question(loaded) if loaded or not run.capacities else capacity.question(run),
        answer=(*_answer(run, loaded, evaluation), *capacity.answer(run)),
        counts=_counts([*(case.verdict for case in shown), *capacity.verdicts(run)]),
        troubles=tuple(server_troubles(run)),
        doubts=tuple(doubts(run)),
        death_logs=tuple(death_logs(run.deaths, directory)),
        attention=tuple(_attention(run.cases, by_id)),
        servers=tuple(known.values()),
        facts=tuple((label, text) for label, text in _facts(run)),
        versions=tuple((clean(name), clean(text)) for name, text in run.versions.items()),
        added=tuple(added.items()),
        shades=shades,
        matrices=tuple(_matrix(name, own, known, by_id) for name, own in tests.items()),
        cases=shown,
        choices=_choices(shown),
        several_tests=len(set(names)) > 1,
        several_rows=any(case.rows > 1 for case in run.cases),
        evaluation=evaluation_view(evaluation, loaded, css),
        sweeps=tuple(_sweep(name, own, palette, classes) for name, own in tests.items()),
        capacities=tuple(capacity.capacity_blocks(run, classes, by_id)),
        capacity_attention=tuple(capacity.attention(run)),
        sizing=sizing_view(run, directory, css) if sizing else None,
        missing=_missing(unread, len(shown)),
    )


def _answer(run: Run, loaded: Sequence[CaseResult], evaluation: Evaluation) -> list[str]:
    if not loaded and (run.cases or run.capacities):
        return []
    return answer(loaded, evaluation, run.deaths)


def _title(run: Run, titles: Mapping[str, str]) -> str:
    if run.cases and not run.capacities and all(map(is_plain, run.cases)):
        return "Benchmarks"
    names = list(titles.values())
    told = joined(names)
    if len(told) > _LONGEST_TITLE and len(names) > _MOST_NAMES:
        told = first_few(names, _MOST_NAMES)
    return abridged(told, _LONGEST_TITLE) or "pytest-servebench"


def _case_views(
    run: Run,
    directory: Path,
    names: Sequence[str],
    titles: Mapping[str, str],
    classes: Classes,
    added: Sequence[Mapping[str, str]],
) -> list[CaseView]:
    cores = run.machine.get("cores")
    every = run.every_case
    points = min(_MOST_POINTS, max(_FEWEST_POINTS, _ALL_POINTS // max(len(every), 1)))
    tests = [*names, *(case.label for case in run.probes)]
    cells = [
        (case.nodeid if is_plain(case) else name, case.server.kind, case.rate, case.sizes)
        for case, name in zip(every, tests, strict=True)
    ]
    alike = Counter(cells)
    seen: Counter[tuple[str, str, float, Sizes]] = Counter()
    views = []
    for index, (case, anchor) in enumerate(zip(every, anchors(every), strict=True)):
        records, missing = (None, "") if is_plain(case) else read_records(case, directory)
        cell = cells[index]
        seen[cell] += 1
        charts = case_charts(case, records, cores if isinstance(cores, int) else None, points)
        views.append(
            case_view(
                case,
                anchor,
                repeat=seen[cell] if alike[cell] > 1 else 0,
                function=tests[index],
                title=titles[case.server.kind],
                among=run.cases,
                css=classes[case.server.kind, None],
                charts=charts,
                missing=missing,
                added=added[index] if index < len(added) else {},
                directory=directory,
            )
        )
    return views


def _missing(unread: Sequence[CaseView], number: int) -> str:
    if not unread:
        return ""
    share = "all cases" if len(unread) == number else f"{len(unread)} of {counted(number, 'case')}"
    return (
        f"Records of single requests are missing for {share}: charts over time are left out. "
        "Figures, intervals and verdicts are those of the run."
    )


def _facts(run: Run) -> list[tuple[str, str]]:
    """Return the headline without what the list of servers already says."""
    listed = {"server", "servers"}
    if len({case.server.kind for case in run.every_case if not is_plain(case)}) == 1:
        listed.add("fairness")
    found = []
    last = ""
    for label, text in headline(run):
        last = label or last
        if last not in listed:
            found.append((label, text))
    return found


def _counts(verdicts: Sequence[str]) -> tuple[tuple[str, int, str], ...]:
    number = Counter(verdicts)
    return tuple((word, number[word], _WORDS.get(word, word)) for word in _VERDICTS if number[word])


def _attention(cases: Sequence[CaseResult], views: Mapping[int, CaseView]) -> list[Attention]:
    found = []
    for block in blocks(cases):
        alike: dict[str, dict[str, list[CaseView]]] = {}
        for case in block.cases:
            view = views[id(case)]
            for cause in causes(case):
                alike.setdefault(cause, {}).setdefault(view.server, []).append(view)
        found.append(
            Attention(
                block.standing,
                block.meaning,
                f"{len(block.cases)} of {counted(len(cases), 'case')}",
                tuple(alike.items()),
                _ADVICE[block.standing],
            )
        )
    return found


def _matrix(
    test: str,
    own: Sequence[CaseResult],
    known: Mapping[str, ServerView],
    views: Mapping[int, CaseView],
) -> Matrix:
    cells: dict[tuple[float, Sizes], dict[str, list[CaseView]]] = {}
    for case in own:
        cell = cells.setdefault((case.rate, case.sizes), {})
        cell.setdefault(case.server.kind, []).append(views[id(case)])
    columns = sorted(cells)
    number = Counter(rate for rate, _ in columns)
    kinds = dict.fromkeys(case.server.kind for case in own)
    return Matrix(
        test,
        tuple((plain(rate) + per_second(own), width) for rate, width in sorted(number.items())),
        tuple(str(sizes) for _, sizes in columns),
        tuple(
            MatrixRow(known[kind], tuple(tuple(cells[key].get(kind, ())) for key in columns))
            for kind in kinds
        ),
    )


def _choices(cases: Sequence[CaseView]) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return what can be chosen from: attribute to values and their names."""
    found = {
        "server": dict.fromkeys((case.css, case.server) for case in cases),
        "rate": dict.fromkeys((case.rate, case.rate + case.per_second) for case in cases),
        "buffer": dict.fromkeys((case.buffer, case.buffer) for case in cases),
        "rows": dict.fromkeys((case.rows, case.rows) for case in cases),
        "verdict": dict.fromkeys((case.verdict, case.verdict_text) for case in cases),
    }
    return {name: tuple(values) for name, values in found.items() if len(values) > 1}


def _sweep(
    test: str, own: Sequence[CaseResult], palette: Mapping[str, str], classes: Classes
) -> SweepView:
    series = make_series(own, palette)
    sizes = sorted({one.sizes for one in series})
    names = {(one.kind, one.sizes): classes[one.kind, one.sizes] for one in series}
    invalid = not all(case.measured for case in own)
    shown = [*panels(own), *itertools.chain.from_iterable(class_panels(own))]
    return SweepView(
        test,
        tuple(sweep_charts(series, names)),
        tuple(map(tuple, class_charts(series, names))),
        tuple(
            (
                names[one.kind, one.sizes],
                one.label if len(sizes) > 1 or not one.letter else one.server,
                sizes.index(one.sizes) % 4,
                outline(12, 7, one.marker, 5),
            )
            for one in series
        ),
        marks(own, shown, len(series)) + (" Invalid cases are left out." if invalid else ""),
    )
