"""``python -m benchmarks``: measure our engine and its peers, and write RESULTS.md."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from benchmarks import machine, report
from benchmarks.parts.registry import AGAINST_NGINX
from benchmarks.parts.registry import BY_NAME as PARTS
from benchmarks.peers.registry import BY_NAME as PEERS
from benchmarks.peers.registry import left_out
from benchmarks.processes import usable_cores
from benchmarks.rounds import say
from benchmarks.settings import RESULTS, Settings
from benchmarks.targets import nginx


def _names(known: Sequence[str]) -> str:
    return ",".join(known)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--repeats", type=int, default=5, help="runs of each measurement (default 5)"
    )
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="length of each steady window (default 4)"
    )
    parser.add_argument("--only", default="", help=f"peers to measure, from {_names(list(PEERS))}")
    parser.add_argument(
        "--parts", default=_names(list(PARTS)), help=f"from {_names(list(PARTS))} (default all)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short run of each, to check that everything works"
    )
    parser.add_argument(
        "--report-only", action="store_true", help="only write the report, from the stored figures"
    )
    options = parser.parse_args(arguments)
    options.parts = [name for name in options.parts.split(",") if name]
    options.only = [name for name in options.only.split(",") if name]
    for chosen, known in ((options.parts, PARTS), (options.only, PEERS)):
        for name in chosen:
            if name not in known:
                parser.error(f"{name}: not among {', '.join(known)}")
    return options


def main(arguments: Sequence[str]) -> int:
    """Measure and report."""
    options = parse(arguments)
    if not options.report_only:
        if nginx.executable() is None and set(options.parts) & AGAINST_NGINX:
            say("nginx is not installed, but all peers are measured against it: apt-get install "
                "nginx-light")  # fmt: skip
            return 1
        absent = left_out()
        for name, reason in absent.items():
            say(f"left out: {name}: {reason}")
        settings = Settings(
            repeats=1 if options.quick else options.repeats,
            seconds=1.5 if options.quick else options.seconds,
            only=options.only,
            quick=options.quick,
        )
        for name in options.parts:
            about = {
                "machine": machine.describe(),
                "busy": machine.busy(),
                "left_out": absent,
                "command": shlex.join(["python", "-m", "benchmarks", *arguments]),
                "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            }
            data = PARTS[name].run(settings)
            # The load average now includes our own processes: hardly more than one on each core.
            about["busy"] = machine.busy(own=len(usable_cores())) or about["busy"]
            report.keep(PARTS[name], data, about)
    report.write()
    told = (report.bars(), report.overview(), f"All of it: {RESULTS}")
    print(*filter(None, told), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
