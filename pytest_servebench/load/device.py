"""How the load generator and its machine did during a run.

Each figure is the difference of two readings of the system's counters: a run costs two readings.
A counter that this system does not have is ``None``.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import psutil

_CGROUPS: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Reading:
    """Counters that only grow, all in seconds but the switches."""

    elapsed: float
    cpu_seconds: float
    waited_seconds: float | None
    involuntary_switches: int
    throttled_seconds: float | None
    suspended_seconds: float | None
    steal: float | None
    machine: float
    cpu_pressure: float | None
    memory_pressure: float | None
    io_pressure: float | None

    @classmethod
    def take(cls) -> Reading:
        """Read the counters of this process and of its machine."""
        elapsed = time.monotonic()
        machine = psutil.cpu_times()
        return cls(
            elapsed=elapsed,
            cpu_seconds=time.process_time(),
            waited_seconds=_run_delay(),
            involuntary_switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
            throttled_seconds=_throttled(),
            suspended_seconds=_suspended(),
            steal=getattr(machine, "steal", None),
            # "user" already includes the "guest" times.
            machine=sum(machine)
            - getattr(machine, "guest", 0.0)
            - getattr(machine, "guest_nice", 0.0),
            cpu_pressure=_pressure("cpu"),
            memory_pressure=_pressure("memory"),
            io_pressure=_pressure("io"),
        )

    def since(self, before: Reading) -> dict[str, Any]:
        """Return fields of :class:`Generator` since an earlier reading, and seconds ``elapsed``."""
        passed: dict[str, Any] = {}
        for item in fields(self):
            now, then = getattr(self, item.name), getattr(before, item.name)
            passed[item.name] = None if now is None or then is None else now - then
        elapsed, machine = passed["elapsed"], passed.pop("machine")
        for name in ("cpu_pressure", "memory_pressure", "io_pressure"):
            if passed[name] is not None:
                passed[name] /= max(elapsed, 1e-9)
        if passed["steal"] is not None:
            passed["steal"] /= max(machine, 1e-9)
        return passed


def _read(path: Path) -> str:
    """Return a file's text; empty if it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""


def counters(path: Path) -> dict[str, int]:
    """Return the kernel's counters in a file by name; none if it cannot be read."""
    pairs = (line.partition(" ") for line in _read(path).splitlines())
    return {name: int(number) for name, _, number in pairs if number.isdecimal()}


def _run_delay() -> float | None:
    """Return how long the main thread, which does all the work, waited on a run queue."""
    parts = _read(Path("/proc/self/schedstat")).split()
    return int(parts[1]) / 1e9 if len(parts) == 3 else None


def _pressure(what: str) -> float | None:
    for part in _read(Path("/proc/pressure") / what).split():
        name, _, value = part.partition("=")
        if name == "total":  # the first line's, "some": in microseconds
            return int(value) / 1e6
    return None


def _suspended() -> float | None:
    if sys.platform != "linux":
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()


def _throttled() -> float | None:
    """Return for how long quotas throttled this process's control group or one above it."""
    found = None
    for directory in control_groups("cpu"):
        known = counters(directory / "cpu.stat")
        if "throttled_usec" in known:  # version 2
            found = (found or 0.0) + known["throttled_usec"] / 1e6
        elif "throttled_time" in known:  # version 1
            found = (found or 0.0) + known["throttled_time"] / 1e9
    return found


def control_groups(controller: str) -> Iterator[Path]:
    """Yield the directories of the control groups that limit this process, inmost first.

    Args:
        controller: ``"cpu"`` or ``"memory"``.
    """
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUPS / (controller if controllers else "")
        group = Path(path.lstrip("/"))
        for inner in (group, *group.parents) if group.parts else (group,):
            yield root / inner


@dataclass(frozen=True)
class Generator:
    """How the load generator did, from the clock's start to the end of the drain.

    What this system cannot measure is ``None``.

    Attributes:
        pacing: ``timerfd``, or the fallback's name.
        priority: scheduling of the generator's process.
        event_loop: ``uvloop`` or ``asyncio``.
        cpu_seconds: its CPU time.
        cpu_share: the same as a share of one CPU.
        waited_seconds: time in which it was runnable but had no CPU.
        involuntary_switches: how often it was preempted.
        throttled_seconds: time for which a CPU quota throttled its control group.
        suspended_seconds: time for which the machine was suspended.
        stops: how often a signal stopped it.
        longest_pause: how late it was at worst at its regular checks of the deadlines, seconds.
        steal: share of the machine's CPU time that its host gave to other guests.
        cpu_pressure: share of the time in which any process on the machine waited for a CPU
            (PSI); a busy server shows here too.
        memory_pressure: the same for memory.
        io_pressure: the same for disks.
        lag_idle_p99: p99 lag of arrivals that found an idle worker, seconds.
        lag_busy_p99: the same for arrivals that found all workers busy.
        unaccounted: arrivals that it never took up.
        resent: requests that were sent again because the server had just closed a kept connection.
        arrivals: the arrival process, such as ``"poisson"``.
        arrivals_plausible: whether the schedule passed the checks of its arrival process.
        dispersion: index of dispersion of the arrivals; 1 for Poisson.
        lag1: lag-1 correlation of the gaps; 0 for Poisson.
        reconnections: connections that it opened after the clock's start; ``None`` in older files.
        received_bytes: of the answers' bodies; ``None`` in older files.
        own_failures: number of connections that it could not open, by the limit of this machine
            that was hit, such as ``"EMFILE"``.
        all_workers_busy: share of the arrival window in which all workers were busy.
        too_few_workers: whether requests waited or were dropped for want of workers, although the
            server could have answered more at once.
    """

    pacing: str
    priority: str
    event_loop: str
    cpu_seconds: float
    cpu_share: float
    waited_seconds: float | None
    involuntary_switches: int
    throttled_seconds: float | None
    suspended_seconds: float | None
    stops: int
    longest_pause: float
    steal: float | None
    cpu_pressure: float | None
    memory_pressure: float | None
    io_pressure: float | None
    lag_idle_p99: float | None
    lag_busy_p99: float | None
    unaccounted: int
    resent: int
    arrivals: str
    arrivals_plausible: bool
    dispersion: float
    lag1: float
    reconnections: int | None = None
    received_bytes: int | None = None
    own_failures: Mapping[str, int] = field(default_factory=dict)
    all_workers_busy: float | None = None
    too_few_workers: bool = False
