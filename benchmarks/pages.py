"""Time and memory to make the page of a saved run, with the command that users have."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from pytest_servebench.runs.results import Run
from simulation import saved

_PROGRAM: Final = """
import sys, time
from pytest_servebench.commands.cli import main
code = main()
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(time.process_time(), peak, file=sys.stderr)
sys.exit(code)
"""  # the peak that the kernel tells its parent includes the parent's own


def save(made: Run, results: Path) -> Path:
    """Write a run with its records below ``results``, and return its file."""
    cases = tuple(
        dataclasses.replace(case, records_file=f"records/{index}.npz")
        for index, case in enumerate(made.cases)
    )
    return saved.save(dataclasses.replace(made, cases=cases), results)


def make_page(path: Path) -> dict[str, float]:
    """Make the page of a run's file; return seconds and CPU time of the command, bytes and peak.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    output = path.with_name("page.html")
    command = [sys.executable, "-c", _PROGRAM, "report", str(path), "--output", str(output)]
    start = time.perf_counter()
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    cpu, peak = made.stderr.split()[-2:]
    return {
        "seconds": seconds, "cpu": float(cpu), "bytes": output.stat().st_size,
        "peak": int(peak) * 1024,
    }  # fmt: skip
