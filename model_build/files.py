"""Files that are written whole or not at all, their digests, and where the cache is."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_CHUNK = 1 << 20


def cache_directory() -> Path:
    """Return the project's cache directory; it need not exist.

    ``$SERVEBENCH_CACHE_DIR``, else ``$XDG_CACHE_HOME/pytest-servebench``, else
    ``~/.cache/pytest-servebench``.
    """
    if chosen := os.environ.get("SERVEBENCH_CACHE_DIR"):
        return Path(chosen).expanduser().resolve()
    # The XDG specification says that a relative path is to be ignored.
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "pytest-servebench"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """Open a file which replaces ``path`` when the block ends, and vanishes when it raises.

    The content is on the disk before the name is: after a power cut there is the old file or the
    new one, never a half.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp gives 0600, which would lock out a server's own user
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    with atomic_writer(path) as file:
        file.write(content)


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold a lock between processes for the length of the block.

    The kernel lets go of the lock when its holder dies, however it dies. The file itself stays:
    removing it would let a third process lock another file of the same name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
