"""``pytest-servebench report RUN``: the page, the plots and the summary of a saved run again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from pytest_servebench.commands.arguments import add_results, add_run, results_of, say_left_out
from pytest_servebench.errors import OptionError
from pytest_servebench.report.outputs import OUTPUTS, PAGE_FILE, Material
from pytest_servebench.runs.run_json import RUN_FILE, read_file
from pytest_servebench.runs.run_names import find_run
from pytest_servebench.text.safe import clean

_DESCRIPTION: Final = """\
Make the page, the plots and the summary of a saved run again, from its files:
run.json, records/ and servers/. What is missing is named on the page. With
--output the page alone is made, and the run's directory stays as it is."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "report",
        help="make the page, plots and summary of a saved run again",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run(parser, ", of which the page alone is made, beside it")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the page there")
    add_results(parser)


def run(options: argparse.Namespace) -> int:
    """Write the files, print the page's path and return 0.

    Raises:
        SavedRunError: there is no such run, or it cannot be read.
        OptionError: a file cannot be written.
    """
    # Drawing is slow to import, and no other command needs it.
    from pytest_servebench.report.page import write_page  # noqa: PLC0415

    path = find_run(options.run, results_of(options))
    saved, report = read_file(path)
    say_left_out(path, saved)
    output: Path | None = options.output
    if output is None and path.name != RUN_FILE:
        output = path.with_suffix(".html")
    try:
        if output is not None:
            page = write_page(saved, path.parent, report, output)
        else:
            page = path.parent / PAGE_FILE
            for one in OUTPUTS:
                if one.kind == "files":
                    one.write(Material(saved, path.parent, report))
    except OSError as error:
        where = str(output) if output is not None else str(path.parent)
        raise OptionError(
            f"{where!r}: cannot be written to: {error.strerror}; give a file in a directory that "
            "exists and can be written to by --output"
        ) from error
    print(clean(page))
    return 0
