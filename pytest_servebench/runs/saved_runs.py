"""Read saved runs, however the user refers to them."""

from __future__ import annotations

from pathlib import Path

from pytest_servebench.runs.results import Run
from pytest_servebench.runs.run_json import read_file
from pytest_servebench.runs.run_names import RESULTS, find_run


def read_run(name: str | Path, results: Path = RESULTS, *, any_schema: bool = False) -> Run:
    """Return a saved run.

    Args:
        name: a file, a run's directory, a directory of results (its latest run is meant), or the
            name of a run in ``results``, ``latest`` included.
        results: where runs are looked up by name.
        any_schema: whether to try a file with another schema version.

    Raises:
        SavedRunError: there is no such run, or it cannot be read.
    """
    return read_file(find_run(name, results), any_schema=any_schema)[0]
