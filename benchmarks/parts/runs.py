"""How long it takes to list ten thousand saved runs, and to find the last one."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from benchmarks import plotting, stats
from benchmarks.parts import Bar, Data
from benchmarks.rounds import say
from benchmarks.settings import Settings
from simulation import saved

NAME = "list"
TITLE = "Saved runs"
NUMBERS: Final = (100, 10_000)
LONGEST: Final = 5.0
_PROGRAM: Final = "import sys; from pytest_servebench.commands.cli import main; sys.exit(main())"
_COMMANDS: Final = ("list", "show")


def run(settings: Settings) -> Data:
    """Run the commands on results directories, as a user would."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="servebench-list-") as scratch:
        for number in NUMBERS:
            results = Path(scratch) / str(number)
            size = _fill(results, number)
            for repeat in range(settings.repeats):
                one = {command: _seconds(command, results) for command in _COMMANDS}
                say(NAME, number, repeat, one)
                rows.append({"runs": number, "bytes": size, **one})
    return {"rows": rows}


def _fill(results: Path, number: int) -> int:
    """Save runs of four cases, one per hour; return the file size of a run."""
    made = saved.queue_run(number=200)
    size = 0
    for place in range(number):
        time_of_run = datetime.fromisoformat("2026-01-01T00:00:00+00:00") + timedelta(hours=place)
        run_made = dataclasses.replace(
            made, name=f"{time_of_run:%Y%m%d-%H%M%S}", started=time_of_run.isoformat()
        )
        size = saved.save(run_made, results).stat().st_size
    return size


def _seconds(command: str, results: Path) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", _PROGRAM, command, "--results", results],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - start


def _of(data: Data, number: int, command: str) -> list[float]:
    return [float(row[command]) for row in data["rows"] if row["runs"] == number]


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: peers do not save such runs."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Check the time of the longest list."""
    number = max(NUMBERS)
    seconds = max(_of(data, number, "list"))
    return [
        Bar(f"`pytest-servebench list` of {number:,} runs, the slowest", f"{seconds:.2f} s",
            f"< {LONGEST:g} s", seconds < LONGEST)
    ]  # fmt: skip


def section(data: Data) -> str:
    """Return the table."""
    size = data["rows"][-1]["bytes"]
    rows = [
        [f"{number:,}", *(stats.text(stats.spread(_of(data, number, command)), "{:.2f}")
                          for command in _COMMANDS)]
        for number in NUMBERS
    ]  # fmt: skip
    return "\n\n".join([
        f"Time of the whole command; each run has four cases, {size / 1000:.0f} kB. `show` finds "
        "the last run and shows it.",
        plotting.table(["runs", "`list`, s", "`show`, s"], rows),
    ])  # fmt: skip
