"""The generator's process seen from its parent: start, watch, and exit."""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final

from pytest_servebench.errors import InvalidMeasurementError
from pytest_servebench.load.job import NO_MEMORY, NO_PRIORITY, NO_SPACE, Job
from pytest_servebench.load.readings import counters
from pytest_servebench.load.store import Phase, RecordStore
from pytest_servebench.system.python_child import python_child

_POLL: Final = 0.1  # seconds between two checks of the child
# Until the clock starts, which must be seen in time.
_QUICK_POLL: Final = 0.01
# Extra seconds for the generator to start and to exit.
_SLACK: Final = 15.0
_TAIL: Final = 4000  # characters of its output that go into an error
_REMEDIES: Final[Mapping[int, str]] = MappingProxyType(
    {
        errno.EAGAIN: "Allow more processes (ulimit -u, or the container's limit), or stop others",
        errno.ENOMEM: "Allow more memory (ulimit -v, or the container's limit), or stop others",
        errno.EMFILE: "Allow more open files (ulimit -n)",
        errno.ENFILE: "Allow more open files (sysctl fs.file-max)",
        errno.ENOSPC: "Free space in the directory for temporary files, or set TMPDIR to another",
        errno.E2BIG: "Set fewer or shorter environment variables",
    }
)


@dataclass(frozen=True)
class Ending:
    """How the generator's process ended.

    Attributes:
        failure: why the measurement failed; ``None`` if it succeeded.
        outcome: what it reported besides the records; empty if it failed.
        stops: how often a signal stopped it during the load.
        cpu_seconds: its CPU time, start-up included.
        involuntary_switches: how often it was preempted.
    """

    failure: str | None
    outcome: Mapping[str, Any]
    stops: int
    cpu_seconds: float
    involuntary_switches: int


def run_child(
    job: Job,
    records: IO[bytes],
    store: RecordStore,
    watch: Callable[[RecordStore], None],
    journal: IO[bytes] | None = None,
) -> Ending:
    """Run the load of ``job`` in a separate process, and wait for its end.

    Args:
        job: what load to make.
        records: the file of the records.
        store: the records.
        watch: called with the records repeatedly; an exception ends the load.
        journal: an empty file for the streamed answers.

    Raises:
        InvalidMeasurementError: the process could not be started.
    """
    with ExitStack() as files:
        kills, used = _oom_kills(), resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            text, outcome, log = (files.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            text.write(job.to_json().encode())
            text.seek(0)
            shared = [records] if journal is None else [records, journal]
            child = _start(shared, text, outcome, log)
        except (OSError, MemoryError) as error:
            raise InvalidMeasurementError(_why_not_started(error)) from None
        try:
            late, stops = _watch(child, job, store, watch)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        log.seek(0)
        said = log.read().decode(errors="replace").strip()[-_TAIL:]
        outcome.seek(0)
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        failure = late
        if late is None and child.returncode:
            failure = _why(child.returncode, said, _oom_kills() - kills)
        return Ending(
            failure=failure,
            outcome={} if failure else json.load(outcome),
            stops=stops,
            cpu_seconds=now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime,
            involuntary_switches=now.ru_nivcsw - used.ru_nivcsw,
        )


def _start(
    shared: Sequence[IO[bytes]], text: IO[bytes], outcome: IO[bytes], log: IO[bytes]
) -> subprocess.Popen[bytes]:
    numbers = [file.fileno() for file in shared]
    command, told = python_child(f"{__package__}.generator", str(os.getpid()), *map(str, numbers))
    return subprocess.Popen(
        command,
        stdin=text,
        stdout=outcome,
        stderr=log,
        pass_fds=numbers,
        env={**os.environ, **told},
    )


def _why_not_started(error: OSError | MemoryError) -> str:
    number = error.errno if isinstance(error, OSError) else errno.ENOMEM
    said = os.strerror(number) if number else str(error)
    remedy = _REMEDIES.get(number or 0, f"Check that {sys.executable} can be run")
    return f"the load generator could not be started: {said}. {remedy}."


def _watch(
    child: subprocess.Popen[bytes],
    job: Job,
    store: RecordStore,
    watch: Callable[[RecordStore], None],
) -> tuple[str | None, int]:
    """Wait for the end; return why it was given up, if it was, and the number of stops."""
    stops, stopped = 0, False
    limit = job.warmup + job.timeout + job.duration + job.drain + _SLACK
    began = time.monotonic()
    with _sleeping_beside(child) as sleep:
        while child.poll() is None:
            # Long sleeps under load: waking up takes CPU time from the server.
            sleep(_POLL if store.phase >= Phase.RUNNING else _QUICK_POLL)
            if (change := _state_change(child.pid)) is not None:
                # A continue ends a stop that was seen, or shows one too short to be seen.
                again, stopped = stopped, change == os.CLD_STOPPED
                if store.phase >= Phase.RUNNING and not (again and not stopped):
                    stops += 1
            watch(store)
            if time.monotonic() - began > limit:
                return (
                    f"the load generator did not finish within its time limit of {limit:.0f} s; "
                    "was it stopped, or the machine suspended? Run the case again."
                ), stops
    return None, stops


@contextmanager
def _sleeping_beside(child: subprocess.Popen[bytes]) -> Iterator[Callable[[float], object]]:
    """Yield a function that sleeps for some seconds, or until the process has ended."""
    try:
        end = os.pidfd_open(child.pid)
    except (AttributeError, OSError):  # macOS, or forbidden
        end = -1
    if end < 0:
        yield time.sleep
        return
    poll = select.poll()  # select.select() takes no numbers beyond 1023
    poll.register(end, select.POLLIN)
    try:
        yield lambda seconds: poll.poll(1000 * seconds)
    finally:
        os.close(end)


def _state_change(pid: int) -> int | None:
    """Return how a child was last stopped or continued since the last call (``CLD_...``)."""
    if not hasattr(os, "waitid"):
        return None
    try:
        found = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WCONTINUED | os.WNOHANG)
    except ChildProcessError:
        return None
    return None if found is None else found.si_code


# -- how it ended ---------------------------------------------------------------------------------


def _why(status: int, said: str, oom_kills: int) -> str:
    """Return why the generator failed.

    Args:
        status: its exit status; negative: the signal that ended it.
        said: the tail of its standard error.
        oom_kills: processes that the OOM killer ended meanwhile.
    """
    if status == NO_PRIORITY:
        return (
            "the system does not allow the load generator real-time priority: allow it "
            "(RLIMIT_RTPRIO, CAP_SYS_NICE), or use --servebench-priority=auto."
        )
    if status == NO_MEMORY:
        return f"the load generator ran out of memory ({_memory_limit()}).\n{said}"
    if status == NO_SPACE:
        return (
            "there was no space for the load generator's report of its answers. "
            f"{_REMEDIES[errno.ENOSPC]}."
        )
    if status > 0:
        limited = f" ({_memory_limit()})" if _is_limited() else ""
        tail = f":\n{said}" if said else " without a message"
        return f"the load generator exited with status {status}{limited}{tail}"
    try:
        name = signal.Signals(-status).name
    except ValueError:  # a real-time signal
        name = f"signal {-status}"
    tail = f"\n{said}" if said else ""
    return f"the load generator was killed by {name}: {_whose(-status, oom_kills)}.{tail}"


def _whose(number: int, oom_kills: int) -> str:
    if number == signal.SIGKILL and oom_kills > 0:
        return (
            "the system ran out of memory and killed processes; allow more (the container's "
            "limit), stop other processes, or lower --servebench-rates or --servebench-duration"
        )
    if number == signal.SIGKILL:
        return (
            "a user or the OOM killer ended it (see dmesg, or the container's events). Run the "
            "case again, with more memory if it was the OOM killer"
        )
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT):
        return (
            f"it crashed, in Python or one of its libraries ({_memory_limit()}). Run the case "
            "again; if it crashes again, try other versions of uvloop and httptools"
        )
    return "another process sent the signal. Run the case again without interrupting it"


def _is_limited() -> bool:
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _memory_limit() -> str:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return "ulimit -v sets no limit"
    return f"ulimit -v limits its memory to {limit / 1e6:,.0f} MB: raise it"


def _oom_kills() -> int:
    """Return how many processes the OOM killer of this system or container has ended."""
    return counters(Path("/proc/vmstat")).get("oom_kill", 0)
