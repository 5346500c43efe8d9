"""Facts about the machine and the installed packages, needed to judge the figures."""

import platform
import re
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

_VERSIONED = (
    "pytest-servebench", "pytest", "pytest-benchmark", "numpy", "uvloop", "httptools",
    "tensorflow-cpu", "tensorflow", "torch", "torchserve",
)  # fmt: skip


@cache
def machine_facts() -> dict[str, Any]:
    """Return what a reader must know of this machine to judge the numbers."""
    cpu = platform.processor() or platform.machine()
    with suppress(OSError):
        if found := re.search(r"^model name\s*:(.*)", Path("/proc/cpuinfo").read_text(), re.M):
            cpu = found[1].strip()
    return {
        "cpu": cpu,
        "cores": psutil.cpu_count() or 1,
        "memory": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


@cache  # as it is asked for after every case that has a baseline
def installed_versions() -> dict[str, str]:
    """Return the versions of the packages that matter, as far as they are installed."""
    versions = {}
    for package in _VERSIONED:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions
