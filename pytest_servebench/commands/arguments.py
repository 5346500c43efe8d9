"""Arguments that several commands have."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_servebench.commands.results_directory import find_results
from pytest_servebench.runs.results import Run
from pytest_servebench.runs.run_names import LATEST, RESULTS
from pytest_servebench.text.safe import clean


def add_run(parser: argparse.ArgumentParser, extra: str = "") -> None:
    """Add RUN, a saved run; ``extra`` is said of files of pytest-benchmark."""
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        default=LATEST,
        help="a run.json, a run's directory, a name in the results directory, or any file of "
        f"pytest-benchmark{extra} (default: {LATEST})",
    )


def add_results(
    parser: argparse.ArgumentParser, meaning: str = "where runs are looked for by name"
) -> None:
    """Add ``--results``."""
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help=f"{meaning} (default: that of the ini key servebench_results, or the closest "
        f"{RESULTS} upwards)",
    )


def results_of(options: argparse.Namespace) -> Path:
    """Return the directory of results; where several could be meant, say which one is.

    Raises:
        OptionError: the settings of pytest cannot be read.
    """
    if options.results is not None:
        return Path(options.results)
    found, others = find_results(Path.cwd())
    if others:
        print(f"pytest-servebench: {others}", file=sys.stderr)
    return found


def say_left_out(path: Path, saved: Run) -> None:
    """Say what a file has that could not be read: on stderr, since JSON may go to stdout."""
    for one in saved.left_out:
        print(f"{clean(path)}: {clean(one)}", file=sys.stderr)
