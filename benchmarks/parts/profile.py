"""Where our generator's CPU time goes, and how priority and core pinning affect it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from benchmarks import measure, plotting, stats
from benchmarks.parts import Bar, Data
from benchmarks.processes import realtime_allowed
from benchmarks.rounds import say
from benchmarks.settings import Settings, make_body
from benchmarks.targets import nginx
from pytest_servebench.load.runner import LoadResult, run_load
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.store import Phase, RecordStore
from pytest_servebench.load.target import Target

NAME = "profile"
TITLE = "Where our CPU time goes"
RATES: Final = (1_000, 5_000, 20_000)
_SECONDS: Final = 2.0
_SAMPLES: Final = 5_000  # a second
_WORKERS: Final = 10


def run(settings: Settings) -> Data:
    """Measure each configuration in turn; then profile one of them with ``perf``."""
    cores = sorted(os.sched_getaffinity(0))
    ways: dict[str, tuple[str, Sequence[int]]] = {"normal priority": ("normal", cores)}
    if realtime_allowed():
        ways["real-time priority (the default)"] = ("auto", cores)
        ways["real-time priority, pinned to a core"] = ("auto", cores[-1:])
    ways["normal priority, pinned to a core"] = ("normal", cores[-1:])
    runs = []
    with measure.scratch() as directory, nginx.serve(directory) as server:
        for number in range(settings.repeats):
            for rate in RATES:
                for way, (priority, allowed) in ways.items():
                    one = _measure(server.port, rate, number, priority, allowed)
                    runs.append({"way": way, "offered": rate, "repeat": number, **one})
                    say(NAME, number + 1, runs[-1])
        os.sched_setaffinity(0, cores)
        shares = {str(rate): _perf(server.port, rate, directory) for rate in RATES}
    return {"runs": runs, "shares": shares, "perf": shutil.which("perf") is not None}


def _load(
    port: int, rate: int, seed: int, priority: str, watch: Any = lambda _: None
) -> LoadResult:
    body = make_body(7000)
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    spec = LoadSpec(
        target=Target("127.0.0.1", port), requests=(head.encode() + body,), rate=rate,
        duration=_SECONDS, buffer_size=1000, workers=_WORKERS, seed=seed, warmup=0.2,
        priority=priority,
    )  # fmt: skip
    return run_load(spec, watch)


def _measure(
    port: int, rate: int, number: int, priority: str, allowed: Sequence[int]
) -> dict[str, float]:
    os.sched_setaffinity(0, allowed)  # the generator inherits it
    result = _load(port, rate, number, priority)
    records = result.records
    return {
        "cpu": result.generator.cpu_seconds / len(records) * 1e6,
        "lag": float(np.percentile(records.generator_lag(), 99)) * 1e6,
        "p50": float(np.median(records.latency())) * 1e6,
    }


def _perf(port: int, rate: int, directory: Path) -> dict[str, float]:
    """Return each binary's share of the generator's CPU time; empty without perf."""
    if shutil.which("perf") is None:
        return {}
    data = directory / f"perf-{rate}.data"
    recorders: list[subprocess.Popen[bytes]] = []

    def watch(store: RecordStore) -> None:
        if recorders or store.phase is not Phase.RUNNING:
            return
        pid = next(
            child.pid
            for child in psutil.Process().children()
            if "pytest_servebench.load.generator" in " ".join(child.cmdline())
        )
        recorders.append(subprocess.Popen(
            ["perf", "record", "-e", "cpu-clock", "-F", str(_SAMPLES), "-p", str(pid),
             "-o", str(data), "--", "sleep", str(_SECONDS - 0.5)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ))  # fmt: skip

    _load(port, rate, 0, "auto", watch)
    for recorder in recorders:
        recorder.wait()
    report = subprocess.run(
        ["perf", "report", "-i", str(data), "--stdio", "--no-children", "-s", "dso"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    shares = {}
    for line in report.splitlines():
        percent, _, binary = line.strip().partition("%")
        if binary and not line.startswith("#"):
            shares[binary.strip()] = float(percent)
    return shares


def section(data: Mapping[str, Any]) -> str:
    """Return the table and the profile."""
    runs = data["runs"]
    rows = [
        [
            f"{rate:,}",
            way,
            *(
                stats.text(stats.spread(one[name] for one in found), form)
                for name, form in (("cpu", "{:.1f}"), ("lag", "{:.0f}"), ("p50", "{:.0f}"))
            ),
        ]
        for rate in RATES
        for way in dict.fromkeys(one["way"] for one in runs)
        if (found := stats.select(runs, offered=rate, way=way))
    ]
    parts = [
        "The generator only, ten connections to nginx, bodies of 7,000 bytes. Most of the CPU time "
        "of a request is not spent in Python but in the kernel: to sleep and wake up twice per "
        "request, to set the timer, and to send 7 kB over the loopback device, which delivers in "
        "the sender's CPU time. At higher rates, requests need fewer wake-ups each; a closed loop "
        "at its maximum, such as wrk, never sleeps at all.",
        plotting.table(
            ["offered /s", "generator", "CPU µs per request", "lag p99, µs",
             "median latency, µs"], rows,
        ),
    ]  # fmt: skip
    for rate, shares in data["shares"].items():
        top = sorted(shares.items(), key=lambda one: -one[1])[:6]
        if top:
            told = ", ".join(f"{name.strip('[]')} {share:.0f} %" for name, share in top)
            parts.append(f"At {int(rate):,}/s (`perf record -e cpu-clock`): {told}.")
    if not data["perf"]:
        parts.append("No profile, as `perf` (Debian's linux-perf) is not installed.")
    return "\n\n".join(parts)


def bars(data: Mapping[str, Any]) -> Sequence[Bar]:  # noqa: ARG001 - it explains, and judges nothing
    """Return nothing."""
    return ()


def columns(data: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:  # noqa: ARG001
    """Return nothing."""
    return {}
