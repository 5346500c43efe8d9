"""``pytest-servebench list``: the runs that were saved."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pytest_servebench.errors import SavedRunError
from pytest_servebench.report.facts import server_titles
from pytest_servebench.report.tables import (
    Cell,
    Column,
    heading_lines,
    lay_out,
    plain_text,
    row_line,
)
from pytest_servebench.report.text import clean, joined
from pytest_servebench.results import Run
from pytest_servebench.saved_runs import LATEST, RESULTS, read_run, run_files

_VERDICTS: Final = ("passed", "failed", "inconclusive", "invalid")
_COLUMNS: Final = (
    Column("run", right=False),
    Column("date", right=False),
    Column("cases"),
    *(Column(word) for word in _VERDICTS),
    Column("servers", right=False),
)
_ANY_WIDTH: Final = 10_000  # the last column may go on in the next line


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "list", help="list saved runs", description="List saved runs, the latest last."
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="DIR",
        help=f"directory of results (default: {RESULTS})",
    )


def run(options: argparse.Namespace) -> int:
    """Print one line for each run; one that cannot be read says why.

    Raises:
        SavedRunError: the directory cannot be read.
    """
    files = run_files(options.results)
    if not files:
        print(f"{options.results}/ holds no saved runs.")
        return 0
    latest = (options.results / LATEST).resolve().name
    rows, broken = [], []
    for path in files:
        try:
            run = read_run(path)
        except SavedRunError as error:
            broken.append(str(error))
        else:
            rows.append(_row(run, is_latest=path.parent.name == latest))
    if rows:
        for text in _table(rows):
            print(text)
    for problem in broken:
        print(f"cannot be read: {problem}")
    return 0


def _row(run: Run, *, is_latest: bool) -> list[Cell]:
    counts = Counter(case.verdict for case in run.cases)
    return [
        Cell(clean(run.name) + (" (latest)" if is_latest else "")),
        Cell(clean(run.started)[:16].replace("T", " ")),
        Cell(str(len(run.cases))),
        *(Cell(str(counts[word] or "-")) for word in _VERDICTS),
        Cell(joined(server_titles(run.cases).values())),
    ]


def _table(rows: Sequence[list[Cell]]) -> list[str]:
    layout = lay_out(_COLUMNS, rows, _ANY_WIDTH)
    lines = [*heading_lines(_COLUMNS, layout), *(row_line(_COLUMNS, row, layout) for row in rows)]
    return [plain_text(parts) for parts in lines]
