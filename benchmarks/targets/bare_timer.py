"""How late this machine wakes a process that only sleeps until a given time."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import stats
from benchmarks.settings import HOME

_SOURCE: Final = HOME / "targets" / "bare_timer.c"
_COMPILER: Final = "gcc"


def p99(directory: Path, rate: float, seconds: float, seed: int) -> float | None:
    """Return the 99th percentile of its lateness in µs; ``None``: there is no compiler.

    Args:
        directory: for the program.
        rate: wake-ups a second, at Poisson arrivals.
        seconds: how long.
        seed: of the arrivals.
    """
    if shutil.which(_COMPILER) is None:
        return None
    program = directory / "bare_timer"
    subprocess.run([_COMPILER, "-O2", str(_SOURCE), "-o", str(program), "-lm"], check=True)
    command = [str(program), str(rate), str(seconds), str(seed)]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return stats.lag_figures(np.array([*map(int, said.split())])).get("p99")
