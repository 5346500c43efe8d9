"""Whether the 95 % intervals hold the truth, on simulated traffic; and how long they take."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks import plotting
from benchmarks.parts import Bar, Data
from benchmarks.parts.interval_queues import (
    LAWS,
    VARIATION,
    Law,
    failures,
    mean,
    percentile,
    simulate,
)
from benchmarks.rounds import say
from benchmarks.settings import Settings
from pytest_servebench.analysis.precision import inflation, tail_of
from pytest_servebench.metrics import METRICS as REGISTRY
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.stats.summary import PERMILLES, summarize

NAME = "intervals"
TITLE = "Intervals: how often they hold the truth"
LOADS: Final = (0.3, 0.6, 0.8)
NUMBERS: Final = (1000, 5000)
METRICS: Final = ("p50", "p90", "p99")
REPLICATIONS: Final = 500
SHARES: Final = (0.9, 0.99, 0.999)
BURSTS: Final = (1, 5)
LEAST, MOST = 0.90, 0.99
TIMED: Final = 10_000
LONGEST: Final = 0.3
_ROUNDING: Final = 2e-9  # records are whole nanoseconds, and fixed services end all alike


def run(settings: Settings) -> Data:
    """Simulate, and count."""
    replications = 40 if settings.quick else REPLICATIONS
    cells = [
        cell(law, load, number, replications)
        for number in NUMBERS
        for law in LAWS
        for load in LOADS
    ]
    rates = [
        success(share, burst, NUMBERS[0], replications) for burst in BURSTS for share in SHARES
    ]
    return {"replications": replications, "cells": cells, "success": rates, "seconds": speed()}


def cell(law: Law, load: float, number: int, replications: int) -> dict[str, Any]:
    """Return how often the intervals of one queue hold its percentiles."""
    truth = {name: percentile(law, load, PERMILLES[name] / 1000) for name in METRICS}
    truth["mean"] = mean(law, load)
    counts = {name: {"above": 0, "below": 0, "open": 0} for name in truth}
    for seed in range(replications):
        estimates = summarize(simulate(law, load, number, seed), load).estimates
        for name, value in truth.items():
            _count(counts[name], estimates[name], value)
    say(NAME, number, law, load, counts)
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
    say(NAME, "success", share, burst, counts)
    return {"share": share, "burst": burst, "number": number, "replications": replications,
            "counts": counts, "clean": clean}  # fmt: skip


def speed(repeats: int = 20) -> list[float]:
    """Return how long the figures of a case take, seconds."""
    records = simulate("M/M/1", 0.6, TIMED, 0)
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        summarize(records, 0.6)
        found.append(time.perf_counter() - start)
    return found


def coverage(one: Mapping[str, Any], counts: Mapping[str, int]) -> float:
    """Return the share of the intervals that held the truth."""
    return 1 - (counts["above"] + counts["below"]) / int(one["replications"])


def too_few(load: float, number: int, metric: str) -> bool:
    """Tell whether so many requests of an M/M/1 queue are too few for a percentile."""
    return number < REGISTRY[metric].enough * inflation(load, tail_of(metric))


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: peers have no intervals."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Hold the coverage of each percentile against the bar, and the time."""
    result = []
    many = int(data["replications"]) >= REPLICATIONS  # of few, 99 % may well be all
    for metric in METRICS:
        found = [
            (one, one["counts"][metric]) for one in data["cells"] if metric not in one["exact"]
        ]
        shares = [coverage(one, counts) for one, counts in found]
        # An interval without an upper limit is honest where theory says that there are too few.
        reached = all(
            share >= LEAST and (share <= MOST or too_few(one["load"], one["number"], metric))
            for share, (one, _) in zip(shares, found, strict=True)
        )
        result.append(Bar(
            f"95 % intervals of {metric} that hold the truth, {len(shares)} queues of "
            f"{' or '.join(f'{number:,}' for number in NUMBERS)} requests",
            f"{100 * min(shares):.1f} to {100 * max(shares):.1f} %",
            f"{100 * LEAST:.0f} to {100 * MOST:.0f} %",
            reached if many else None,
        ))  # fmt: skip
    alone = [coverage(one, one["counts"]) for one in data["success"] if one["burst"] == 1]
    result.append(Bar(
        "the same of success rates from 90 to 99.9 %, failures independent",
        f"{100 * min(alone):.1f} to {100 * max(alone):.1f} %",
        f"{100 * LEAST:.0f} to {100 * MOST:.0f} %",
        min(alone) >= LEAST and max(alone) <= MOST if many else None,
    ))  # fmt: skip
    longest = max(data["seconds"])
    result.append(Bar(
        f"all figures and intervals of a case of {TIMED:,} requests, the slowest of "
        f"{len(data['seconds'])}",
        f"{1e3 * longest:.1f} ms", f"< {1e3 * LONGEST:.0f} ms", longest < LONGEST,
    ))  # fmt: skip
    return result


def section(data: Data) -> str:
    """Return the tables."""
    rows = [
        [one["law"], f"{one['load']:g}", f"{one['number']:,}",
         *(_cell(one, metric) for metric in (*METRICS, "mean"))]
        for one in data["cells"]
    ]  # fmt: skip
    rates = [
        [f"{100 * one['share']:g} %", str(one["burst"]), f"{one['number']:,}",
         f"{100 * coverage(one, one['counts']):.1f}",
         f"{100 * one['clean'] / one['replications']:.1f}"]
        for one in data["success"]
    ]  # fmt: skip
    seconds = statistics.median(data["seconds"])
    return "\n\n".join([
        f"Simulated queues in their steady state, {data['replications']} of each, with services "
        f"that are exponential, all alike, or lognormal (c² = {VARIATION:g}). *Coverage* is the "
        "share of the 95 % intervals that hold the exact percentile; in brackets how many of the "
        "others lie below it (an SLO with the truth as its bound is *passed*, against a nominal "
        "2.5 %) and above it (*failed*). *Open* intervals have no upper limit: no bound can be "
        "shown to be kept, and the verdict on any that is not already broken is *inconclusive*. "
        "A star marks fewer requests than MLPerf's minimum, times the inflation by queueing "
        "(`pytest_servebench.analysis.precision.inflation`): too few by theory. Where most "
        "requests need "
        "not wait for a service that is always the same, the median is that service, and no bar "
        "is held against intervals that can only be right.",
        plotting.table(
            ["queue", "load", "requests",
             *(f"{metric}: coverage % (below, above), open %" for metric in METRICS),
             "mean: coverage % (below, above)"],
            rows,
        ),
        "Success rates near 1: a share of the requests fails, alone or on average so many in a "
        "row. A run without a failure shows nothing of how failures come, and is taken for "
        "independent requests; how often that is stands beside.",
        plotting.table(
            ["success rate", "failures in a row", "requests", "coverage %", "runs without any %"],
            rates,
        ),
        f"The figures of a case of {TIMED:,} requests take {1e3 * seconds:.1f} ms in the median.",
    ])  # fmt: skip


def _cell(one: Mapping[str, Any], metric: str) -> str:
    counts, replications = one["counts"][metric], int(one["replications"])
    below, above, unlimited = (
        f"{100 * counts[name] / replications:.1f}" for name in ("above", "below", "open")
    )
    text = f"{100 * coverage(one, counts):.1f} ({below}, {above})"
    if metric not in METRICS:
        return text
    star = "\\*" if too_few(one["load"], one["number"], metric) else ""
    return f"{text}, {unlimited}{star}"
