"""Which server did better, for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_servebench.analysis.evaluation import Evaluation
from pytest_servebench.report.evaluation_block import (
    RANKING,
    cell_bests,
    cell_winners,
    rank_text,
    short_names,
    totals_text,
)
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.safe import clean


@dataclass(frozen=True)
class RankView:
    """One of more than two servers.

    Attributes:
        css: its class.
        title: its name.
        counts: in how many comparisons it was unbeaten, in all and by heading.
        beats: in how many comparisons it did better than each server, in the order of ranking.
    """

    css: str
    title: str
    counts: tuple[str, ...]
    beats: tuple[str, ...]


@dataclass(frozen=True)
class EvaluationView:
    """The tables of the evaluation.

    Attributes:
        meaning: what the table of cells shows.
        headings: of the metrics.
        rows: each cell with who did best.
        totals: a sentence below.
        notes: what was left out.
        ranks: of more than two servers, the best first.
    """

    meaning: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    totals: str
    notes: tuple[str, ...]
    ranks: tuple[RankView, ...]


def evaluation_view(
    evaluation: Evaluation, cases: Sequence[CaseResult], css: Mapping[str, str]
) -> EvaluationView | None:
    """Return the tables; ``None`` where fewer than two servers were measured.

    Args:
        evaluation: of these cases.
        cases: of the run, those under load.
        css: kind of server to its class.
    """
    if len(evaluation.servers) < 2:
        return None
    notes = tuple(clean(text) for text in evaluation.notes)
    short = short_names(evaluation.servers)
    if len(evaluation.servers) > 2:
        meaning = "Unbeaten servers: no other did better by more than noise (–: all alike)."
        if short == dict(evaluation.servers):
            short = {one.kind: f"#{place}" for place, one in enumerate(evaluation.ranking(), 1)}
        rows = cell_bests(evaluation, cases, short)
        totals, ranks = f"Ranking: {RANKING}." if rows else "", _ranks(evaluation, css)
    else:
        meaning = "Which server did better than every other by more than noise."
        rows, ranks = cell_winners(evaluation, cases, short), ()
        totals = f"{totals_text(evaluation, evaluation.servers, '–')}." if rows else ""
    return EvaluationView(meaning, tuple(evaluation.headings), tuple(rows), totals, notes, ranks)


def _ranks(evaluation: Evaluation, css: Mapping[str, str]) -> tuple[RankView, ...]:
    ranks, beats = evaluation.ranking(), evaluation.beats
    return tuple(
        RankView(
            css[rank.kind],
            evaluation.servers[rank.kind],
            tuple(map(rank_text, ((rank.unbeaten, rank.among), *rank.counts.values()))),
            tuple(
                "" if other.kind == rank.kind else f"{beats.get((rank.kind, other.kind), 0)}"
                for other in ranks
            ),
        )
        for rank in ranks
    )
