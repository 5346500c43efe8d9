"""``pytest-servebench report RUN``: rebuild page, plots and summary of a saved run."""

import argparse
from pathlib import Path
from typing import Final

from pytest_servebench.commands.arguments import (
    Commands,
    add_results,
    add_run,
    results_of,
    say_left_out,
)
from pytest_servebench.errors import OptionError
from pytest_servebench.report.outputs import OUTPUTS, PAGE_FILE, Material
from pytest_servebench.runs.run_json import RUN_FILE, read_file
from pytest_servebench.runs.run_names import find_run
from pytest_servebench.text.safe import clean

_DESCRIPTION: Final = """\
Rebuild the page, the plots and the summary of a saved run from its files:
run.json, records/ and servers/. The page says what is missing. With --output,
write the page only, and leave the run's directory alone."""


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "report",
        help="rebuild the page, plots and summary of a saved run",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run(parser, " (only the page is written, next to that file)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the page to FILE")
    parser.add_argument(
        "--sizing",
        action="store_true",
        help="add a section to the page in which a queueing model predicts latency against the "
        "rate; takes a few seconds for each server",
    )
    add_results(parser)


def run(options: argparse.Namespace) -> int:
    """Write the files, print the page's path and return 0.

    Raises:
        SavedRunError: the run does not exist, or cannot be read.
        OptionError: a file cannot be written.
    """
    # Slow to import, and other commands do not need it.
    from pytest_servebench.report.page import write_page  # noqa: PLC0415

    path = find_run(options.run, results_of(options))
    saved, report = read_file(path)
    say_left_out(path, saved)
    output: Path | None = options.output
    if output is None and path.name != RUN_FILE:
        output = path.with_suffix(".html")
    try:
        if output is not None:
            page = write_page(saved, path.parent, report, output, sizing=options.sizing)
        else:
            page = path.parent / PAGE_FILE
            for one in OUTPUTS:
                if one.kind == "files":
                    one.write(Material(saved, path.parent, report, sizing=options.sizing))
    except OSError as error:
        where = str(output) if output is not None else str(path.parent)
        raise OptionError(
            f"{where!r}: cannot write: {error.strerror}; give a file in an existing, writable "
            "directory by --output"
        ) from error
    print(clean(page))
    return 0
