"""Arguments that several commands share."""

import argparse
import math
import sys
from pathlib import Path
from typing import TypeAlias

from pytest_servebench.commands.results_directory import find_results
from pytest_servebench.errors import OptionError
from pytest_servebench.runs.results import Run
from pytest_servebench.runs.run_names import LATEST, RESULTS
from pytest_servebench.text.safe import clean

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What the parser of a command is added to."""


def add_run(parser: argparse.ArgumentParser, extra: str = "") -> None:
    """Add RUN, a saved run; ``extra`` is help on files that are not our own."""
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        default=LATEST,
        help="a run.json, a run's directory, the name of a run in the results directory, or a "
        f"pytest-benchmark JSON file{extra} (default: {LATEST})",
    )


def add_results(
    parser: argparse.ArgumentParser, meaning: str = "where to look up runs by name"
) -> None:
    """Add ``--results``."""
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help=f"{meaning} (default: the ini key servebench_results, or the closest {RESULTS}/ in "
        "this directory or one above)",
    )


def results_of(options: argparse.Namespace) -> Path:
    """Return the results directory; if there are several candidates, say which one is used.

    Raises:
        OptionError: pytest's config file cannot be read.
    """
    if options.results is not None:
        return Path(options.results)
    found, others = find_results(Path.cwd())
    if others:
        print(f"pytest-servebench: {others}", file=sys.stderr)
    return found


def say_left_out(path: Path, saved: Run) -> None:
    """Report which parts of a file could not be read: on stderr, since JSON may go to stdout."""
    for one in saved.left_out:
        print(f"{clean(path)}: {clean(one)}", file=sys.stderr)


def number(option: str, text: str, example: str, below: float = math.inf) -> float:
    """Return the number above 0, and below a limit, that an option gives.

    Raises:
        OptionError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < below:
        limit = f" and below {below:g}" if math.isfinite(below) else ""
        raise OptionError(
            f"--{option}={text!r}: give a number above 0{limit}, such as --{option}={example}"
        )
    return value


def whole(option: str, text: str, least: int, most: int, example: str = "") -> int:
    """Return the whole number that an option gives.

    Raises:
        OptionError: it is none, or out of range.
    """
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        such = f", such as {example}" if example else ""
        raise OptionError(f"--{option}={text!r}: give a whole number from {least} to {most}{such}")
    return value
