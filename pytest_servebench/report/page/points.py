"""The overall evaluation: each cell's points."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_servebench.analysis.evaluation import Evaluation
from pytest_servebench.metrics import POINTS
from pytest_servebench.report.evaluation_block import cell_winners, short_names
from pytest_servebench.text.safe import clean, counted


@dataclass(frozen=True)
class EvaluationView:
    """The table of points."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    totals: str
    advice: tuple[str, ...]
    notes: tuple[str, ...]


def evaluation_view(evaluation: Evaluation) -> EvaluationView | None:
    """Return the table and its texts; ``None`` where fewer than two servers were measured."""
    if len(evaluation.servers) < 2:
        return None
    names = short_names(evaluation.servers)
    rows = [
        (label, tuple(clean(winner) for winner in winners))
        for label, winners in cell_winners(evaluation, names)
    ]
    totals = ", ".join(
        f"{clean(evaluation.servers[kind])} {counted(number, 'point')}"
        for kind, number in evaluation.totals.items()
    )
    return EvaluationView(
        tuple(POINTS),
        tuple(rows),
        f"{totals}; no point in {evaluation.undecided} of {len(evaluation.points)} comparisons: "
        "the difference may be noise, or is not known."
        if evaluation.points
        else "",
        tuple(clean(text) for text in evaluation.recommendations),
        tuple(clean(text) for text in evaluation.notes),
    )
