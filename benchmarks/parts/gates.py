"""False alarms of gates, on simulated and on real pairs, and whether they detect a change."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks import plotting
from benchmarks.parts import Bar, Data
from benchmarks.rounds import say
from benchmarks.settings import ROOT, Settings
from pytest_servebench.analysis.compare import compare
from pytest_servebench.analysis.plan import requests_for
from pytest_servebench.analysis.precision import Known, assumed, measured
from pytest_servebench.commands import cli
from pytest_servebench.commands.plan import SHOWN
from pytest_servebench.objectives.gates import Gate, parse_gates
from pytest_servebench.runs.results import Run
from pytest_servebench.runs.run_names import read_run
from simulation.cases import case, queue
from simulation.queues import LAWS, Law

NAME = "gates"
TITLE = "Gates: false alarms, and changes that they find"
GATES: Final = ("p99:10%", "p50:5%")
MOST_ALARMS: Final = 0.01
LEAST_FOUND: Final = 0.95
PAIRS: Final = 300
"""Pairs of identical simulated runs, for each queue."""
LOADS: Final = (0.3, 0.6, 0.8)
NUMBER: Final = 1000

SLOWER: Final = 1.2
FOUND_PAIRS: Final = 100
FOUND_LOADS: Final = (0.1, 0.3, 0.6)
PILOT: Final = 5000
"""Requests of the earlier run that a plan is based on, if any."""
_LONGEST: Final = 2_000_000

REAL_PAIRS: Final = 30
REAL_RATE: Final = 50
REAL_SECONDS: Final = 20


def run(settings: Settings) -> Data:
    """Simulate pairs, and run real ones."""
    pairs, found, real = (4, 4, 1) if settings.quick else (PAIRS, FOUND_PAIRS, REAL_PAIRS)
    return {
        "same": [same(law, load, pairs) for law in LAWS for load in LOADS],
        "slower": [
            slower(law, load, gate, found, planned)
            for law in LAWS
            for load in FOUND_LOADS
            for gate in GATES
            for planned in ("assumptions", "an earlier run")
            if law == "M/M/1" or planned != "assumptions"  # which assume such a queue
        ],
        "real": real_pairs(real, REAL_SECONDS / 10 if settings.quick else REAL_SECONDS),
    }


# -- simulated pairs ------------------------------------------------------------------------------


def same(law: Law, load: float, pairs: int) -> dict[str, Any]:
    """Return how often each gate fails on two runs of one queue."""
    alarms = dict.fromkeys(GATES, 0)
    for seed in range(pairs):
        base, new = (_run(law, load, NUMBER, 2 * seed + side) for side in range(2))
        for text in GATES:
            alarms[text] += compare(base, new, parse_gates(text)).worse
    say(NAME, law, load, alarms)
    return {"law": law, "load": load, "pairs": pairs, "alarms": alarms}


def slower(law: Law, load: float, text: str, pairs: int, planned: str) -> dict[str, Any]:
    """Return how often a gate detects that services take 1.2 times as long.

    :mod:`pytest_servebench.analysis.plan` gives the length of each pair for this change, from its
    assumptions or from a run of :data:`PILOT` requests, a new one for each pair.
    """
    (gate,) = parse_gates(text)
    lengths, found, left_out = [], 0, 0
    for seed in range(pairs):
        number = _planned(law, load, gate, seed, planned)
        if number is None or number > _LONGEST:
            left_out += 1
            continue
        base = _run(law, load, number, 10_000 + 2 * seed)
        new = _run(law, load, number, 10_001 + 2 * seed, SLOWER)
        lengths.append(number)
        found += compare(base, new, [gate]).worse
    say(NAME, law, load, text, planned, found, len(lengths), lengths[:3])
    return {"law": law, "load": load, "gate": text, "planned": planned, "pairs": len(lengths),
            "found": found, "left_out": left_out, "requests": sorted(lengths)}  # fmt: skip


def _planned(law: Law, load: float, gate: Gate, seed: int, planned: str) -> int | None:
    known: Known | None = assumed(gate.metric, load, load)
    if planned != "assumptions":
        known = measured(gate.metric, _run(law, load, PILOT, 50_000 + seed).cases, load)
    assert known is not None
    return requests_for(gate.metric, known, SLOWER - 1, SHOWN)


def _run(law: Law, load: float, number: int, seed: int, factor: float = 1.0) -> Run:
    rows = queue(law, load, number, seed, slower=factor)
    return Run("simulated", "2026-01-01T00:00:00+00:00", {}, {}, (case(rows, load),))


# -- real pairs -----------------------------------------------------------------------------------


def real_pairs(pairs: int, seconds: float) -> dict[str, Any]:
    """Return how often each gate fails on two runs against one TorchServe.

    Each run is a pytest session with its own TorchServe, and each comparison a command, as in CI.
    """
    alarms, compared = dict.fromkeys(GATES, 0), 0
    values: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="servebench-gates-") as scratch:
        for _ in range(pairs):
            sides = list(map(partial(_session, Path(scratch), seconds), range(2)))
            values.append({metric: [_value(side, metric) for side in sides]
                           for metric in ("p50", "p99")})  # fmt: skip
            for text in GATES:
                with contextlib.redirect_stdout(io.StringIO()) as output:
                    status = cli.main(["compare", *map(str, sides), "--fail", text])
                if status not in (0, 1):
                    raise RuntimeError(f"the runs cannot be compared:\n{output.getvalue()}")
                alarms[text] += status
            compared += 1
            say(NAME, "real", compared, alarms, values[-1])
    return {"pairs": compared, "seconds": seconds, "alarms": alarms, "values": values}


def _session(scratch: Path, seconds: float, side: int) -> Path:
    results = scratch / f"{len(list(scratch.iterdir())):03}-{side}"
    subprocess.run(
        [sys.executable, "-m", "pytest", "bench_tests", "-q", "-k", "torchserve",
         f"--servebench-rates={REAL_RATE}", "--servebench-buffer-sizes=50",
         f"--servebench-duration={seconds:g}", "--servebench-plots=false",
         f"--servebench-results={results}"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return results / "latest"


def _value(directory: Path, metric: str) -> float | None:
    (one,) = read_run(directory).cases
    return one.summary.estimates[metric].value


# -- words ----------------------------------------------------------------------------------------


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: peers do not compare runs."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Compare false alarms and power with the targets."""
    pairs = sum(one["pairs"] for one in data["same"])
    result = []
    for text in GATES:
        simulated = sum(one["alarms"][text] for one in data["same"])
        result.append(_alarms_bar(f"{pairs:,} simulated pairs", text, simulated, pairs))
    for text in GATES:
        real = data["real"]
        words = f"{real['pairs']} real pairs against TorchServe"
        result.append(_alarms_bar(words, text, real["alarms"][text], real["pairs"]))
    tried = sum(one["pairs"] for one in data["slower"])
    shares = [one["found"] / one["pairs"] for one in data["slower"] if one["pairs"]]
    found = sum(one["found"] for one in data["slower"]) / max(tried, 1)
    result.append(Bar(
        f"share of {tried:,} simulated pairs of the planned length in which a server 1.2 times as "
        "slow fails the gate",
        f"{100 * found:.1f} % (worst combination {100 * min(shares, default=0):.0f} %)",
        f">= {100 * LEAST_FOUND:.0f} %", found >= LEAST_FOUND if tried >= PAIRS else None,
    ))  # fmt: skip
    return result


def _alarms_bar(words: str, text: str, alarms: int, pairs: int) -> Bar:
    share = alarms / max(pairs, 1)
    enough = pairs >= REAL_PAIRS
    return Bar(
        f"false alarms of `compare --fail {text}`, {words}",
        f"{alarms} ({100 * share:.2f} %)",
        f"<= {100 * MOST_ALARMS:.0f} %",
        share <= MOST_ALARMS if enough else None,
    )


def section(data: Data) -> str:
    """Return the tables."""
    same_rows = [
        [one["law"], f"{one['load']:g}", f"{one['pairs']}",
         *(str(one["alarms"][text]) for text in GATES)]
        for one in data["same"]
    ]  # fmt: skip
    slower_rows = [
        [one["law"], f"{one['load']:g}", one["gate"], one["planned"], _lengths(one),
         f"{one['found']} of {one['pairs']}", str(one["left_out"])]
        for one in data["slower"]
    ]  # fmt: skip
    real = data["real"]
    spread = "; ".join(
        f"{metric} from {1e3 * min(values):.2f} to {1e3 * max(values):.2f} ms"
        for metric in ("p50", "p99")
        if (values := list(_known(real["values"], metric)))
    )
    return "\n\n".join([
        f"**Identical pairs.** Two runs of the same simulated queue, {NUMBER:,} requests each: how "
        "often each gate fails on its own.",
        plotting.table(["queue", "load", "pairs", *GATES], same_rows),
        f"**Real pairs.** {real['pairs']} pairs of `pytest bench_tests/` sessions, each with its "
        f"own TorchServe, {REAL_RATE} requests/s for {real['seconds']:g} s: {spread}. "
        + " ".join(f"`{text}` failed {real['alarms'][text]} times." for text in GATES),
        f"**A slower server.** Services take {SLOWER:g} times as long, at the same arrival rate. "
        "One run per side, as long as `pytest-servebench plan --change 20%` says for this metric: "
        f"from its assumptions, given the load, or from a run of {PILOT:,} requests, a new one for "
        f"each pair. Plans of more than {_LONGEST:,} requests were skipped.",
        plotting.table(
            ["queue", "load", "gate", "plan from", "requests, median (min to max)", "detected",
             "skipped"],
            slower_rows,
        ),
    ])  # fmt: skip


def _lengths(one: Mapping[str, Any]) -> str:
    numbers = one["requests"]
    if not numbers:
        return "–"
    return f"{numbers[len(numbers) // 2]:,} ({numbers[0]:,} to {numbers[-1]:,})"


def _known(values: Sequence[Mapping[str, Sequence[float | None]]], metric: str) -> Iterator[float]:
    for pair in values:
        for value in pair[metric]:
            if value is not None:
                yield value
