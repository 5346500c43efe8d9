"""What servers wrote to their logs: during a case, and before they died."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_servebench.runs.results import CaseResult, LogPart, ServerDeath
from pytest_servebench.system.files import file_name, inside
from pytest_servebench.text.log_tail import last_lines, lines_between
from pytest_servebench.text.safe import clean, harmless

_LOG_LINES: Final = 20
_LONGEST_LINE: Final = 240


@dataclass(frozen=True)
class LogTail:
    """Some lines of a server's log, and which they are."""

    name: str
    lines: tuple[str, ...]
    which: str = "its last lines at the end of the run"
    told: bool = False  # also where there are no lines


def case_logs(case: CaseResult, directory: Path) -> list[LogTail]:
    """Return the last lines that the server's logs gained while the case ran.

    A run that did not record which these are (earlier versions) shows the ends of the logs. There
    are none if the logs are missing.
    """
    if not case.logs:
        return _log_tails(case.server.kind, directory)
    tails = [_part_tail(part, directory) for part in case.logs]
    found = [tail for tail in tails if tail is not None]
    written = [one for one in found if one.lines or one.told]
    silent = "nothing was logged while this case ran"
    return written or [LogTail(one.name, (), silent) for one in found[:1]]


def _part_tail(part: LogPart, directory: Path) -> LogTail | None:
    """Return the last lines of a part of a log; ``None`` if there is no such log or part."""
    if part.before < 0 or part.added < 0:
        return None
    last = part.before + part.added
    first = part.before + max(0, part.added - _LOG_LINES)
    try:
        path = (directory / part.file).resolve()
        # The name comes from a file: it must be an entry of the directory, not a way out.
        if not path.is_relative_to((directory / "servers").resolve()):
            which = "not shown: the run is damaged, the path leads outside its servers/"
            return LogTail(clean(part.file), (), which, told=True)
        if not path.is_file():
            return None
        lines = tuple(map(_log_line, lines_between(path, first, last)))
    except (OSError, ValueError, RuntimeError):
        # a loop of links, or the latter where it is no name or no count of lines
        return None
    return LogTail(part.file, lines, f"lines {first + 1} to {last}, written while this case ran")


def _log_tails(kind: str, directory: Path) -> list[LogTail]:
    """Return how the logs of a kind's servers end, the first server's first."""
    try:
        # The kind comes from a file: its name must be an entry of the directory, not a way out.
        own = [one for one in (directory / "servers").iterdir() if one.name == file_name(kind)]
        logs = (path for one in own for path in one.rglob("*.log"))
        # Neither must a link be: the directory may be of any origin.
        found = sorted((path for path in logs if _is_inside(directory, path)), key=_start)
    except OSError:
        return []
    tails = []
    for path in found:
        lines = last_lines(path) or []
        if lines:
            shown = tuple(_log_line(line) for line in lines[-_LOG_LINES:])
            tails.append(LogTail(path.relative_to(directory).as_posix(), shown))
    return tails


def _is_inside(directory: Path, path: Path) -> bool:
    try:
        return inside(directory, str(path.relative_to(directory))).is_file()
    except ValueError:
        return False


def death_logs(deaths: Iterable[ServerDeath], directory: Path) -> list[LogTail]:
    """Return how the logs of servers that died end, which is the moment of their death."""
    files: dict[str, set[str]] = {}
    for death in deaths:
        files.setdefault(death.kind, set()).add(death.log_file)
    return [
        tail for kind, own in files.items() for tail in _log_tails(kind, directory)
        if tail.name in own
    ]  # fmt: skip


def _start(path: Path) -> tuple[int, Path]:
    """Return which start of its server wrote a log: later starts have a directory each."""
    name = path.parent.name
    return (int(name) if name.isdecimal() else 1), path


def _log_line(line: str) -> str:
    shown = harmless(line).rstrip()
    return shown if len(shown) <= _LONGEST_LINE else shown[:_LONGEST_LINE] + "…"
