"""Facts about the machine and the installed packages, needed to judge the figures."""

from __future__ import annotations

import platform
import re
from collections.abc import Collection
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

_VERSIONED = (
    "pytest-servebench", "pytest", "pytest-benchmark", "numpy", "uvloop", "httptools",
    "tensorflow-cpu", "tensorflow", "torch", "torchserve",
)  # fmt: skip


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


def installed_versions(packages: Collection[str] = _VERSIONED) -> dict[str, str]:
    """Return the versions of those of ``packages`` that are installed."""
    versions = {}
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions
