"""``pytest-servebench list``: list the saved runs."""

import argparse
import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from pytest_servebench.commands.arguments import Commands, add_results, results_of
from pytest_servebench.errors import SavedRunError
from pytest_servebench.report.facts import date_text
from pytest_servebench.runs.run_json import RUN_FILE, Heading, read_file
from pytest_servebench.runs.run_names import LATEST, SavedRun, directories_without_run, runs_in
from pytest_servebench.runs.titles import server_titles
from pytest_servebench.text.safe import clean, counted, joined
from pytest_servebench.text.tables import Cell, Column, plain_text, table

_OF_CASES: Final = ("passed", "failed", "inconclusive", "invalid", "no SLO")
_OF_CAPACITIES: Final = ("capacities", "found")  # columns only where there are any
_BEFORE: Final = (Column("run", right=False), Column("date", right=False), Column("cases"))
_AFTER: Final = (Column("servers", right=False), Column("also named", right=False))
_ANY_WIDTH: Final = 10_000  # the terminal wraps the last column
_CHECKED: Final = 100  # of the latest runs: reading all of a file takes ten times as long


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "list",
        help="list saved runs",
        description="List saved runs, the latest last. The files of the latest "
        f"{_CHECKED} are checked as 'show' does; of earlier ones only what the list shows.",
    )
    add_results(parser, "results directory")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Suspend garbage collection: thousands of runs trigger it often, and make no cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_uncollected()
def run(options: argparse.Namespace) -> int:
    """Print one line per run, and why a run cannot be read.

    Raises:
        SavedRunError: the directory cannot be read.
    """
    results = results_of(options)
    runs = runs_in(results)
    runs = [*runs[:-_CHECKED], *map(_checked, runs[-_CHECKED:])]
    if not runs:
        print(f"{results}/ has no saved runs.")
    headings = [(one, one.heading) for one in runs if one.heading is not None]
    words = [
        *(_OF_CAPACITIES if any(heading.capacities for _, heading in headings) else ()),
        *_OF_CASES,
    ]
    columns = [*_BEFORE, *map(Column, words), *_AFTER]
    rows = [_row(one, heading, words, last=one is runs[-1]) for one, heading in headings]
    for line in table(columns, rows, _ANY_WIDTH) if rows else ():
        print(plain_text(line))
    for one in runs:
        if one.heading is not None and not one.heading.finished:
            # Its row alone would look like that of a small complete run.
            print(
                f"{clean(one.path.parent.name)}: not finished: the session was interrupted or "
                f"killed, or is still running; "
                f"{counted(one.heading.not_measured, 'selected case')} not measured"
            )
    for one in runs:
        if one.problem:
            print(f"cannot read {one.problem}")
    for directory in directories_without_run(results):
        print(
            f"{clean(directory)}/ has no {RUN_FILE}: the session measured nothing, was killed, or "
            "is still running"
        )
    return 0


def _checked(saved: SavedRun) -> SavedRun:
    """Return a run as one that cannot be read if no other command would read it."""
    if saved.heading is not None:
        try:
            read_file(saved.path)
        except SavedRunError as error:
            return replace(saved, heading=None, problem=str(error))
    return saved


def _row(saved: SavedRun, heading: Heading, words: Sequence[str], *, last: bool) -> list[Cell]:
    counts = Counter(
        one.verdict if one.clauses or one.verdict != "passed" else unjudged
        for results, unjudged in ((heading.cases, "no SLO"), (heading.capacities, "found"))
        for one in results
    )
    numbers = {**counts, "capacities": len(heading.capacities)}
    names = [*saved.names, *([LATEST] if last else [])]
    return [
        Cell(clean(saved.path.parent.name)),
        Cell(date_text(heading.started)),
        Cell(str(len(heading.cases))),
        *(Cell(str(numbers.get(word) or "-")) for word in words),
        Cell(joined(server_titles((*heading.cases, *heading.capacities)).values())),
        Cell(clean(", ".join(names))),
    ]
