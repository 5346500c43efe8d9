"""Which saved run is meant: by a file, a directory, a name, or ``latest``.

CI artifact stores copy, pack and unpack results directories, and turn links into directories. So
``latest`` is the run whose own file has the latest start, never the content of an entry of that
name; and two directories with the same file are one run.
"""

import difflib
import errno
import math
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from pytest_servebench.errors import NoSuchRunError, SavedRunError
from pytest_servebench.runs.results import Run
from pytest_servebench.runs.run_json import RUN_FILE, Heading, read_file, read_heading
from pytest_servebench.text.safe import clean

LATEST: Final = "latest"
RESULTS: Final = Path("servebench_results")
_CLOSE: Final = 3  # names that an error suggests
_NAME: Final = re.compile(r"\w[\w.+-]*")  # of a directory
_ZONES: Final = timedelta(hours=26)  # between the clocks of the farthest time zones
_STAMP: Final = re.compile(r"\d{8}-\d{6}")  # of a run's directory, in local time


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A run in a directory of results.

    Attributes:
        path: its file.
        names: other entries of the directory that are this run, links and copies, except
            ``latest``.
        heading: what it is listed by; ``None`` if its file cannot be read.
        problem: why it cannot be read.
    """

    path: Path
    names: tuple[str, ...]
    heading: Heading | None
    problem: str

    @property
    def order(self) -> tuple[float, list[str | int]]:
        """Return the sort key of runs: by time, then by name."""
        return _instant(self), _natural(self.path.parent.name)


def find_run(name: str | Path, results: Path = RESULTS) -> Path:
    """Return the file of a saved run.

    Args:
        name: a file, a run's directory, a directory of results (its latest run is meant), or the
            name of a run in ``results``, ``latest`` included. Text without a ``/`` is tried as a
            name first: a directory beside the tests may have the name of a run.
        results: where runs are looked up by name.

    Raises:
        NoSuchRunError: there is no such run.
        SavedRunError: the name is ambiguous, or the latest run cannot be read.
    """
    named, beside = results / name, Path(name)
    is_name = not set(str(name)) & {os.sep, os.altsep}
    if not is_name:
        found = _run_at(beside) or _run_at(named)
    elif (found := _run_at(named)) is None:
        found = _run_at(beside)
    elif (beside / RUN_FILE).is_file() and not found.samefile(_run_at(beside) or beside):
        raise SavedRunError(
            f"{str(name)!r}: is both a run in {results}/ and a run's directory here. "
            f"Give {os.curdir}{os.sep}{name} or {named}."
        )
    if found is not None:
        return found
    if not is_name and beside.is_dir():
        raise SavedRunError(
            f"{str(beside)!r}: contains no {RUN_FILE}, nor do its subdirectories: the run did not "
            "finish, or this is not a results directory. Give another."
        )
    here = "this directory holds no run" if beside.is_dir() else "there is no such file"
    raise NoSuchRunError(
        f"{str(name)!r}: {here}, and no run of this name in "
        f"{results}/{_offer(str(name), results)}. Give a run.json, a run's directory or a run's "
        "name; 'pytest-servebench list' shows the runs."
    )


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


def _run_at(path: Path) -> Path | None:
    """Return the file of the run at a path; ``None`` if there is no run."""
    # An entry called latest may be the copy of an earlier run.
    if path.name == LATEST and (newest := _newest(path.parent)) is not None:
        return newest
    if path.is_file():
        return path
    if (path / RUN_FILE).is_file():
        return path / RUN_FILE
    return _newest(path)


def _newest(results: Path) -> Path | None:
    if not results.is_dir() or not (runs := _runs(_recent(_directories(results)))):
        return None
    if runs[-1].problem:
        raise SavedRunError(
            f"{str(results / LATEST)!r}: the latest run cannot be read: {runs[-1].problem}"
        )
    return runs[-1].path


def _recent(directories: Sequence[Path]) -> list[Path]:
    """Return the entries that can be the latest run, to avoid reading thousands.

    A run's own directory is named after its local start time: one more than a day older than
    another by name cannot be later. Other names do not show it, so those entries stay.
    """
    stamps = {one: _stamp(one.name) for one in directories}
    known = [stamp for stamp in stamps.values() if stamp is not None]
    least = max(known) - _ZONES if known else datetime.min
    return [one for one, stamp in stamps.items() if stamp is None or stamp >= least]


def _stamp(name: str) -> datetime | None:
    """Return the local time in the name of a run's own directory; ``None`` for other names."""
    if not (found := _STAMP.match(name)):
        return None
    try:
        return datetime.strptime(found[0], "%Y%m%d-%H%M%S")
    except ValueError:
        return None


def _offer(name: str, results: Path) -> str:
    try:
        names = [one.name for one in _directories(results)]
    except SavedRunError:
        return ""
    close = difflib.get_close_matches(name, names, _CLOSE)
    return f" (did you mean {' or '.join(map(clean, close))}?)" if close else ""


def _directories(results: Path) -> list[Path]:
    try:
        found = sorted((one.name, one.path) for one in os.scandir(results) if one.is_dir())
    except OSError as error:
        raise SavedRunError(
            f"{str(results)!r}: {error.strerror}. Give the results directory with --results."
        ) from error
    return [one for _, path in found if ((one := Path(path)) / RUN_FILE).is_file()]


def runs_in(results: Path) -> list[SavedRun]:
    """Return the runs in a results directory in the order of time, each once.

    Raises:
        SavedRunError: the directory cannot be read.
    """
    return _runs(_directories(results))


def _runs(directories: Sequence[Path]) -> list[SavedRun]:
    entries: dict[Path, list[Path]] = {}  # by where links lead
    parent = directories[0].parent.resolve() if directories else Path()
    for one in directories:
        real = one.resolve() if one.is_symlink() else parent / one.name
        entries.setdefault(real, []).append(one)
    found: dict[object, tuple[Heading | None, str, list[Path]]] = {}  # copies have one digest
    for real, paths in entries.items():
        key: object = real
        heading, problem = None, ""
        try:
            heading, key = read_heading(paths[0] / RUN_FILE)
        except SavedRunError as error:
            problem = str(error)
        found.setdefault(key, (heading, problem, []))[2].extend(paths)
    return sorted(
        (_saved_run(heading, problem, paths) for heading, problem, paths in found.values()),
        key=lambda one: one.order,
    )


def _saved_run(heading: Heading | None, problem: str, paths: Sequence[Path]) -> SavedRun:
    own, *others = sorted(paths, key=lambda one: _rank(one, heading)) if len(paths) > 1 else paths
    names = sorted(one.name for one in others if one.name != LATEST)
    return SavedRun(own / RUN_FILE, tuple(names), heading, problem)


def _rank(path: Path, heading: Heading | None) -> tuple[bool, bool, bool, str]:
    """Return which of several directories names a run: the one it was written to."""
    own = heading is not None and path.name == heading.run
    return not own, path.is_symlink(), path.name == LATEST, path.name


def directories_without_run(results: Path) -> list[Path]:
    """Return the directories of sessions that left logs or records but no run, by name."""
    return sorted(
        one
        for entry in os.scandir(results)
        if not entry.is_symlink()
        and not ((one := Path(entry.path)) / RUN_FILE).exists()
        and ((one / "servers").is_dir() or (one / "records").is_dir())
    )


def _instant(run: SavedRun) -> float:
    """Return when a run began, seconds since the epoch; by its name if the file is broken."""
    if run.heading is not None:
        return instant(run.heading.started)
    try:
        stamp = _stamp(run.path.parent.name)
        return -math.inf if stamp is None else stamp.astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        return -math.inf


def instant(started: str) -> float:
    """Return the instant of ISO 8601 text, seconds since the epoch; -inf if it is not a time.

    Without an offset it is UTC, as pytest-benchmark writes it.
    """
    try:
        time = datetime.fromisoformat(started)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return -math.inf


def _natural(name: str) -> list[str | int]:
    # Every other part is digits, so that numbers are only compared with numbers.
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


# -- giving names ---------------------------------------------------------------------------------


def give_name(link: Path, directory: Path) -> str:
    """Make ``link`` point to the run in ``directory``, which is beside it.

    A directory in its place is the copy of a run, and was once a link. It is moved to that run's
    name if the run is missing; otherwise it is removed, if the run has every file of it.

    Returns:
        Where a directory went that was in the way and could not be removed; else empty.

    Raises:
        OSError: the link cannot be made.
    """
    moved = _make_room(link) if link.is_dir() and not link.is_symlink() else ""
    partial = link.with_name(f".{link.name}-{directory.name}")
    try:
        partial.symlink_to(directory.name)
        partial.replace(link)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return moved


def _make_room(copy: Path) -> str:
    try:
        heading, _ = read_heading(copy / RUN_FILE)
    except SavedRunError as error:  # it is not ours to move
        reason = "it is a directory without a run"
        raise IsADirectoryError(errno.EISDIR, reason, str(copy)) from error
    if _NAME.fullmatch(heading.run) and heading.run not in (LATEST, copy.name):
        own = copy.with_name(heading.run)
        if not own.exists():
            copy.rename(own)
            return ""
        if _holds(own, copy):
            shutil.rmtree(copy)
            return ""
    number = 1
    while (aside := copy.with_name(f"{copy.name}.{number}")).exists():
        number += 1
    copy.rename(aside)
    return f"{copy} was a directory with a run that exists nowhere else: it is now {aside}"


def _holds(original: Path, copy: Path) -> bool:
    files: Sequence[Path] = [one for one in copy.rglob("*") if not one.is_dir()]
    return all(_same(original / one.relative_to(copy), one) for one in files)


def _same(one: Path, other: Path) -> bool:
    try:
        if one.name == RUN_FILE:
            return one.read_bytes() == other.read_bytes()
        return one.stat().st_size == other.stat().st_size
    except OSError:
        return False
