"""Counters of the system for a process and its machine.

Each figure is the difference of two readings of the system's counters: a run costs two readings.
A counter that this system does not have is ``None``.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
_STEAL: Final = 7  # position among the times in the first line of /proc/stat


@dataclass(frozen=True)
class Reading:
    """Counters that only grow, in seconds but for the switches, and the machine's in ticks."""

    elapsed: float
    cpu_seconds: float
    waited_seconds: float | None
    involuntary_switches: int
    throttled_seconds: float | None
    suspended_seconds: float | None
    steal: int | None
    machine: int
    cpu_pressure: float | None
    memory_pressure: float | None
    io_pressure: float | None

    @classmethod
    def take(cls) -> Reading:
        """Read the counters of this process and of its machine."""
        elapsed = time.monotonic()
        machine = _machine_times()
        return cls(
            elapsed=elapsed,
            cpu_seconds=time.process_time(),
            waited_seconds=_run_delay(),
            involuntary_switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
            throttled_seconds=_throttled(),
            suspended_seconds=_suspended(),
            steal=machine[_STEAL] if len(machine) > _STEAL else None,
            machine=sum(machine),
            cpu_pressure=_pressure("cpu"),
            memory_pressure=_pressure("memory"),
            io_pressure=_pressure("io"),
        )

    def since(self, before: Reading) -> dict[str, Any]:
        """Return the fields of :class:`.device.Generator` since an earlier reading.

        ``elapsed``, the seconds between the two, is among them.
        """
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


def _machine_times() -> list[int]:
    """Return the machine's CPU time by kind, in ticks; empty where there is no ``/proc``."""
    _, *times = _read(Path("/proc/stat")).partition("\n")[0].split() or [""]
    # The times of guests are also among those of user programs.
    return [int(ticks) for ticks in times[: _STEAL + 1]]


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
