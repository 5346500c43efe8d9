"""Atomic file writes, file names for any file system, and paths that stay in a directory."""

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
"""Most bytes of a generated name: encrypted file systems allow 143, and a number and an extension
follow."""


def file_name(text: str, longest: int = LONGEST_NAME) -> str:
    """Return ``text`` as the name of a file or directory; a long name is cut, with a digest.

    Args:
        text: anything, such as a test's id; two texts may give the same name.
        longest: most bytes of the name.
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
    """Open a file that replaces ``path`` when the block ends.

    A reader sees the old file or the new one, never a part. If the system can, the new file has no
    name until it is complete: nothing is left behind even if the process is killed.

    Args:
        path: where to write; its directory must exist.
        sync: whether to flush the content to disk before the file gets its name.

    Raises:
        OSError: it cannot be written. Nothing is left behind then, or when the block raises.
    """
    # Its length does not depend on the name's, which may already have the maximum length.
    partial = path.with_name(f".{secrets.token_hex(6)}.part")
    named = False
    try:
        # The fallback is for systems (macOS) and file systems without O_TMPFILE.
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
        # A directory descriptor, otherwise unused with an absolute path, makes it follow links.
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
    """Return the path of a file in a run's directory, whose name comes from a file.

    Raises:
        ValueError: it points outside the directory.
    """
    path = directory / name
    try:
        is_inside = path.resolve().is_relative_to(directory.resolve())
    except RuntimeError:  # a loop of links
        is_inside = False
    if not is_inside:
        raise ValueError(f"{name!r} points outside {directory}")
    return path
