"""Waiting in tests for what happens in other processes."""

import os
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil


def until(condition: Callable[[], object], limit: float = 20.0, what: str = "condition") -> None:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {limit:g} s")
        time.sleep(0.02)


def written(path: Path, lines: int = 1, by: subprocess.Popen[bytes] | None = None) -> list[str]:
    """Wait for a file with that many whole lines, as long as its writer lives; return them."""

    def complete() -> bool:
        done = path.exists() and path.read_text().count("\n") >= lines
        if not done and by is not None and by.poll() is not None:
            raise AssertionError(f"the process that was to write {path.name} ended")
        return done

    until(complete, 200 if by else 20, path.name)
    return path.read_text().splitlines()


def alive(pids: Iterable[int]) -> list[int]:
    """Return those that run; zombies do not."""
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def gone(pids: Iterable[int], limit: float) -> None:
    wanted = list(pids)
    assert os.getpid() not in wanted
    until(lambda: not alive(wanted), limit, f"the end of {wanted}")
