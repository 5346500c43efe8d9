"""What servers wrote to their logs: during a case, and before they died."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_servebench.runs.results import CaseResult, LogPart, ServerDeath
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
    told: bool = False  # even if there are no lines


def case_logs(case: CaseResult, directory: Path) -> list[LogTail]:
    """Return the last lines that the server's logs gained while the case ran.

    There are none if the logs are missing.
    """
    tails = [_part_tail(part, directory) for part in case.logs]
    found = [tail for tail in tails if tail is not None]
    written = [one for one in found if one.lines or one.told]
    silent = "nothing was logged while this case ran"
    return written or [LogTail(one.name, (), silent) for one in found[:1]]


def _part_tail(part: LogPart, directory: Path) -> LogTail | None:
    if part.before < 0 or part.added < 0:
        return None
    last = part.before + part.added
    first = part.before + max(0, part.added - _LOG_LINES)
    try:
        if not (path := _inside_servers(part.file, directory)):
            which = "not shown: the run is damaged, the path leads outside its servers/"
            return LogTail(clean(part.file), (), which, told=True)
        lines = tuple(map(_log_line, lines_between(path, first, last)))
    except (OSError, ValueError, RuntimeError):
        # missing, or a loop of links; ValueError if it is not a name or not a count of lines
        return None
    return LogTail(part.file, lines, f"lines {first + 1} to {last}, written while this case ran")


def _inside_servers(name: str, directory: Path) -> Path | None:
    """Return the log of this name, which comes from a file; ``None`` if it leads elsewhere."""
    path = (directory / name).resolve()
    return path if path.is_relative_to((directory / "servers").resolve()) else None


def death_logs(deaths: Iterable[ServerDeath], directory: Path) -> list[LogTail]:
    """Return how the logs of servers that died end, which is the moment of their death."""
    tails = []
    for name in dict.fromkeys(death.log_file for death in deaths if death.log_file):
        with suppress(ValueError, RuntimeError):  # not a name, or a loop of links
            path = _inside_servers(name, directory)
            if path and (lines := last_lines(path)):
                shown = tuple(map(_log_line, lines[-_LOG_LINES:]))
                tails.append(LogTail(clean(name), shown))
    return tails


def _log_line(line: str) -> str:
    shown = harmless(line).rstrip()
    return shown if len(shown) <= _LONGEST_LINE else shown[:_LONGEST_LINE] + "…"
