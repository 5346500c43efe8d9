"""``python -m benchmarks.noisy HOW -- COMMAND``: run a command many times under noise.

``realtime``: on every core, a process of real-time priority above the load generator's takes the
processor for 15 ms at a time, five times a second at random times, all at once. ``busy``: a process
of normal priority on every core never sleeps. ``none``: for comparison.

A line for each run, with its exit status and the last line of its output; exit status 1 where one
of them was not 0.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.processes import busy_loops, prepare_child, realtime_allowed, running, usable_cores

PRIORITY: Final = 50
"""Of ``SCHED_FIFO``; the generator has 1."""

_BURST: Final = 0.015  # seconds
_EVERY: Final = 0.2  # seconds from one to the next, on average
_BURSTS: Final = """
import os, random, sys, time
begin, burst, every, priority = map(float, sys.argv[1:])
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(int(priority)))
dice = random.Random(0)
while True:
    begin += every * dice.uniform(0.5, 1.5)
    time.sleep(max(0.0, begin - time.monotonic()))
    end = begin + burst
    while time.monotonic() < end:
        pass
"""


@contextmanager
def realtime_bursts(directory: Path) -> Iterator[None]:
    """Take every core for 15 ms at a time, some five times a second, from everything else."""
    begin = time.monotonic() + 0.5
    with ExitStack() as stack:
        for core in usable_cores():
            times = (begin, _BURST, _EVERY, PRIORITY)
            command = [sys.executable, "-S", "-c", _BURSTS, *map(str, times)]
            stack.enter_context(running(command, directory, log=f"burst{core}.log", cpus=[core]))
        yield


@contextmanager
def _nothing(directory: Path) -> Iterator[None]:
    del directory
    yield


_SUMMARY: Final = re.compile(r"\b(passed|failed|errors?)\b.* in [\d.]+s")
NOISES: Final[Mapping[str, Callable[[Path], AbstractContextManager[None]]]] = {
    "realtime": realtime_bursts,
    "busy": busy_loops,
    "none": _nothing,
}
"""By name, context managers that make the machine noisy."""


def _run(command: Sequence[str]) -> tuple[int, str, int]:
    """Return exit status, last line, and how many cases were measured again."""
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", check=False,
        preexec_fn=prepare_child,
    )  # fmt: skip
    lines = [line for line in ended.stdout.splitlines() if line.strip()]
    again = sum("└" in line and "attempt" in line for line in lines)
    if ended.returncode:
        print(ended.stdout, flush=True)
    summaries = [line for line in lines if _SUMMARY.search(line)]
    return ended.returncode, (summaries or lines or ["no output"])[-1].strip("= "), again


def main(arguments: Sequence[str]) -> int:
    """Run the command so many times, and say how each ended."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noisy", description=__doc__)
    parser.add_argument("how", choices=list(NOISES))
    parser.add_argument("--times", type=int, default=10, help="runs (default 10)")
    parser.add_argument("command", nargs="+", help="what to run, after --")
    options = parser.parse_args(arguments)
    if options.how == "realtime" and not realtime_allowed():
        parser.error("realtime: this user may not have real-time priority (CAP_SYS_NICE)")
    good = 0
    with tempfile.TemporaryDirectory() as directory, NOISES[options.how](Path(directory)):
        for number in range(1, options.times + 1):
            began = time.monotonic()
            status, last, again = _run(options.command)
            good += status == 0
            print(
                f"{options.how} {number}/{options.times}: status {status}, "
                f"{time.monotonic() - began:.0f} s, {again} measured again: {last}",
                flush=True,
            )
    print(f"{options.how}: {good} of {options.times} ended with status 0", flush=True)
    return 0 if good == options.times else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
