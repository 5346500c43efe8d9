"""Finished builds, kept under a key of everything that decides their content.

An entry is a directory that appears with one rename when it is complete. It holds a manifest with
the digest of every file; an entry whose files are not those is built again. Builds of the same
entry wait for each other. A killed build leaves nothing; where even what sees to that was killed,
its directory is never looked at, and the next build of any entry removes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from model_build.files import exclusive_lock, sha256_of, write_atomically
from model_build.program import removed_with_us

MANIFEST = "manifest.json"


def key_of(parts: Mapping[str, str]) -> str:
    """Return a short digest of named strings, the same in every process."""
    text = json.dumps(dict(parts), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def finished_entry(entry: Path) -> Path | None:
    """Return ``entry`` if it exists and its files are those of its manifest, else None."""
    try:
        expected = json.loads((entry / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entry if expected == _digests(entry) else None


def get_or_build(
    entry: Path, build: Callable[[Path], None], stop: threading.Event | None = None
) -> Path:
    """Return a finished entry, building it if need be.

    Args:
        entry: where the entry is or will be.
        build: fills the empty directory which it is given; what it raises is passed on, and
            nothing is left of the attempt.
        stop: ends the wait for another process's build once it is set.

    Raises:
        StoppedError: ``stop`` was set.
    """
    if finished_entry(entry):
        return entry
    with exclusive_lock(_lock_of(entry), stop):
        if finished_entry(entry):  # another process built it while this one waited
            return entry
        _remove_abandoned(entry)
        with removed_with_us(entry.parent, f".{entry.name}.") as scratch:
            build(scratch)
            manifest = json.dumps({"files": _digests(scratch)}, indent=2, sort_keys=True)
            write_atomically(scratch / MANIFEST, manifest.encode())
            _flush(scratch)
            if entry.exists():
                shutil.rmtree(entry)  # damaged, or it would have been returned above
            scratch.replace(entry)
    return entry


def _lock_of(entry: Path) -> Path:
    return entry.with_name(f"{entry.name}.lock")


def _remove_abandoned(entry: Path) -> None:
    """Remove the remains of killed builds: of ``entry``, whose lock is held, and of all others."""
    for abandoned in entry.parent.glob(".*.*"):
        name = abandoned.name[1:].rpartition(".")[0]
        if not abandoned.is_dir():
            continue
        if name == entry.name:
            shutil.rmtree(abandoned, ignore_errors=True)
            continue
        with suppress(OSError), _lock_of(entry.with_name(name)).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by the process that builds it
            shutil.rmtree(abandoned, ignore_errors=True)


def _digests(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): sha256_of(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path != directory / MANIFEST
    }


def _flush(directory: Path) -> None:
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
