"""Runs of simulated queues, and how they are saved."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.runs.results import CaseResult, Resources, Run
from pytest_servebench.stats.estimates import Summary
from simulation import cases

MACHINE: Mapping[str, Any] = {
    "cpu": "AMD EPYC 7B13", "cores": 2, "memory": 8 * 2**30, "system": "Linux 6.1.0",
    "python": "3.11.7",
}  # fmt: skip


def case(
    rows: Records | None = None,
    *,
    server: str = "torchserve",
    rate: float = 50.0,
    buffer_size: int = 50,
    repeat: int | None = None,
    summary: Summary | None = None,
    resources: Resources = cases.SEEN,
    **changes: Any,
) -> CaseResult:
    """Return a case with these records or this summary; ``changes`` are of its fields."""
    if rows is None:
        rows = cases.steady(np.linspace(0.008, 0.02, 100), rate)
    title = {"torchserve": "TorchServe", "toy": "Toy"}[server]
    made = cases.case(
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
    made = []
    for server in ("toy", "torchserve"):
        for rate in rates:
            dice = np.random.default_rng([seed, round(rate), server == "toy"])
            rows = cases.queue(
                "M/M/1", rate * 0.005, number, dice, service=0.005, arrivals=7,
                slower=slower if server == "torchserve" else 1.0,
            )  # fmt: skip
            if failed and server == "torchserve":
                lost = dice.random(len(rows)) < failed
                latency = np.where(lost, 0.01, (rows.done - rows.scheduled) / 1e9)
                rows = cases.records(rows.scheduled / 1e9, latency, rows.window / 1e9, lost)
            made.append(case(rows, server=server, rate=rate))
    return run(made, name)


def busy_run(number: int = 6000, name: str = "20250301-101500") -> Run:
    """Return twelve cases with ``number`` requests each, some of which fail."""
    made: list[CaseResult] = []
    for server in ("toy", "torchserve"):
        for rate in (50.0, 100.0, 150.0):
            for buffer_size in (10, 50):
                dice = np.random.default_rng([round(rate), buffer_size, server == "toy"])
                rows = cases.queue("M/M/1", rate * 0.005, number, dice, service=0.005)
                outcome = rows.outcome.copy()
                if server == "torchserve":
                    outcome[dice.random(len(rows)) < 0.02] = Outcome.ERROR_STATUS
                    outcome[dice.random(len(rows)) < 0.01] = Outcome.DROPPED
                rows = dataclasses.replace(rows, outcome=outcome)
                one = case(rows, server=server, rate=rate, buffer_size=buffer_size)
                made.append(dataclasses.replace(one, records=rows, resources=seen(one)))
    return run(made, name)


def seen(one: CaseResult) -> Resources:
    """Return resources with samples over time."""
    times = [float(one) for one in np.linspace(0.25, one.duration, 100)]
    wave = np.sin(np.arange(100) / 5)
    return dataclasses.replace(
        cases.SEEN,
        series={
            "time": times,
            "cpu": (55 + 20 * wave).tolist(),
            "memory": (500e6 + 20e6 * wave).tolist(),
            "host_cpu": (40 + 10 * wave).tolist(),
        },
    )


def plain(saved: Run) -> dict[str, Any]:
    """Return what stands in the run's file."""
    return {"benchmarks": [], "servebench": saved.to_dict()}


def save(saved: Run, results: Path) -> Path:
    """Write the run's file below ``results`` and return it; and records of cases that name them."""
    path = results / saved.name / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    for one in saved.cases:
        if one.records is not None and one.records_file:
            (path.parent / one.records_file).parent.mkdir(exist_ok=True)
            one.records.save(path.parent / one.records_file)
    path.write_text(json.dumps(plain(saved), indent=1) + "\n")
    return path
