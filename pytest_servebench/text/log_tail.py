"""Parts of logs, however long they are."""

import os
from pathlib import Path
from typing import IO, Final

BLOCK: Final = 1 << 20
"""Bytes in memory at once: a log may have gigabytes."""

TAIL_LINES: Final = 30
_TAIL_BYTES: Final = 32_768
_LONGEST_READ: Final = 4096  # bytes of a line that are kept


def lines_between(path: Path, first: int, last: int) -> list[str]:
    """Return the lines of a log from ``first`` up to ``last``, counted from 0, long ones cut.

    Raises:
        OSError: it cannot be read.
    """
    found: list[str] = []
    with path.open("rb") as file:
        if not _skip_lines(file, first):
            return found
        for _ in range(first, last):
            line = file.readline(_LONGEST_READ)
            if not line:
                break
            found.append(line.decode("utf-8", "replace"))
            while line and not line.endswith(b"\n"):
                line = file.readline(BLOCK)
    return found


def _skip_lines(file: IO[bytes], number: int) -> bool:
    """Seek to the beginning of a line; return whether the file has that many."""
    offset = 0
    while number > 0:
        block = block_at(file, offset)
        if not block:
            return False
        lines = block.count(b"\n")
        if lines >= number:
            place = -1
            for _ in range(number):
                place = block.index(b"\n", place + 1)
            file.seek(offset + place + 1)
            return True
        number -= lines
        offset += len(block)
    return True


def block_at(file: IO[bytes], offset: int) -> bytes:
    """Return up to :data:`BLOCK` bytes of a file."""
    file.seek(offset)
    return file.read(BLOCK)


def last_lines(path: Path) -> list[str] | None:
    """Return the last lines of a log, ``None`` if it cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").rstrip().splitlines()
            # The first one may have lost its beginning, and with it part of a secret.
            whole = lines[1:] if size > _TAIL_BYTES and len(lines) > 1 else lines
            return whole[-TAIL_LINES:]
    except OSError:
        return None
