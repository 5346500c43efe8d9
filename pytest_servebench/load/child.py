"""The generator's process, as its parent sees it: started, watched, and how it ended."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final

from pytest_servebench.errors import InvalidMeasurementError
from pytest_servebench.load.generator import NO_MEMORY, NO_PRIORITY
from pytest_servebench.load.records import Phase, RecordStore
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.system.python_child import python_child

_POLL: Final = 0.1  # seconds between two looks at the child
# The same until the clock starts: the lead before it must be seen in time.
_QUICK_POLL: Final = 0.01
# Seconds beyond its own bounds that the generator may take, to start and to end.
_SLACK: Final = 15.0
_TAIL: Final = 4000  # characters of what it said that go into an error
# Its one thread does all the work: those of NumPy's library would only take memory.
_ONE_THREAD: Final = MappingProxyType(
    {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
)
_REMEDIES: Final[Mapping[int, str]] = MappingProxyType(
    {
        errno.EAGAIN: "Allow more processes (ulimit -u, or the container's limit), or end some",
        errno.ENOMEM: "Allow more memory (ulimit -v, or the container's limit), or end others",
        errno.EMFILE: "Allow more open files (ulimit -n)",
        errno.ENFILE: "Allow more open files (sysctl fs.file-max)",
        errno.ENOSPC: "Make room in the directory for temporary files, or set TMPDIR to another",
        errno.E2BIG: "Set fewer or shorter environment variables",
    }
)


@dataclass(frozen=True)
class Ending:
    """How the generator's process ended.

    Attributes:
        failure: why it is no measurement; ``None`` where it ended as it should.
        outcome: what it found out besides the records; empty where it failed.
        stops: how often it was stopped by a signal while it made the load.
        cpu_seconds: processor time that it took, its start included.
        involuntary_switches: how often it was put off the processor.
    """

    failure: str | None
    outcome: Mapping[str, Any]
    stops: int
    cpu_seconds: float
    involuntary_switches: int


def run_child(
    spec: LoadSpec,
    records: IO[bytes],
    store: RecordStore,
    watch: Callable[[RecordStore], None],
) -> Ending:
    """Make the load of ``spec`` in a process of its own, and wait for its end.

    Args:
        spec: what load to make.
        records: the file of the records.
        store: the records.
        watch: called with the records again and again; an exception ends the load.

    Raises:
        InvalidMeasurementError: there could be no such process.
    """
    with ExitStack() as files:
        kills, used = _oom_kills(), resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            text, outcome, log = (files.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            text.write(spec.to_json().encode())
            text.seek(0)
            child = _start(records, text, outcome, log)
        except (OSError, MemoryError) as error:
            raise InvalidMeasurementError(_why_not_started(error)) from None
        try:
            late, stops = _watch(child, spec, store, watch)
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
    records: IO[bytes], text: IO[bytes], outcome: IO[bytes], log: IO[bytes]
) -> subprocess.Popen[bytes]:
    command, told = python_child(
        f"{__package__}.generator", str(os.getpid()), str(records.fileno())
    )
    return subprocess.Popen(
        command,
        stdin=text,
        stdout=outcome,
        stderr=log,
        pass_fds=[records.fileno()],
        env={**os.environ, **_ONE_THREAD, **told},
    )


def _why_not_started(error: OSError | MemoryError) -> str:
    number = error.errno if isinstance(error, OSError) else errno.ENOMEM
    said = os.strerror(number) if number else str(error)
    remedy = _REMEDIES.get(number or 0, f"See that {sys.executable} can be run")
    return f"the load generator could not be started: {said}. {remedy}."


def _watch(
    child: subprocess.Popen[bytes],
    spec: LoadSpec,
    store: RecordStore,
    watch: Callable[[RecordStore], None],
) -> tuple[str | None, int]:
    """Wait for the end; return why it was not waited for any longer, and the number of stops."""
    stops, stopped = 0, False
    limit = spec.warmup + spec.timeout + spec.duration + spec.drain + _SLACK
    began = time.monotonic()
    while child.poll() is None:
        # Long sleeps under load: waiting with a timeout wakes up again and again, and what
        # this process takes of the processors, the server lacks.
        time.sleep(_POLL if store.phase >= Phase.RUNNING else _QUICK_POLL)
        if (change := _state_change(child.pid)) is not None:
            # Going on is the end of a stop that was seen, or tells of one too short for it.
            again, stopped = stopped, change == os.CLD_STOPPED
            if store.phase >= Phase.RUNNING and not (again and not stopped):
                stops += 1
        watch(store)
        if time.monotonic() - began > limit:
            return (
                f"the load generator did not end within {limit:.0f} s, its own bound; "
                "was it stopped, or the machine suspended? Run the case again."
            ), stops
    return None, stops


def _state_change(pid: int) -> int | None:
    """Return how a child was last stopped or continued since the last question (``CLD_...``)."""
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
        status: of its end; negative: the signal that ended it.
        said: the end of what it wrote to standard error.
        oom_kills: processes that the system ended meanwhile for want of memory.
    """
    if status == NO_PRIORITY:
        return (
            "the system refuses the load generator real-time priority: allow it "
            "(RLIMIT_RTPRIO, CAP_SYS_NICE), or use --servebench-priority=auto."
        )
    if status == NO_MEMORY:
        return f"the load generator found no memory ({_memory_limit()}).\n{said}"
    if status > 0:
        limited = f" ({_memory_limit()})" if _is_limited() else ""
        return f"the load generator ended with status {status}{limited}:\n{said}"
    try:
        name = signal.Signals(-status).name
    except ValueError:  # a real-time signal
        name = f"signal {-status}"
    return f"the load generator was ended by {name}: {_whose(-status, oom_kills)}.{_quoted(said)}"


def _whose(number: int, oom_kills: int) -> str:
    if number == signal.SIGKILL and oom_kills > 0:
        return (
            "the system was out of memory and ended processes meanwhile; allow more (the "
            "container's limit), end others, or lower --servebench-rates or --servebench-duration"
        )
    if number == signal.SIGKILL:
        return (
            "somebody ended it, or the system for want of memory (its log tells: dmesg, or the "
            "container's events). Run the case again, with more memory if that was it"
        )
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT):
        return (
            f"it crashed, in Python or one of its libraries ({_memory_limit()}). Run the case "
            "again; if it comes back, try other versions of uvloop, httptools and NumPy"
        )
    return "somebody ended it. Run the case again, and let it run"


def _quoted(said: str) -> str:
    return f"\n{said}" if said else ""


def _is_limited() -> bool:
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _memory_limit() -> str:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return "no limit is set by ulimit -v"
    return f"its memory is limited to {limit / 1e6:,.0f} MB by ulimit -v: raise that"


def _oom_kills() -> int:
    """Return how many processes this system, or container, has ended for want of memory."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(one.split()[1]) for one in lines if one.startswith("oom_kill ")), 0)
