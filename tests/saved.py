"""Runs of simulated queues, and how they are saved.

``python -m tests.saved`` writes the sample run again, which stays as an older version saved it: do
that only where the schema has changed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import Records
from pytest_servebench.runs.results import CaseResult, Resources, Run
from pytest_servebench.stats.estimates import Summary
from tests import simulated

SAMPLE = Path(__file__).parent / "data" / "sample-run"
MACHINE: Mapping[str, Any] = {
    "cpu": "AMD EPYC 7B13", "cores": 2, "memory": 8 * 2**30, "system": "Linux 6.1.0",
    "python": "3.11.7",
}  # fmt: skip

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

SERVICES: Mapping[str, Draw] = {
    "M/M/1": lambda dice, n: dice.exponential(1.0, n),
    "M/D/1": lambda dice, n: np.ones(n),
    "M/G/1": lambda dice, n: dice.lognormal(-0.5, 1.0, n),  # squared coefficient of variation 1.7
}
"""Service times with mean 1."""


def queue(
    kind: str,
    load: float,
    dice: np.random.Generator,
    *,
    number: float = 1000,
    service: float = 0.01,
    slower: float = 1.0,
    arrivals: int | None = None,
) -> Records:
    """Return the records of about ``number`` requests at a queue in its steady state.

    Args:
        kind: a key of :data:`SERVICES`.
        load: share of the time for which the server is busy, before ``slower``.
        dice: for what is drawn.
        number: of requests.
        service: mean service time, seconds.
        slower: factor on the service times.
        arrivals: seed of the arrivals, so that runs can share them; else ``dice`` draws them.
    """
    rate = load / service
    window, settle = number / rate, 200 * service / (1 - load)
    size = int((window + settle) * rate * 1.2 + 60)
    gaps = (dice if arrivals is None else np.random.default_rng(arrivals)).exponential(
        1 / rate, size
    )
    times = np.cumsum(gaps)
    services = SERVICES[kind](dice, size) * service * slower
    latency = simulated.waits(times, services) + services
    chosen = (times >= settle) & (times < settle + window)
    return simulated.records(times[chosen] - settle, latency[chosen], window)


def case(
    rows: Records | None = None,
    *,
    server: str = "torchserve",
    rate: float = 50.0,
    buffer_size: int = 50,
    repeat: int | None = None,
    summary: Summary | None = None,
    resources: Resources = simulated.SEEN,
    **changes: Any,
) -> CaseResult:
    """Return a case with these records or this summary; ``changes`` are of its fields."""
    if rows is None:
        rows = simulated.steady(np.linspace(0.008, 0.02, 100), rate)
    title = {"torchserve": "TorchServe", "toy": "Toy"}[server]
    made = simulated.case(
        rows, rate, kind=server, title=title, implementation=f"{title} 1.0",
        buffer_size=buffer_size, resources=resources,
    )  # fmt: skip
    parts = [server, f"rate{rate:g}", f"buffer{buffer_size}"]
    if repeat is not None:
        parts.append(f"repeat{repeat}")
        made = dataclasses.replace(made, seed=repeat - 1)
    name = f"test_load[{'-'.join(parts)}]"
    made = dataclasses.replace(made, name=name, nodeid=f"test_it.py::{name}")
    if summary is not None:
        made = dataclasses.replace(made, summary=summary)
    return dataclasses.replace(made, **changes)


def run(cases: Sequence[CaseResult], name: str = "20250301-101500", **changes: Any) -> Run:
    """Return a run of these cases."""
    made = Run(
        name=name, started="2025-03-01T10:15:00+01:00", machine=MACHINE,
        versions={"pytest-servebench": "0.1.0"}, cases=tuple(cases),
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def queue_run(
    name: str = "base",
    *,
    seed: int = 1,
    slower: float = 1.0,
    rates: Sequence[float] = (10.0, 40.0),
    number: float = 2000,
    failed: float = 0.0,
) -> Run:
    """Return a run with M/M/1 queues of two servers; runs share arrivals, as of one seed.

    Args:
        name: of the run.
        seed: of the service times.
        slower: factor on TorchServe's service times.
        rates: arrivals a second; a service takes 5 ms.
        number: of requests in each case.
        failed: share of TorchServe's requests that fail.
    """
    cases = []
    for server in ("toy", "torchserve"):
        for rate in rates:
            dice = np.random.default_rng([seed, round(rate), server == "toy"])
            rows = queue(
                "M/M/1", rate * 0.005, dice, number=number, service=0.005, arrivals=7,
                slower=slower if server == "torchserve" else 1.0,
            )  # fmt: skip
            if failed and server == "torchserve":
                lost = dice.random(len(rows)) < failed
                latency = np.where(lost, 0.01, (rows.done - rows.scheduled) / 1e9)
                rows = simulated.records(rows.scheduled / 1e9, latency, rows.window / 1e9, lost)
            cases.append(case(rows, server=server, rate=rate))
    return run(cases, name)


def plain(saved: Run) -> dict[str, Any]:
    """Return what stands in the run's file."""
    return {"benchmarks": [], "servebench": saved.to_dict()}


def save(saved: Run, results: Path) -> Path:
    """Write the run's file below ``results`` and return it."""
    path = results / saved.name / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain(saved), indent=1) + "\n")
    return path


if __name__ == "__main__":
    save(queue_run("sample-run", rates=[40.0], number=1500), SAMPLE.parent)
