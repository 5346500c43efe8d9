"""Finished builds, kept under a key of everything that decides their content.

An entry is a directory that appears with one rename when it is complete. It holds a manifest with
the digest of every file; an entry whose files are not those is built again. Builds of the same
entry wait for each other; a killed build leaves a directory which is never looked at and which the
next build removes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from model_build.files import exclusive_lock, sha256_of, write_atomically

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


def get_or_build(entry: Path, build: Callable[[Path], None]) -> Path:
    """Return a finished entry, building it if need be.

    Args:
        entry: where the entry is or will be.
        build: fills the empty directory which it is given; what it raises is passed on, and
            nothing is left of the attempt.
    """
    if finished_entry(entry):
        return entry
    with exclusive_lock(entry.with_name(f"{entry.name}.lock")):
        if finished_entry(entry):  # another process built it while this one waited
            return entry
        # Whoever holds the lock is the only builder, so these belong to builds that were killed.
        for abandoned in entry.parent.glob(f".{entry.name}.*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
        try:
            build(scratch)
            manifest = json.dumps({"files": _digests(scratch)}, indent=2, sort_keys=True)
            write_atomically(scratch / MANIFEST, manifest.encode())
            scratch.chmod(0o755)  # mkdtemp gives 0700
            _flush(scratch)
            if entry.exists():
                shutil.rmtree(entry)  # damaged, or it would have been returned above
            scratch.replace(entry)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return entry


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
