"""Taking the processor from a process: CPU quotas, signals, and competing processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.processes import usable_cores

_ROOT: Final = Path("/sys/fs/cgroup")
_PERIOD: Final = 100_000  # µs
_HOG: Final = """
import os, sys, time
core, begin, end = map(int, sys.argv[1:])
os.sched_setaffinity(0, [core])
time.sleep(max(0, begin - time.monotonic_ns()) / 1e9)
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
while time.monotonic_ns() < end:
    pass
"""


@dataclass(frozen=True)
class ControlGroup:
    """A control group that limits the processor time of its processes; version 1 or 2."""

    directory: Path

    @property
    def _old(self) -> bool:
        return (self.directory / "cpu.cfs_quota_us").exists()

    def add(self, pid: int) -> None:
        """Move a process into the group.

        Raises:
            OSError: the system refuses it; version 1 always refuses a real-time process if the
                group has no real-time budget.
        """
        (self.directory / "cgroup.procs").write_text(str(pid))

    def limit(self, share: float | None) -> None:
        """Limit the group to a share of one processor, at least 0.01; ``None``: no limit."""
        quota = None if share is None else int(share * _PERIOD)
        if self._old:
            (self.directory / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (self.directory / "cpu.cfs_quota_us").write_text(str(-1 if quota is None else quota))
        else:
            text = f"{'max' if quota is None else quota} {_PERIOD}"
            (self.directory / "cpu.max").write_text(text)


@contextmanager
def control_group() -> Iterator[ControlGroup]:
    """Create a control group without a limit; remove it after the block, but not its processes.

    Raises:
        OSError: this user may not, or the system has none.
    """
    parent = _parent()
    directory = parent / f"servebench-{os.getpid()}-{time.monotonic_ns()}"
    directory.mkdir()
    group = ControlGroup(directory)
    try:
        yield group
    finally:
        with suppress(OSError):
            group.limit(None)
        for pid in (directory / "cgroup.procs").read_text().split():
            with suppress(OSError):  # it may have ended
                (parent / "cgroup.procs").write_text(pid)
        _remove(directory)


def _parent() -> Path:
    """Return the directory of a group that new ones with a quota can be made in."""
    own = dict[str, str]()
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    if "cpu" in own:
        return _ROOT / "cpu" / own["cpu"].lstrip("/")
    # Version 2 gives quotas only below a group which has no processes itself, or the root.
    with (_ROOT / "cgroup.subtree_control").open("w") as control:
        control.write("+cpu")
    return _ROOT


def _remove(directory: Path, patience: float = 2.0) -> None:
    """Remove a group: it stays busy for a moment after its last process has gone."""
    until = time.monotonic() + patience
    while True:
        try:
            directory.rmdir()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return


def quota_refused() -> str | None:
    """Return why this machine permits no CPU quota, or ``None`` if it does."""
    try:
        with control_group() as group:
            group.limit(0.5)
    except OSError as error:
        return f"no control group with a CPU quota: {error}"
    return None


def stop_for(pid: int, seconds: float) -> None:
    """Stop a process by a signal and continue it after some seconds."""
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def hog_processors(begin: int, seconds: float) -> None:
    """Occupy every core with a busy loop of real-time priority 50, and wait for their end.

    Each ends by itself. Nothing else runs meanwhile, except in the share of time that the kernel
    withholds from real-time processes (usually a twentieth).

    Args:
        begin: on the monotonic clock, ns.
        seconds: how long.
    """
    end = begin + int(seconds * 1e9)
    hogs = [
        subprocess.Popen([sys.executable, "-S", "-c", _HOG, str(core), str(begin), str(end)])
        for core in usable_cores()
    ]
    for hog in hogs:
        hog.wait()
