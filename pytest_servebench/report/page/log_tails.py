"""How the logs of a case's server end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_servebench.servers.logs import last_lines

_LOG_LINES: Final = 20
_LONGEST_LINE: Final = 240


@dataclass(frozen=True)
class LogTail:
    """The last lines of a server's log."""

    name: str
    lines: tuple[str, ...]


def log_tails(kind: str, directory: Path) -> list[LogTail]:
    """Return how the logs of a kind's servers end, the first server's first.

    There are none where they are missing or empty.
    """
    try:
        # The kind comes from a file: its name must be an entry of the directory, not a way out.
        own = [one for one in (directory / "servers").iterdir() if one.name == kind]
        found = sorted((path for one in own for path in one.rglob("*.log")), key=_start)
    except OSError:
        return []
    tails = []
    for path in found:
        lines = last_lines(path) or []
        if lines:
            shown = tuple(_log_line(line) for line in lines[-_LOG_LINES:])
            tails.append(LogTail(path.relative_to(directory).as_posix(), shown))
    return tails


def _start(path: Path) -> tuple[int, Path]:
    """Return by which start of its server a log was written: further ones have a directory each."""
    name = path.parent.name
    return (int(name) if name.isdecimal() else 1), path


def _log_line(line: str) -> str:
    shown = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in line.rstrip())
    return shown if len(shown) <= _LONGEST_LINE else shown[:_LONGEST_LINE] + "…"
