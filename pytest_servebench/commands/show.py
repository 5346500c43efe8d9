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
from pytest_servebench.report.capacity_table import unfinished_probes
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
    add_run(parser, ", or one of vLLM bench serve, AIPerf or GuideLLM")
    parser.add_argument(
        "--case",
        metavar="TEXT",
        help="show only the cases and capacities whose names contain TEXT, with all details",
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
    whole, _ = read_file(path, any_tool=True)
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
    """Return the run with only the results whose names contain ``text``, ignoring case.

    The probes of a search come with what it found.
    """
    if text is None:
        return saved
    wanted = text.casefold()
    cases = tuple(one for one in saved.cases if wanted in one.name.casefold())
    capacities = tuple(one for one in saved.capacities if wanted in one.name.casefold())
    own = {(one.nodeid, probe.label) for one in capacities for probe in one.probes}
    probes = tuple(one for one in saved.probes if (one.nodeid, one.label) in own)
    probes += tuple(one for one in unfinished_probes(saved) if wanted in one.name.casefold())
    if cases or capacities or probes:
        return dataclasses.replace(saved, cases=cases, capacities=capacities, probes=probes)
    names = [f"\n  {clean(one.name)}" for one in saved.results[:_MOST_NAMES]]
    left = len(saved.results) - len(names)
    more = f"\n  and {left} more" if left else ""
    raise OptionError(
        f"--case={text!r}: no case name in {clean(saved.name)} contains this; the cases are"
        f"{''.join(names)}{more}"
    )
