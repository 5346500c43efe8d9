"""``pytest-servebench show RUN``: show a saved run, as at the end of its session."""

import argparse
import dataclasses
import sys
from typing import Final

from _pytest._io import TerminalWriter

from pytest_servebench.commands.arguments import (
    Commands,
    add_results,
    add_run,
    results_of,
    say_left_out,
)
from pytest_servebench.errors import OptionError
from pytest_servebench.report.outputs import OUTPUTS, Material
from pytest_servebench.report.terminal import write_tables
from pytest_servebench.runs.results import Run
from pytest_servebench.runs.run_json import read_file
from pytest_servebench.runs.run_names import find_run
from pytest_servebench.text.safe import clean, shows_unicode, to_ascii

_TEXTS: Final = {output.name: output for output in OUTPUTS if output.kind == "text"}
_MOST_NAMES: Final = 20  # of cases in an error


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "show",
        help="show a saved run again",
        description="Show the tables, verdicts and evaluation of a saved run, as at the end of its "
        "session.",
    )
    add_run(parser)
    parser.add_argument(
        "--case",
        metavar="TEXT",
        help="show only the cases whose names contain TEXT, with all details",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show all details")
    add_results(parser)
    parser.add_argument("--format", choices=("table", *_TEXTS), default="table",
                        help="output format (default: table)")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Print the run and return 0.

    Raises:
        SavedRunError: the run does not exist, or cannot be read.
        OptionError: no case has such a name.
    """
    path = find_run(options.run, results_of(options))
    whole, _ = read_file(path)
    say_left_out(path, whole)
    part = _part(whole, options.case)
    if options.format == "table":
        verbosity = int(options.verbose or options.case is not None)
        # The evaluation, which server won where, needs all cases.
        write_tables(
            TerminalWriter(sys.stdout), part, verbosity, evaluated=part == whole, named=True
        )
        print(f"servebench: results in {clean(path.parent)}")
        return 0
    text = _TEXTS[options.format].write(Material(part, path.parent))
    sys.stdout.write(text if shows_unicode(sys.stdout) else to_ascii(text))
    return 0


def _part(saved: Run, text: str | None) -> Run:
    """Return the run with only the cases whose names contain ``text``, ignoring case."""
    if text is None:
        return saved
    found = tuple(case for case in saved.cases if text.casefold() in case.name.casefold())
    if found:
        return dataclasses.replace(saved, cases=found)
    names = [f"\n  {clean(case.name)}" for case in saved.cases[:_MOST_NAMES]]
    left = len(saved.cases) - len(names)
    more = f"\n  and {left} more" if left else ""
    raise OptionError(
        f"--case={text!r}: no case name in {clean(saved.name)} contains this; the cases are"
        f"{''.join(names)}{more}"
    )
