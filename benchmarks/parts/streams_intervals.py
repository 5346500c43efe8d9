"""Coverage of the 95 % intervals of streamed answers, on simulated continuous batching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from typing import Any, Final

from benchmarks import plotting
from benchmarks.parts import Bar, Data
from benchmarks.rounds import say
from benchmarks.settings import Settings
from simulation.batching import PERCENTILES, QUANTITIES, Server
from simulation.coverage import coverage, streamed

NAME = "streams-intervals"
TITLE = "Intervals of streamed answers"
LOADS: Final = (0.3, 0.6, 0.8)
NUMBERS: Final = (500, 2000)
REPLICATIONS: Final = 400
STATISTICS: Final = (*PERCENTILES, "mean")
LEAST, MOST = 0.90, 0.99


def run(settings: Settings) -> Data:
    """Simulate, and count."""
    replications = 20 if settings.quick else REPLICATIONS
    with ProcessPoolExecutor(1) as pool:
        found = pool.map(
            partial(streamed, replications=replications),
            *zip(*product(LOADS, NUMBERS), strict=True),
        )
        cells = []
        for one in found:
            say(NAME, *one.values())
            cells.append(one)
    return {"replications": replications, "cells": cells}


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: peers have no intervals."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Compare the coverage of each quantity's statistics with the target."""
    many = int(data["replications"]) >= REPLICATIONS
    result = []
    for quantity in QUANTITIES:
        for statistic in STATISTICS:
            found = [(one, one["counts"][f"{quantity}.{statistic}"]) for one in data["cells"]]
            shares = [coverage(one, counts) for one, counts in found]
            reached = all(
                share >= LEAST and (share <= MOST or _often_open(one, counts))
                for share, (one, counts) in zip(shares, found, strict=True)
            )
            result.append(Bar(
                f"95 % intervals of {quantity}.{statistic} that hold the truth, {len(shares)} "
                "cells",
                f"{100 * min(shares):.1f} to {100 * max(shares):.1f} %",
                f"{100 * LEAST:.0f} to {100 * MOST:.0f} %", reached if many else None,
            ))  # fmt: skip
    return result


def _often_open(one: Mapping[str, Any], counts: Mapping[str, int]) -> bool:
    """Return whether there are so few requests that many intervals have no upper end."""
    return counts["open"] >= int(one["replications"]) / 10


def section(data: Data) -> str:
    """Return the table."""
    server = Server()
    rows = [
        [quantity, f"{one['load']:g}", f"{one['number']:,}",
         *(_cell(one, f"{quantity}.{statistic}") for statistic in STATISTICS)]
        for quantity in QUANTITIES for one in data["cells"]
    ]  # fmt: skip
    return "\n\n".join([
        f"Simulated continuous batching in steady state, {data['replications']} runs of each cell: "
        f"an iteration takes {1e3 * server.fixed:g} ms and {1e3 * server.each:g} ms more for each "
        f"of up to {server.most} requests, give or take {100 * server.noise:.0f} %; a prompt takes "
        f"{1e3 * server.prompt:g} ms on average (exponential), for which all others wait; an "
        f"answer has a geometric number of tokens, {server.tokens:g} on average. The load is the "
        "rate of Poisson arrivals over the highest that the server carries; the truth is that of "
        "two million other requests. *Coverage* is the share of the 95 % intervals that contain "
        "it; in brackets the shares that lie below and above it. *Open* intervals have no upper "
        "limit. At a load of 0.8 the batch is full for seconds every few thousand requests: a run "
        "of 2,000 that has not seen that knows of it by the number of requests in flight alone.",
        plotting.table(
            ["quantity", "load", "requests",
             *(f"{one}: coverage % (below, above), open %" for one in STATISTICS)],
            rows,
        ),
    ])  # fmt: skip


def _cell(one: Mapping[str, Any], metric: str) -> str:
    counts = one["counts"][metric]
    below, above, unlimited = (
        f"{100 * counts[name] / one['replications']:.1f}" for name in ("above", "below", "open")
    )
    return f"{100 * coverage(one, counts):.1f} ({below}, {above}), {unlimited}"
