"""Files written whole or not at all, names that every file system takes, paths that stay inside."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

LONGEST_NAME = 120
"""Bytes of a name that is made from a text: encrypted file systems take 143, and a number and an
ending follow."""


def file_name(text: str, longest: int = LONGEST_NAME) -> str:
    """Return ``text`` as the name of a file or directory; one that is too long ends in its digest.

    Args:
        text: anything, such as a test's id; two texts may have the same name.
        longest: bytes that the name may have.
    """
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in text)
    encoding = sys.getfilesystemencoding()
    encoded = safe.encode(encoding, "replace").replace(b"?", b"_").strip(b"_")
    if len(encoded) > longest:
        digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]
        encoded = encoded[: longest - 1 - len(digest)] + f"-{digest}".encode()
    name = encoded.decode(encoding, "ignore")
    return f"_{name}" if not name.strip(".") else name


@contextmanager
def whole_file(path: Path, *, sync: bool = False) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of ``path`` when the block ends.

    A reader sees the old file or the new one, never a part. Where the system can, the new file has
    no name before it is complete, so that nothing is left even of a process that is killed.

    Args:
        path: where the file is to be; its directory must be there.
        sync: whether the content must be on the disk before it has the name.

    Raises:
        OSError: it cannot be written; nothing is left behind, nor is where the block raises.
    """
    # Its length does not depend on the name's, which may be the longest that there can be.
    partial = path.with_name(f".{secrets.token_hex(6)}.part")
    named = False
    try:
        # In this order: where there is no such flag (macOS), or the file system has not got it.
        descriptor = os.open(path.parent, os.O_RDWR | os.O_TMPFILE, 0o666)
    except (AttributeError, OSError):
        descriptor, named = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(descriptor)
            if not named:
                _give_name(file, partial)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _give_name(file: IO[bytes], path: Path) -> None:
    descriptor = file.fileno()
    try:
        # A directory's descriptor, of no use beside an absolute path, has links followed.
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)
    except OSError:  # no /proc
        file.seek(0)
        with path.open("xb") as copy:
            shutil.copyfileobj(file, copy)


def write_whole(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Put ``content`` at ``path``; see :func:`whole_file`.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    with whole_file(path, sync=sync) as file:
        file.write(content)


def inside(directory: Path, name: str) -> Path:
    """Return the path of a file in a run's directory, whose name a file has given.

    Raises:
        ValueError: it leads out of the directory.
    """
    path = directory / name
    try:
        is_inside = path.resolve().is_relative_to(directory.resolve())
    except RuntimeError:  # a loop of links
        is_inside = False
    if not is_inside:
        raise ValueError(f"{name!r} leads out of {directory}")
    return path
