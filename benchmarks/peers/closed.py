"""hey and wrk: closed loops, a lower bound for the cost of a request."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

from benchmarks.peers import Job, Plain, find, missing_program

_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


class Closed(Plain):
    """A closed loop: the next request is sent when the last one is answered."""

    open_loop = False
    arrivals = "closed"
    lag_from = ""
    tells = False
    top_rate = 0.0


class Wrk(Closed):
    """wrk with one thread."""

    name = "wrk"
    title = "wrk, closed loop, one thread"

    def missing(self) -> str | None:
        """Return what is not installed."""
        return missing_program("wrk", "apt-get install wrk")

    def command(self, job: Job) -> Sequence[str]:
        """Post the body from a script, which is read once."""
        script = job.directory / "wrk.lua"
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = io.open({json.dumps(str(job.body))}):read("*a")\n'
            'wrk.headers["Content-Type"] = "application/json"\n'
        )
        return [
            str(find("wrk")), "-t1", f"-c{job.connections}", f"-d{math.ceil(job.seconds)}s",
            "--latency", "-s", str(script), job.url,
        ]  # fmt: skip

    def told(self, job: Job) -> dict[str, float]:
        """Return the median latency."""
        found = re.search(r"50%\s+([\d.]+)(us|ms|s)", (job.directory / "log").read_text())
        return {"latency_p50": float(found[1]) * _UNITS[found[2]]} if found else {}


class Hey(Closed):
    """hey."""

    name = "hey"
    title = "hey, closed loop"

    def missing(self) -> str | None:
        """Return what is not installed."""
        return missing_program("hey", "apt-get install hey")

    def command(self, job: Job) -> Sequence[str]:
        """Post the body."""
        return [
            str(find("hey")), "-z", f"{math.ceil(job.seconds)}s", "-c", str(job.connections),
            "-m", "POST", "-T", "application/json", "-D", str(job.body), job.url,
        ]  # fmt: skip
