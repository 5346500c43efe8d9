"""Facts about the machine and the installed packages, needed to judge the figures."""

from __future__ import annotations

import platform
from collections.abc import Collection
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
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    except OSError:
        pass
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
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
