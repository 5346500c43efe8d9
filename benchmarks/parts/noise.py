"""Whether verdicts stay correct on a noisy machine."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import measure, plotting
from benchmarks.noisy import NOISES
from benchmarks.parts import Bar, Data
from benchmarks.processes import realtime_allowed
from benchmarks.rounds import say
from benchmarks.settings import Settings
from pytest_servebench.load.validity import invalid_reason
from pytest_servebench.objectives.slo import judge, overall, parse_slo
from pytest_servebench.stats.summary import summarize
from simulation import known
from simulation.cases import case

NAME = "noise"
TITLE = "Verdicts on a noisy machine"
RATE: Final = 50.0
SECONDS: Final = 4.0
MAX_LAG: Final = 0.010
ATTEMPTS: Final = 3
"""The default for a case."""

_SLOTS: Final = 1_000
_BOUND: Final = 0.010  # seconds
_SERVERS: Final[Mapping[str, float]] = {"20 % too slow": 1.2, "20 % fast enough": 0.8}
_SLOS: Final = ("p50<10ms", "success_rate>=90%")


def run(settings: Settings) -> Data:
    """Judge servers of known speed under each kind of noise."""
    runs: list[dict[str, Any]] = []
    absent = [] if realtime_allowed() else ["realtime"]
    with measure.scratch() as directory:
        for how, noise in NOISES.items():
            if how in absent:
                continue
            with noise(directory):
                for number in range(1 if settings.quick else 2 * settings.repeats):
                    for server, factor in _SERVERS.items():
                        one = {"how": how, "server": server}
                        one |= _judged(directory, factor * _BOUND, number)
                        say(NAME, number + 1, one)
                        runs.append(one)
    return {"runs": runs, "absent": absent}


def _judged(directory: Path, service: float, number: int) -> dict[str, Any]:
    """Return the verdict on a server that takes ``service`` seconds, as for a case."""
    with known.serve(directory, _SLOTS, f"fixed:{service}", number, priority="auto") as server:
        attempts, verdict = 0, "invalid"
        while verdict == "invalid" and attempts < ATTEMPTS:
            attempts += 1
            load = server.load(
                rate=RATE, duration=SECONDS, buffer_size=1_000, workers=16, seed=number,
                warmup=0.5, timeout=5.0, drain=5.0,
            )  # fmt: skip
            summary = summarize(load.records, RATE, MAX_LAG)
            result = dataclasses.replace(case(load.records, RATE), summary=summary)
            reason = invalid_reason(load.records, load.generator, load.pauses, MAX_LAG)
            if reason is None:
                verdict = overall(judge(parse_slo(",".join(_SLOS)), result))
    lag = load.records.generator_lag()
    return {
        "verdict": verdict,
        "attempts": attempts,
        "late": float((lag > 1e-3).mean()),
        "worst": float(lag.max()),
    }


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: this does not involve peers."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Compare the verdicts with the truth."""
    slow, fast = ([one for one in data["runs"] if one["server"] == server] for server in _SERVERS)
    passed = sum(one["verdict"] == "passed" for one in slow)
    failed = sum(one["verdict"] == "failed" for one in fast)
    return [
        Bar("passed runs of a server 20 % too slow", f"{passed} of {len(slow)}",
            f"0 of {len(slow)}", passed == 0 if slow else None),
        Bar("failed runs of a server fast enough by 20 %", f"{failed} of {len(fast)}",
            f"0 of {len(fast)}", failed == 0 if fast else None),
    ]  # fmt: skip


def section(data: Data) -> str:
    """Return the table of noises and servers."""
    rows = []
    for how in NOISES:
        for server in _SERVERS:
            runs = [one for one in data["runs"] if (one["how"], one["server"]) == (how, server)]
            if not runs:
                continue
            verdicts = Counter(one["verdict"] for one in runs)
            rows.append([
                how,
                server,
                ", ".join(f"{number} {word}" for word, number in verdicts.most_common()),
                str(sum(one["attempts"] > 1 for one in runs)),
                f"{100 * max(one['late'] for one in runs):.1f}",
                f"{1e3 * max(one['worst'] for one in runs):.1f}",
            ])  # fmt: skip
    text = (
        f"{RATE:g} requests per second for {SECONDS:g} s to a server that takes 12 or 8 ms, judged "
        f"by `{'`, `'.join(_SLOS)}`. The server has the generator's priority, so noise does not "
        "slow it down. Noise: see `benchmarks/noisy.py`. Invalid runs are repeated up to "
        f"{ATTEMPTS - 1} times."
    )
    table = plotting.table(
        ["noise", "server", "verdicts", "repeated", "requests over 1 ms late, %, worst run",
         "worst lateness, ms"],
        rows,
    )  # fmt: skip
    return f"{text}\n\n{table}"
