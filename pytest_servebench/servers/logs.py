"""Servers' logs: watched while a server starts, and quoted in errors."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_servebench.redaction import anything_hidden, redact_bytes
from pytest_servebench.report.text import harmless

TAIL_LINES = 30
_TAIL_BYTES = 32_768
_LONGEST_LINE = 400
_PART = 1 << 20  # bytes


@dataclass(frozen=True)
class FatalLine:
    """A line in a log after which a server will not become ready any more.

    Attributes:
        pattern: regular expression to find in one line.
        meaning: what it means, and what to do, in words for the error.
        port_clash: another program was faster to take a port; worth another try on fresh ones.
    """

    pattern: re.Pattern[str]
    meaning: str
    port_clash: bool = False


class LogWatch:
    """Reads what was added to some logs since the last look."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._offsets = dict.fromkeys(paths, 0)

    def new_lines(self) -> Iterator[str]:
        """Yield the lines that were completed since the last call."""
        for path, offset in self._offsets.items():
            try:
                with path.open("rb") as file:
                    file.seek(offset)
                    added = file.read()
            except FileNotFoundError:
                continue
            complete = added[: added.rfind(b"\n") + 1]
            self._offsets[path] = offset + len(complete)
            yield from complete.decode("utf-8", "replace").splitlines()

    def first_fatal(self, fatal: Sequence[FatalLine]) -> tuple[FatalLine, str] | None:
        """Return the first fatal line that was added, with its text."""
        for line in self.new_lines():
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
    """Replace secrets in files that are kept, should the server or its model have logged them."""
    for path in paths:
        with suppress(OSError):
            if any(redact_bytes(part) != part for part in _parts(path)):
                with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                    file.writelines(map(redact_bytes, _parts(path)))
                shutil.copymode(path, file.name)
                Path(file.name).replace(path)


def _parts(path: Path) -> Iterator[bytes]:
    """Yield a file's lines, or parts of lines that have no end: a log may have gigabytes."""
    if path.is_file() and anything_hidden():
        with path.open("rb") as file:
            while part := file.readline(_PART):
                yield part


def line_counts(paths: Iterable[Path]) -> dict[Path, int]:
    """Return how many lines each log has; none where it cannot be read."""
    counts = dict.fromkeys(paths, 0)
    for path in counts:
        with suppress(OSError), path.open("rb") as file:
            while chunk := file.read(1 << 20):
                counts[path] += chunk.count(b"\n")
    return counts


def last_lines(path: Path) -> list[str] | None:
    """Return the last lines of a log, ``None`` where it cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").rstrip().splitlines()
            # The first one may have lost its beginning, of which a secret may be a part.
            whole = lines[1:] if size > _TAIL_BYTES and len(lines) > 1 else lines
            return whole[-TAIL_LINES:]
    except OSError:
        return None
