"""``pytest-servebench list``: the runs that were saved."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pytest_servebench.commands.arguments import add_results
from pytest_servebench.errors import SavedRunError
from pytest_servebench.report.facts import run_date, server_titles
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
from pytest_servebench.saved_runs import (
    LATEST,
    RUN_FILE,
    directories_without_run,
    read_run,
    run_files,
)

_VERDICTS: Final = ("passed", "failed", "inconclusive", "invalid")
_COLUMNS: Final = (
    Column("run", right=False),
    Column("date", right=False),
    Column("cases"),
    *(Column(word) for word in _VERDICTS),
    Column("servers", right=False),
    Column("also named", right=False),
)
_ANY_WIDTH: Final = 10_000  # the last column may go on in the next line


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "list", help="list saved runs", description="List saved runs, the latest last."
    )
    add_results(parser, "directory of results")


def run(options: argparse.Namespace) -> int:
    """Print one line for each run; one that cannot be read says why.

    Raises:
        SavedRunError: the directory cannot be read.
    """
    files = run_files(options.results)
    if not files:
        print(f"{options.results}/ holds no saved runs.")
    names = _names(files)
    runs, broken = [], []
    for path in files:
        if path.parent.is_symlink() and path.parent.resolve() in names:
            continue  # another name of a run that has its own line
        try:
            runs.append((path.parent, read_run(path)))
        except SavedRunError as error:
            broken.append(str(error))
    runs.sort(key=lambda one: (one[1].started, one[0].name))
    if runs:
        for text in _table([_row(path, names.get(path.resolve(), []), run) for path, run in runs]):
            print(text)
    for problem in broken:
        print(f"cannot be read: {problem}")
    for directory in directories_without_run(options.results):
        print(
            f"{clean(directory)}/ holds no {RUN_FILE}: its session measured nothing, was killed, "
            "or has not ended"
        )
    return 0


def _names(files: Sequence[Path]) -> dict[Path, list[str]]:
    """Return the directory of each run with the names that --servebench-save gave it."""
    if not files:
        return {}
    found: dict[Path, list[str]] = {
        path.parent.resolve(): [] for path in files if not path.parent.is_symlink()
    }
    results = files[0].parent.parent
    for link in (*(path.parent for path in files), results / LATEST):
        if link.is_symlink() and link.resolve() in found:
            found[link.resolve()].append(link.name)
    return found


def _row(path: Path, names: Sequence[str], run: Run) -> list[Cell]:
    counts = Counter(case.verdict for case in run.cases)
    return [
        Cell(clean(path.name)),
        Cell(run_date(run)),
        Cell(str(len(run.cases))),
        *(Cell(str(counts[word] or "-")) for word in _VERDICTS),
        Cell(joined(server_titles(run.cases).values())),
        Cell(clean(", ".join(names))),
    ]


def _table(rows: Sequence[list[Cell]]) -> list[str]:
    layout = lay_out(_COLUMNS, rows, _ANY_WIDTH)
    lines = [*heading_lines(_COLUMNS, layout), *(row_line(_COLUMNS, row, layout) for row in rows)]
    return [plain_text(parts) for parts in lines]
