"""Starting and ending processes, and what they cost: CPU time and memory of whole trees."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_PR_SET_PDEATHSIG: Final = 1
_CPUCLOCK_SCHED: Final = 2  # the kernel's name for a process's clock in nanoseconds


def prepare_child(cpus: Sequence[int] | None = None) -> None:
    """Have a new process end with this one, and run only on some processors."""
    # The child ends with the benchmarks, however those end: nothing may go on using the machine.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if cpus:
        os.sched_setaffinity(0, cpus)


@contextmanager
def running(
    command: Sequence[str],
    directory: Path,
    *,
    log: str = "log",
    cpus: Sequence[int] | None = None,
    environment: Mapping[str, str] | None = None,
    work: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command, its output in ``directory/log``, and end it at the end of the block."""
    with (directory / log).open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=work or directory,
            env={**os.environ, **(environment or {})},
            preexec_fn=lambda: prepare_child(cpus),  # noqa: PLW1509 - there are no threads here
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], patience: float = 5.0) -> None:
    """End a process that was started here, and those it started."""
    if process.poll() is not None:
        return
    others = tree(process.pid)[1:]
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for other in others:
        try:
            if other.is_running():  # compares start times too: the pid may have been reused
                other.kill()
        except psutil.NoSuchProcess:
            continue


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and all that descend from it."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_ns(pid: int) -> int:
    """Return the CPU time of a process in ns, including threads that have ended.

    It is the process's own CPU clock, which any process may read. ``/proc/PID/stat`` steps in
    10 ms, and ``/proc/PID/task/*/schedstat`` loses threads that have ended.
    """
    return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)


def busy_threads(pid: int) -> dict[int, int]:
    """Return the CPU time in ns of each living thread of a process."""
    times = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            times[int(task.name)] = int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return times


@dataclass(frozen=True)
class Memory:
    """The peak memory of a process so far, in bytes, and which process it is."""

    command: str
    peak: int


def peak_memory(pid: int) -> dict[int, Memory]:
    """Return the peak resident memory (``VmHWM``: shared pages too) of each process of a tree."""
    peaks = {}
    for process in tree(pid):
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            command = " ".join(process.cmdline())
        except (OSError, psutil.Error):
            continue
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                peaks[process.pid] = Memory(command, int(line.split()[1]) * 1024)
    return peaks


def usable_cores() -> list[int]:
    """Return the processors that this process may run on."""
    return sorted(os.sched_getaffinity(0))


@contextmanager
def busy_loops(directory: Path) -> Iterator[None]:
    """Keep every core busy with an ordinary process (nice 0) that never sleeps."""
    with ExitStack() as stack:
        for core in usable_cores():
            stack.enter_context(
                running(
                    [sys.executable, "-c", "while True: pass"],
                    directory,
                    log=f"busy{core}.log",
                    cpus=[core],
                )
            )
        time.sleep(0.3)  # until all of them have started
        yield


def realtime_allowed() -> bool:
    """Return whether this user may have ``SCHED_FIFO``."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    os.sched_setscheduler(0, *before)
    return True
