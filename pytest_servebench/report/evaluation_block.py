"""The overall evaluation: each cell's points, the totals, and what to run for which load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pytest_servebench.analysis.evaluation import Evaluation, evaluate
from pytest_servebench.analysis.recommendation import Compared, cell_names
from pytest_servebench.metrics import METRICS, POINTS
from pytest_servebench.runs.results import Run
from pytest_servebench.text.numbers import plain
from pytest_servebench.text.safe import clean, counted, wrapped
from pytest_servebench.text.tables import (
    Cell,
    Column,
    Line,
    heading_lines,
    lay_out,
    line,
    row_line,
)

_NOBODY: Final = "-"


def evaluation_lines(run: Run, width: int) -> list[Line]:
    """Return the comparison of the run's servers; nothing where there are not several."""
    evaluation = evaluate(run.cases, interleaved=run.interleaved)
    if len(evaluation.servers) < 2:
        return []
    lines = [line("overall evaluation", bold=True)]
    if evaluation.points:
        table, titles = _table(evaluation, width)
        lines += table
        totals = ", ".join(
            f"{titles[kind]} {counted(number, 'point')}"
            for kind, number in evaluation.totals.items()
        )
        lines += [
            line(text)
            for text in wrapped(
                "points  ",
                f"{totals}; no point in {evaluation.undecided} of {len(evaluation.points)} "
                f"comparisons ({_NOBODY}): the difference may be noise, or is not known",
                width,
            )
        ]
    for label, texts in (("advice  ", evaluation.recommendations), ("note    ", evaluation.notes)):
        lines += [line(part) for text in texts for part in wrapped(label, text, width)]
    return lines


def _table(evaluation: Evaluation, width: int) -> tuple[list[Line], Mapping[str, str]]:
    """Return the table, and each kind's title with the number that it has where names are long."""
    titles = evaluation.servers
    numbers = {kind: f"#{number}" for number, kind in enumerate(titles, 1)}
    columns = [
        Column("point to", right=False),
        *(
            Column(heading, right=False, expendable=place)
            for place, heading in enumerate(POINTS, 1)
        ),
    ]
    for names in (short_names(titles), numbers):
        rows = [
            [Cell(label), *(Cell(winner or _NOBODY) for winner in winners)]
            for label, winners in cell_winners(evaluation, names)
        ]
        layout = lay_out(columns, rows, width)
        if len(layout.columns) == len(columns):
            break
    lines = [*heading_lines(columns, layout), *(row_line(columns, row, layout) for row in rows)]
    if names is numbers:
        titles = {kind: f"{numbers[kind]} {title}" for kind, title in titles.items()}
    return lines, titles


def cell_winners(
    evaluation: Evaluation, names: Mapping[str, str]
) -> list[tuple[str, tuple[str, ...]]]:
    """Return each cell's name, and who gets its points: a text for each heading of them.

    Args:
        evaluation: the run's.
        names: kind to the server's name.
    """
    cells: dict[str, list[Compared]] = {}
    for point in evaluation.points:
        cells.setdefault(point.cell, []).append(point)
    known = cell_names(evaluation.points)
    found = []
    for cell, points in cells.items():
        test, place = known[cell]
        label = f"{f'{test}, ' if test else ''}rate {plain(points[0].rate)}, {place}"
        winners = tuple(
            ", ".join(names[p.winner] for p in points if METRICS[p.metric] in metrics and p.winner)
            for metrics in POINTS.values()
        )
        found.append((clean(label), winners))
    return found


def short_names(titles: Mapping[str, str]) -> dict[str, str]:
    """Return the first word of each title where that tells the servers apart."""
    first = {kind: title.split()[0] for kind, title in titles.items() if title.split()}
    return first if len(set(first.values())) == len(titles) else dict(titles)
