"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.processes import realtime_allowed

_PACKAGES = ("pytest-servebench", "uvloop", "aiohttp", "grpcio", "locust", "mlcommons-loadgen",
             "k6", "requests")  # fmt: skip


def describe() -> dict[str, str]:
    """Return cores, processor, kernel and versions; nothing that names the machine."""
    return {
        "cores": f"{len(os.sched_getaffinity(0))} for the benchmarks, {os.cpu_count()} in all",
        "processor": _processor(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "real-time priority": "allowed" if realtime_allowed() else "not allowed",
        "load before the start": f"{os.getloadavg()[0]:.2f} runnable processes (1 min)",
        "packages": ", ".join(
            f"{package} {number}" for package in _PACKAGES if (number := _version(package))
        ),
    }


def busy(own: int = 0) -> float | None:
    """Return how many other processes are runnable (1 min), if they leave no core idle.

    Args:
        own: the most processes of our own that are runnable.
    """
    load = os.getloadavg()[0] - own
    return load if load > len(os.sched_getaffinity(0)) else None


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.lower().startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
