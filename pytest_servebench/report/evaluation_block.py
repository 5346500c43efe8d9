"""The overall evaluation: each cell's points, the totals, and the answer that follows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pytest_servebench.analysis.evaluation import Compared, Evaluation, evaluate
from pytest_servebench.metrics import METRICS
from pytest_servebench.report.answer import answer
from pytest_servebench.report.facts import server_text, servers
from pytest_servebench.report.variants import cell_tests
from pytest_servebench.runs.node_ids import cell_id
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import CaseResult, Run
from pytest_servebench.text.numbers import plain
from pytest_servebench.text.safe import counted, wrapped
from pytest_servebench.text.tables import (
    Cell,
    Column,
    Line,
    heading_lines,
    lay_out,
    line,
    row_line,
    table,
)

_NOBODY: Final = "-"


def evaluation_lines(run: Run, width: int) -> list[Line]:
    """Return the comparison of the run's servers; nothing if there is only one."""
    evaluation = evaluate(run.cases, interleaved=run.interleaved)
    if len(evaluation.servers) < 2:
        return []
    cases = [case for case in run.cases if not is_plain(case)]
    lines = [line("overall evaluation", bold=True)]
    texts = [("advice  ", text) for text in answer(cases, evaluation)]
    texts += [("note    ", text) for text in evaluation.notes]
    if len(evaluation.servers) > 2 and evaluation.points:
        lines += _ranking(evaluation, cases, width)
        texts.insert(0, ("ranking ", f"{RANKING}; below, by cell (-: all alike, ?: unknown)"))
    elif evaluation.points:
        rows, titles = _table(evaluation, cases, width)
        lines += rows
        texts.insert(0, ("points  ", totals_text(evaluation, titles, _NOBODY)))
    return lines + [line(part) for label, text in texts for part in wrapped(label, text, width)]


# -- more than two servers ------------------------------------------------------------------------

RANKING: Final = (
    "in how many cells a server was unbeaten (no other did better by more than noise), out of "
    "those in which it could be compared"
)
_MOST_NAMED: Final = 4  # servers that tie; more are counted


def _ranking(evaluation: Evaluation, cases: Sequence[CaseResult], width: int) -> list[Line]:
    """Return a row for each server, the best first, and one for each cell."""
    ranks = evaluation.ranking()
    numbers = {rank.kind: f"#{place}" for place, rank in enumerate(ranks, 1)}
    columns = [
        Column("", right=False, shrinks=16),
        Column("all"),
        *(
            Column(heading, expendable=place)
            for place, heading in enumerate(evaluation.headings, 1)
        ),
    ]
    rows = [
        [
            Cell(f"{numbers[rank.kind]:<3} {evaluation.servers[rank.kind]}"),
            Cell(rank_text((rank.unbeaten, rank.among))),
            *(Cell(rank_text(rank.counts[heading])) for heading in evaluation.headings),
        ]
        for rank in ranks
    ]
    below = [
        Column("unbeaten", right=False, shrinks=16),
        *(Column(text, right=False, expendable=n) for n, text in enumerate(evaluation.headings, 1)),
    ]
    cells = [
        [Cell(label), *(Cell(best or _NOBODY) for best in best_of)]
        for label, best_of in cell_bests(evaluation, cases, numbers)
    ]
    return [*table(columns, rows, width), line(""), *table(below, cells, width)]


def rank_text(count: tuple[int, int]) -> str:
    """Return how often a server was unbeaten, and among how many comparisons."""
    return f"{count[0]}/{count[1]}" if count[1] else "?"


def cell_bests(
    evaluation: Evaluation, cases: Sequence[CaseResult], names: Mapping[str, str]
) -> list[tuple[str, tuple[str, ...]]]:
    """Return each cell's name, and under each heading the servers that none beat.

    The text is empty if they are all alike, and ``?`` if too little is known.
    """
    return _by_cell(evaluation, cases, lambda row: _bests(row, names))


def _bests(row: Compared, names: Mapping[str, str]) -> str:
    if len(row.known) < 2 or row.too_few:
        return "?"
    if not row.pairs:
        return ""
    best = [name for kind, name in names.items() if kind in row.unbeaten]
    if len(best) > _MOST_NAMED:
        return f"{len(best)} of {len(row.known)}"
    return (" " if best[0].startswith("#") else ", ").join(best)


# -- two servers ----------------------------------------------------------------------------------


def totals_text(evaluation: Evaluation, titles: Mapping[str, str], nobody: str) -> str:
    """Return each server's points, and how many comparisons gave none.

    Args:
        evaluation: the run's.
        titles: kind to the server's name.
        nobody: the table's sign for no point.
    """
    totals = ", ".join(
        f"{counted(number, 'point')} for {titles[kind]}"
        for kind, number in evaluation.totals.items()
    )
    return (
        f"{totals}; no point in {evaluation.undecided} of {len(evaluation.points)} comparisons "
        f"({nobody}): the difference may be noise or is unknown"
    )


def _table(
    evaluation: Evaluation, cases: Sequence[CaseResult], width: int
) -> tuple[list[Line], Mapping[str, str]]:
    """Return the table, and each kind's program, numbered if names are long.

    A stand-in is never presented as the real server.
    """
    titles = {
        kind: server_text(evaluation.servers[kind], server, protocol=False)
        for kind, server in servers(cases).items()
    }
    numbers = {kind: f"#{number}" for number, kind in enumerate(titles, 1)}
    columns = [
        Column("point to", right=False),
        *(
            Column(heading, right=False, expendable=place)
            for place, heading in enumerate(evaluation.headings, 1)
        ),
    ]
    for names in (short_names(evaluation.servers), numbers):
        rows = [
            [Cell(label), *(Cell(winner or _NOBODY) for winner in winners)]
            for label, winners in cell_winners(evaluation, cases, names)
        ]
        layout = lay_out(columns, rows, width)
        if len(layout.columns) == len(columns):
            break
    lines = [*heading_lines(columns, layout), *(row_line(columns, row, layout) for row in rows)]
    if names is numbers:
        titles = {kind: f"{numbers[kind]} {title}" for kind, title in titles.items()}
    return lines, titles


def cell_winners(
    evaluation: Evaluation, cases: Sequence[CaseResult], names: Mapping[str, str]
) -> list[tuple[str, tuple[str, ...]]]:
    """Return each cell's name, and who gets its points under each heading.

    Args:
        evaluation: the run's.
        cases: what was evaluated; their tests are named if there are several.
        names: kind to the server's name.
    """
    return _by_cell(evaluation, cases, lambda row: names[row.winner] if row.winner else "")


def _by_cell(
    evaluation: Evaluation, cases: Sequence[CaseResult], text: Callable[[Compared], str]
) -> list[tuple[str, tuple[str, ...]]]:
    cells: dict[str, list[Compared]] = {}
    for point in evaluation.points:
        cells.setdefault(point.cell, []).append(point)
    compared = [case for case in cases if cell_id(case) in cells]
    tests = cell_tests(compared)
    return [
        (
            f"{f'{tests[cell]}, ' if tests[cell] else ''}rate {plain(points[0].rate)}, "
            f"{points[0].sizes}",
            tuple(
                ", ".join(filter(None, (text(p) for p in points if METRICS[p.metric] in row)))
                for row in evaluation.headings.values()
            ),
        )
        for cell, points in cells.items()
    ]


def short_names(titles: Mapping[str, str]) -> dict[str, str]:
    """Return the first word of each title if that distinguishes the servers."""
    words = {kind: title.split() for kind, title in titles.items()}
    first = {kind: found[0].rstrip(",;:") for kind, found in words.items() if found}
    return first if len(set(first.values())) == len(titles) else dict(titles)
