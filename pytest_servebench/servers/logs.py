"""Servers' logs: watched while a server starts, and quoted in errors."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_servebench.system.files import whole_file
from pytest_servebench.text.log_tail import BLOCK, block_at, last_lines
from pytest_servebench.text.redaction import anything_hidden, redact_bytes
from pytest_servebench.text.safe import harmless

_LONGEST_LINE = 400


@dataclass(frozen=True)
class FatalLine:
    """A log line after which a server can no longer become ready.

    Attributes:
        pattern: regular expression to search in one line.
        meaning: what it means, and what to do, for the error.
        port_clash: whether another program took a port first; then new ports are tried.
    """

    pattern: re.Pattern[str]
    meaning: str
    port_clash: bool = False


PORT_CLASH: Final = FatalLine(
    re.compile(
        r"address (is )?already in use|socket \S* already in use|EADDRINUSE|connection in use:"
        r"|BindException|failed to bind|port \d+ is not available",
        re.IGNORECASE,
    ),
    "another program took one of its ports",
    port_clash=True,
)
"""What servers log whose port is taken."""


class LogWatch:
    """Reads what was added to logs since the last call."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._offsets = dict.fromkeys(paths, 0)

    def new_lines(self) -> Iterator[str]:
        """Yield the lines that were completed since the last call."""
        for path in self._offsets:
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            with file:
                while block := block_at(file, self._offsets[path]):
                    complete = block[: block.rfind(b"\n") + 1]
                    if not complete and len(block) == BLOCK:
                        complete = block  # a very long line comes in parts
                    if not complete:
                        break
                    self._offsets[path] += len(complete)
                    yield from complete.decode("utf-8", "replace").splitlines()


def first_fatal(lines: Iterable[str], fatal: Sequence[FatalLine]) -> tuple[FatalLine, str] | None:
    """Return the first fatal line with its text; of two entries that match it, the earlier."""
    for line in lines:
        for candidate in fatal:
            if candidate.pattern.search(line):
                return candidate, line.strip()
    return None


def tail(paths: Sequence[Path]) -> str:
    """Return the last lines of each log, indented below its path, without secrets."""
    parts = []
    for path in paths:
        lines = last_lines(path)
        if lines is None:
            parts.append(f"{path}: no such file")
        elif not lines:
            parts.append(f"{path}: empty")
        else:
            quoted = "\n".join(f"  | {harmless(line)[:_LONGEST_LINE]}" for line in lines)
            parts.append(f"{path}, last lines:\n{quoted}")
    return "\n".join(parts)


def scrub(paths: Iterable[Path]) -> None:
    """Redact secrets in kept files, in case the server or its model logged them.

    Raises:
        OSError: a file cannot be read or rewritten, and may hold secrets; the others do not.
    """
    failure: OSError | None = None
    for path in paths:
        try:
            if any(redact_bytes(part) != part for part in _parts(path)):
                with whole_file(path) as file:
                    file.writelines(map(redact_bytes, _parts(path)))
                    os.fchmod(file.fileno(), path.stat().st_mode)
        except FileNotFoundError:
            continue
        except OSError as error:
            failure = error
    if failure is not None:
        raise failure


def _parts(path: Path) -> Iterator[bytes]:
    """Yield a file's lines, or parts of very long lines: a log may have gigabytes."""
    if path.is_file() and anything_hidden():
        with path.open("rb") as file:
            while part := file.readline(BLOCK):
                yield part


class LineCounts:
    """Counts the lines of growing logs, reading each part once."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, int]] = {}  # bytes read, and lines in them

    def of(self, paths: Iterable[Path]) -> dict[Path, int]:
        """Return how many lines each log has; 0 if it cannot be read."""
        return {path: self._count(path) for path in paths}

    def _count(self, path: Path) -> int:
        offset, lines = self._known.get(path, (0, 0))
        try:
            with path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)  # the writer may be faster than this reader
                if end < offset:  # it was truncated
                    offset = lines = 0
                while offset < end and (block := block_at(file, offset)):
                    offset += len(block)
                    lines += block.count(b"\n")
        except OSError:
            return 0
        self._known[path] = offset, lines
        return lines
