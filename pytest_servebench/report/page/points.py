"""The overall evaluation: each cell's points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_servebench.analysis.evaluation import Evaluation
from pytest_servebench.metrics import POINTS
from pytest_servebench.report.evaluation_block import cell_winners, short_names, totals_text
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.safe import clean


@dataclass(frozen=True)
class EvaluationView:
    """The table of points."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    totals: str
    notes: tuple[str, ...]


def evaluation_view(evaluation: Evaluation, cases: Sequence[CaseResult]) -> EvaluationView | None:
    """Return the table and its texts; ``None`` where fewer than two servers were measured."""
    if len(evaluation.servers) < 2:
        return None
    return EvaluationView(
        tuple(POINTS),
        tuple(cell_winners(evaluation, cases, short_names(evaluation.servers))),
        f"{totals_text(evaluation, evaluation.servers, '–')}." if evaluation.points else "",
        tuple(clean(text) for text in evaluation.notes),
    )
