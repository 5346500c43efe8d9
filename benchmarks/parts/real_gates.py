"""False alarms of gates on pairs of real sessions."""

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

from benchmarks.parts import Bar, Data
from benchmarks.parts.gates import alarms_bar
from benchmarks.rounds import say
from benchmarks.settings import ROOT, Settings
from pytest_servebench.commands import cli
from pytest_servebench.runs.run_names import read_run

NAME = "real-gates"
TITLE = "Gates on real pairs"
GATES: Final = ("p99:10%", "p50:5%")
PAIRS: Final = 30
RATE: Final = 50
SECONDS: Final = 20


def run(settings: Settings) -> Data:
    """Run the pairs."""
    pairs, seconds = (1, SECONDS / 10) if settings.quick else (PAIRS, SECONDS)
    return real_pairs(pairs, seconds)


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
         f"--servebench-rates={RATE}", "--servebench-buffer-sizes=50",
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
    """Compare false alarms with the target."""
    words = f"{data['pairs']} real pairs against TorchServe"
    return [alarms_bar(words, text, data["alarms"][text], data["pairs"], PAIRS) for text in GATES]


def section(data: Data) -> str:
    """Return the text."""
    spread = "; ".join(
        f"{metric} from {1e3 * min(values):.2f} to {1e3 * max(values):.2f} ms"
        for metric in ("p50", "p99")
        if (values := list(_known(data["values"], metric)))
    )
    return (
        f"{data['pairs']} pairs of `pytest bench_tests/` sessions, each with its own TorchServe, "
        f"{RATE} requests/s for {data['seconds']:g} s: {spread}. "
        + " ".join(f"`{text}` failed {data['alarms'][text]} times." for text in GATES)
    )


def _known(values: Sequence[Mapping[str, Sequence[float | None]]], metric: str) -> Iterator[float]:
    for pair in values:
        for value in pair[metric]:
            if value is not None:
                yield value
