"""How often the intervals of simulated queues hold the truth."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from pytest_servebench.analysis.precision import inflation, tail_of
from pytest_servebench.load.classes import Classes
from pytest_servebench.metrics import METRICS as REGISTRY
from pytest_servebench.objectives.slo import judge, parse_slo
from pytest_servebench.stats.classes import class_figures
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.stats.summary import PERMILLES, summarize
from simulation import batching, sessions, traffic
from simulation.cases import case, failures, queue
from simulation.queues import Law, mean, percentile
from simulation.traffic import Traffic

LOADS: Final = (0.3, 0.6, 0.8)
NUMBERS: Final = (1000, 5000)
METRICS: Final = ("p50", "p90", "p99")
SHARES: Final = (0.9, 0.99, 0.999)
BOUNDS: Final = (1.0, 1.5, 2.0, 5.0)
"""Bounds of an SLO, in true percentiles."""
_ROUNDING: Final = 2e-9  # records are whole nanoseconds, and fixed services end all alike


def cell(law: Law, load: float, number: int, replications: int) -> dict[str, Any]:
    """Return how often the intervals of one queue hold its percentiles."""
    truth = {name: percentile(law, load, PERMILLES[name] / 1000) for name in METRICS}
    truth["mean"] = mean(law, load)
    counts = {name: {"above": 0, "below": 0, "open": 0} for name in truth}
    for seed in range(replications):
        estimates = summarize(queue(law, load, number, seed), load).estimates
        for name, value in truth.items():
            _count(counts[name], estimates[name], value)
    # A percentile that many requests have exactly is known exactly, and held by every interval.
    exact = [name for name in METRICS if law == "M/D/1" and truth[name] < 1 + _ROUNDING]
    return {"law": law, "load": load, "number": number, "replications": replications,
            "counts": counts, "exact": exact}  # fmt: skip


def _count(counts: dict[str, int], one: Estimate, truth: float) -> None:
    low = math.inf if one.low is None else one.low
    counts["above"] += one.high is not None and truth > one.high + _ROUNDING
    counts["below"] += truth < low - _ROUNDING
    counts["open"] += one.high is None


def success(share: float, burst: int, number: int, replications: int) -> dict[str, Any]:
    """Return how often the interval of the success rate holds it."""
    counts = {"above": 0, "below": 0, "open": 0}
    clean = 0
    for seed in range(replications):
        summary = summarize(failures(1 - share, burst, number, seed), 1.0)
        _count(counts, summary.estimates["success_rate"], share)
        clean += summary.success_rate == 1
    return {"share": share, "burst": burst, "number": number, "replications": replications,
            "counts": counts, "clean": clean}  # fmt: skip


def rare(of: Traffic, number: int, replications: int, requests: int = 3_000_000) -> dict[str, Any]:
    """Return how often the intervals of traffic that is seen little of hold its percentiles.

    What these are is known from so many ``requests``.
    """
    truth = traffic.truth(of, requests)
    counts = {name: {"above": 0, "below": 0, "open": 0} for name in truth}
    for run in traffic.runs(of, number, replications):
        estimates = summarize(run.records, 1.0).estimates
        for name, value in truth.items():
            _count(counts[name], estimates[name], value)
    return {"traffic": str(of), "load": of.load, "number": number, "replications": replications,
            "counts": counts}  # fmt: skip


def streamed(
    load: float, number: int, replications: int, requests: int = 2_000_000
) -> dict[str, Any]:
    """Return how often the intervals of streamed answers hold their percentiles and means.

    What these are is known from so many ``requests``.
    """
    server = batching.Server()
    truth = batching.truth(server, load, requests)
    counts = {name: {"above": 0, "below": 0, "open": 0} for name in truth}
    for seed in range(replications):
        estimates = summarize(batching.run(server, load, number, seed), 1.0).estimates
        for name, value in truth.items():
            _count(counts[name], estimates[name], value)
    return {"load": load, "number": number, "replications": replications, "counts": counts}


def of_class(law: Law, load: float, number: int, share: float, replications: int) -> dict[str, Any]:
    """Return how often the intervals of a class, a ``share`` of the requests, hold their truth.

    It has the same law as the others, so that the truth is that of the queue.
    """
    truth = {name: percentile(law, load, PERMILLES[name] / 1000) for name in METRICS}
    truth["mean"] = mean(law, load)
    counts = {name: {"above": 0, "below": 0, "open": 0} for name in truth}
    for seed in range(replications):
        rows = queue(law, load, number, seed)
        chosen = (np.random.default_rng([seed, 1]).random(len(rows)) < share).astype(np.uint32)
        classed = dataclasses.replace(rows, classes=Classes.of(chosen, ("others", "own")))
        estimates = class_figures(classed, load, math.inf)[1].summary.estimates
        for name, value in truth.items():
            _count(counts[name], estimates[name], value)
    return {"number": number, "replications": replications, "counts": counts}


def of_sessions(
    of: sessions.Chats, number: int, replications: int, requests: int = 1_200_000
) -> dict[str, Any]:
    """Return how often the intervals of requests that are turns of sessions hold their truth.

    That is known from so many ``requests``.
    """
    truth = sessions.truth(of, requests)
    counts = {name: {"above": 0, "below": 0, "open": 0} for name in truth}
    for seed in range(replications):
        estimates = summarize(sessions.run(of, number, seed), 1.0).estimates
        for name, value in truth.items():
            _count(counts[name], estimates[name], value)
    return {"number": number, "replications": replications, "counts": counts}


def decisions(
    of: Traffic, number: int, replications: int, requests: int = 3_000_000
) -> dict[str, Any]:
    """Return the verdicts on bounds of p99 that are so many times the truth.

    That is known from so many ``requests``.
    ``unseen`` is of the runs in which no request took a pause or came in a burst: their number, and
    how many of them passed at the truth. ``None`` where there are no such requests.
    """
    truth = traffic.truth(of, requests)["p99"]
    clauses = parse_slo(",".join(f"p99<{times * truth:.9f}s" for times in BOUNDS))
    counts = [{"passed": 0, "failed": 0, "inconclusive": 0} for _ in BOUNDS]
    unseen = {"runs": 0, "passed": 0}
    for run in traffic.runs(of, number, replications):
        judged = judge(clauses, case(run.records, 1.0))
        for verdicts, one in zip(counts, judged, strict=True):
            verdicts[one.verdict] += 1
        if not run.rare:
            unseen["runs"] += 1
            unseen["passed"] += judged[0].verdict == "passed"
    return {"traffic": str(of), "load": of.load, "number": number, "replications": replications,
            "verdicts": counts, "unseen": unseen if of.pauses or of.bursts else None}  # fmt: skip


def coverage(one: Mapping[str, Any], counts: Mapping[str, int]) -> float:
    """Return the share of the intervals that held the truth."""
    return 1 - (counts["above"] + counts["below"]) / int(one["replications"])


def too_few(load: float, number: int, metric: str) -> bool:
    """Tell whether so many requests of an M/M/1 queue are too few for a percentile."""
    return number < REGISTRY[metric].enough * inflation(load, tail_of(metric))
