"""The overall evaluation: each cell's points."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_servebench.evaluation import Evaluation
from pytest_servebench.recommendation import Compared
from pytest_servebench.report.evaluation_block import METRICS, short_names
from pytest_servebench.report.numbers import plain
from pytest_servebench.report.text import clean, counted


@dataclass(frozen=True)
class EvaluationView:
    """The table of points."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    totals: str
    advice: tuple[str, ...]
    notes: tuple[str, ...]


def evaluation_view(evaluation: Evaluation) -> EvaluationView | None:
    """Return the table and its texts; ``None`` where nothing was measured."""
    if not evaluation.servers:
        return None
    names = short_names(evaluation.servers)
    cells: dict[tuple[float, int], list[Compared]] = {}
    for point in evaluation.points:
        cells.setdefault((point.rate, point.buffer_size), []).append(point)
    rows = []
    for (rate, size), points in cells.items():
        row = []
        for _, metrics in METRICS:
            here = [point for point in points if point.metric in metrics]
            winners = {names[point.winner] for point in here if point.winner}
            row.append(", ".join(clean(name) for name in sorted(winners)))
        rows.append((f"rate {plain(rate)}, buffer {size}", tuple(row)))
    totals = ", ".join(
        f"{clean(evaluation.servers[kind])} {counted(number, 'point')}"
        for kind, number in evaluation.totals.items()
    )
    return EvaluationView(
        tuple(heading for heading, _ in METRICS),
        tuple(rows),
        f"{totals}; no point in {evaluation.undecided} of {len(evaluation.points)} comparisons: "
        "the difference may be noise, or is not known."
        if evaluation.points
        else "",
        tuple(clean(text) for text in evaluation.recommendations),
        tuple(clean(text) for text in evaluation.notes),
    )
