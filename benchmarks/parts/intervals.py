"""Coverage of the 95 % intervals on simulated traffic, and how long they take to compute."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from typing import Any, Final

from benchmarks import plotting
from benchmarks.parts import Bar, Data
from benchmarks.rounds import say
from benchmarks.settings import Settings
from pytest_servebench.stats.summary import summarize
from simulation.cases import queue
from simulation.coverage import (
    BOUNDS,
    LOADS,
    METRICS,
    NUMBERS,
    SHARES,
    cell,
    coverage,
    decisions,
    rare,
    success,
    too_few,
)
from simulation.queues import LAWS, VARIATION
from simulation.traffic import MM1, PERCENTILES, RARE, Traffic

NAME = "intervals"
TITLE = "Intervals: how often they hold the truth"
REPLICATIONS: Final = 500
RARELY: Final = 200  # runs of each rare traffic, and of each row of decisions
RARE_NUMBER: Final = 2000
DECIDED: Final = (*MM1, RARE[0], RARE[3], RARE[6])
DECIDED_NUMBERS: Final = (500, 1000, 2000, 5000)
WRONG: Final = 0.025  # of an SLO with the truth for its bound
BURSTS: Final = (1, 5)
LEAST, MOST = 0.90, 0.99
TIMED: Final = 10_000
LONGEST: Final = 0.3


def run(settings: Settings) -> Data:
    """Simulate, and count."""
    replications = 40 if settings.quick else REPLICATIONS
    rarely = 20 if settings.quick else RARELY
    with ProcessPoolExecutor() as pool:
        hard = pool.map(partial(_rare, replications=rarely), RARE)
        decided = pool.map(partial(_decisions, replications=rarely), DECIDED)
        cells = pool.map(
            partial(cell, replications=replications),
            *zip(*product(LAWS, LOADS, NUMBERS), strict=True),
        )
        rates = pool.map(
            partial(success, number=NUMBERS[0], replications=replications),
            *zip(*product(SHARES, BURSTS), strict=True),
        )
        found = {
            "rare": _told(hard),
            "decided": [one for rows in decided for one in _told(rows)],
            "cells": sorted(_told(cells), key=lambda one: int(one["number"])),
            "success": sorted(_told(rates), key=lambda one: int(one["burst"])),
        }
    return {"replications": replications, **found, "seconds": speed()}


def _rare(traffic: Traffic, replications: int) -> Data:
    return rare(traffic, RARE_NUMBER, replications)


def _decisions(traffic: Traffic, replications: int) -> list[Data]:
    return [decisions(traffic, number, replications) for number in DECIDED_NUMBERS]


def _told(rows: Iterable[Data]) -> list[Data]:
    result = []
    for row in rows:
        say(NAME, *row.values())
        result.append(row)
    return result


def speed(repeats: int = 20) -> list[float]:
    """Return how long the figures of a case take, seconds."""
    records = queue("M/M/1", 0.6, TIMED, 0)
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        summarize(records, 0.6)
        found.append(time.perf_counter() - start)
    return found


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: peers have no intervals."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Compare the coverage of each percentile, and the time, with their targets."""
    result = []
    many = int(data["replications"]) >= REPLICATIONS  # of few, 99 % may be all
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
    hard = data["rare"]
    enough = bool(hard) and int(hard[0]["replications"]) >= RARELY
    for metric in (*PERCENTILES, "mean"):
        shares = [coverage(one, one["counts"][metric]) for one in hard]
        result.append(Bar(
            f"the same of {metric} with rare pauses or bursts, {len(shares)} cells",
            f"{100 * min(shares):.1f} to {100 * max(shares):.1f} %, "
            f"{sum(one >= LEAST for one in shares)} of {len(shares)} reach it",
            f">= {100 * LEAST:.0f} %", min(shares) >= LEAST if enough else None,
        ))  # fmt: skip
    # With few runs, a share of 2.5 % may look like 5 %: three standard errors.
    most = WRONG + 3 * (WRONG * (1 - WRONG) / RARELY) ** 0.5
    for what, wrong in (
        ("SLOs on p99 that passed with the truth for their bound",
         [_share(one, 0, "passed") for one in data["decided"]]),
        ("the same in runs that saw a pause or a burst, if there are any",
         [_passed_knowingly(one) for one in data["decided"]]),
    ):  # fmt: skip
        result.append(Bar(
            f"{what}, {len(wrong)} cells, mean (most)",
            f"{100 * statistics.fmean(wrong):.1f} % ({100 * max(wrong):.1f} %)",
            f"<= {100 * WRONG:g} % ({100 * most:.1f} %)",
            statistics.fmean(wrong) <= WRONG and max(wrong) <= most if enough else None,
        ))  # fmt: skip
    longest = max(data["seconds"])
    result.append(Bar(
        f"time for all figures and intervals of a case of {TIMED:,} requests, the slowest of "
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
    hard = [
        [one["traffic"], f"{one['load']:g}", f"{one['number']:,}",
         *(_cell(one, metric, stars=False) for metric in (*PERCENTILES, "mean"))]
        for one in data["rare"]
    ]  # fmt: skip
    decided = [
        [one["traffic"], f"{one['load']:g}", f"{one['number']:,}",
         *(f"{100 * _share(one, index, 'passed'):.0f}, {100 * _share(one, index, 'failed'):.0f}"
           for index in range(len(BOUNDS))),
         *_unseen(one)]
        for one in data["decided"]
    ]  # fmt: skip
    seconds = statistics.median(data["seconds"])
    return "\n\n".join([
        f"Simulated queues in steady state, {data['replications']} of each, with exponential, "
        f"constant or lognormal (c² = {VARIATION:g}) service times. *Coverage* is the share of the "
        "95 % intervals that contain the exact percentile; in brackets the shares that lie below "
        "it (an SLO bounded by the true value would be *passed*; nominal 2.5 %) and above it "
        "(*failed*). *Open* intervals have no upper limit: no bound can be shown to be met, so a "
        "verdict that is not *failed* is *inconclusive*. A star marks fewer requests than MLPerf's "
        "minimum times the inflation by queueing "
        "(`pytest_servebench.analysis.precision.inflation`): too few in theory. If most requests "
        "do not wait and service times are constant, the median is the service time; such "
        "intervals are always right, so no target applies.",
        plotting.table(
            ["queue", "load", "requests",
             *(f"{metric}: coverage % (below, above), open %" for metric in METRICS),
             "mean: coverage % (below, above)"],
            rows,
        ),
        "Success rates near 1: a share of the requests fails, singly or on average several in a "
        "row. A run without failures does not show whether failures are clustered, so requests are "
        "taken as independent; the last column says how often that happens.",
        plotting.table(
            ["success rate", "failures in a row", "requests", "coverage %", "runs without any %"],
            rates,
        ),
        "Traffic that a run sees little of: services of which a few take much longer (pauses), and "
        "arrivals in bursts (Markov-modulated Poisson processes with two states). The truth is "
        "that of 3 million simulated requests. Where a run sees one or two of the episodes that "
        "make a percentile, it cannot tell how long they are; their number, not that of the "
        "requests, is what counts.",
        plotting.table(
            ["traffic", "load", "requests",
             *(f"{metric}: coverage % (below, above), open %" for metric in PERCENTILES),
             "mean: coverage % (below, above)"],
            hard,
        ),
        "Verdicts on `p99<bound`, for bounds of so many times the true p99: *passed* and *failed* "
        "in percent of the runs; the others are inconclusive. At 1 every verdict is wrong. A run "
        "in which no request took a pause or came in a burst cannot be told from one of traffic "
        "without any: how many there are, and how many of those that passed at 1 are such runs.",
        plotting.table(
            ["traffic", "load", "requests", *(f"{times:g} times" for times in BOUNDS),
             "saw none %", "passed at 1, of these saw none"],
            decided,
        ),
        f"Computing the figures of a case of {TIMED:,} requests takes {1e3 * seconds:.1f} ms "
        "(median).",
    ])  # fmt: skip


def _share(one: Mapping[str, Any], bound: int, verdict: str) -> float:
    return float(one["verdicts"][bound][verdict]) / int(one["replications"])


def _passed_knowingly(one: Mapping[str, Any]) -> float:
    """Return the share that passed at the truth, of the runs that saw a rare event."""
    passed, runs = int(one["verdicts"][0]["passed"]), int(one["replications"])
    unseen = one["unseen"] or {"runs": 0, "passed": 0}
    return (passed - int(unseen["passed"])) / max(1, runs - int(unseen["runs"]))


def _unseen(one: Mapping[str, Any]) -> tuple[str, str]:
    if one["unseen"] is None:
        return "–", "–"
    share = 100 * int(one["unseen"]["runs"]) / int(one["replications"])
    return f"{share:.1f}", f"{one['verdicts'][0]['passed']}, {one['unseen']['passed']}"


def _cell(one: Mapping[str, Any], metric: str, *, stars: bool = True) -> str:
    counts, replications = one["counts"][metric], int(one["replications"])
    below, above, unlimited = (
        f"{100 * counts[name] / replications:.1f}" for name in ("above", "below", "open")
    )
    text = f"{100 * coverage(one, counts):.1f} ({below}, {above})"
    if metric == "mean":
        return text
    star = "\\*" if stars and too_few(one["load"], one["number"], metric) else ""
    return f"{text}, {unlimited}{star}"
