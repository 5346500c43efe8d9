"""Files that are written whole or not at all, their digests, and where the cache is."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from model_build.program import StoppedError
from pytest_servebench.system.files import whole_file

_CHUNK = 1 << 20
_PAUSE = 0.05  # seconds between two tries to get a lock


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
    with whole_file(path, sync=True) as file:
        yield file
        os.fchmod(file.fileno(), 0o644)  # a server may run as another user


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    with atomic_writer(path) as file:
        file.write(content)


@contextmanager
def exclusive_lock(path: Path, stop: threading.Event | None = None) -> Iterator[None]:
    """Hold a lock between processes for the length of the block.

    Args:
        path: the lock's file.
        stop: ends the wait for the lock once it is set.

    Raises:
        StoppedError: ``stop`` was set.

    The kernel lets go of the lock when its holder dies, however it dies. The file itself stays:
    removing it would let a third process lock another file of the same name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop is not None and stop.is_set():
                    raise StoppedError(str(path)) from None
                time.sleep(_PAUSE)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
