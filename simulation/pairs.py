"""Pairs of runs against one simulated server, or against one that became slower."""

import dataclasses
import math
from typing import Final, Literal

import numpy as np

from pytest_servebench.load.records import Records
from pytest_servebench.runs.results import Run
from simulation import queues
from simulation.cases import case, records
from simulation.distributions import Seconds
from simulation.queues import waits

Kind = Literal["M/M/1", "M/D/1", "M/G/1", "lognormal", "pauses", "MMPP"]
KINDS: Final[tuple[Kind, ...]] = ("M/M/1", "M/D/1", "M/G/1", "lognormal", "pauses", "MMPP")
"""The queues of :mod:`simulation.queues`, and others with one server. *lognormal*: services vary by
30 % of their mean. *pauses*: exponential ones, of which one in 200 takes 20 times as long. *MMPP*:
exponential ones, and arrivals at 1.5 or 0.5 times their mean rate, in turn, each for an exponential
time of :data:`PHASE` mean services on average."""

PHASE: Final = 100.0
_SIGMA: Final = 0.3
_PAUSES: Final = (1 / 200, 20.0)


def pair_of_runs(
    kind: Kind,
    load: float,
    number: float,
    seed: int,
    *,
    common: bool = True,
    slower: float = 1.0,
    body: float = 1.0,
) -> tuple[Run, Run]:
    """Return two runs with their records, each of about ``number`` requests in steady state.

    Args:
        kind: of traffic.
        load: share of the time for which the server of the first run is busy.
        number: of requests.
        seed: of what is drawn.
        common: whether both runs have the same arrivals, as runs of one seed have.
        slower: factor on the second run's services.
        body: factor on those of the second run's latencies that are below its p90, up to this.
    """
    sides = []
    for side, factor in enumerate((1.0, slower)):
        arrivals = np.random.default_rng([seed, 0 if common else 1 + side])
        rows = _rows(kind, load, number, factor, arrivals, np.random.default_rng([seed, 3 + side]))
        sides.append(rows)
    if body != 1:
        sides[1] = _slower_body(sides[1], body)
    base, new = (
        Run(
            "simulated", "2026-01-01T00:00:00+00:00", {}, {},
            (dataclasses.replace(case(rows, load), records=rows),),
        )
        for rows in sides
    )  # fmt: skip
    return base, new


def _rows(
    kind: Kind,
    load: float,
    number: float,
    factor: float,
    of_arrivals: np.random.Generator,
    of_services: np.random.Generator,
) -> Records:
    # What is drawn until the window begins must not depend on ``factor``: arrivals are shared.
    window, settle = number / load, 800.0 + 120 / (1 - load) ** 2
    size = math.ceil(1.3 * (window + settle) * load + 10 * math.sqrt(number)) + 200
    times = _arrivals(kind, load, size, of_arrivals)
    served = _services(kind, len(times), of_services) * factor
    latency = waits(times, served) + served
    chosen = (times >= settle) & (times < settle + window)
    return records(times[chosen] - settle, latency[chosen], window)


def _arrivals(kind: Kind, rate: float, size: int, dice: np.random.Generator) -> Seconds:
    if kind != "MMPP":
        return np.cumsum(dice.exponential(1 / rate, size))
    phases = math.ceil(1.5 * size / rate / PHASE) + 20
    # Time runs 1.5 or 0.5 times as fast for a Poisson process.
    lengths = dice.exponential(PHASE, phases)
    speeds = np.where((np.arange(phases) + dice.integers(2)) % 2 == 0, 1.5, 0.5)
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    worked = np.concatenate([[0.0], np.cumsum(lengths * speeds)])
    times = np.interp(np.cumsum(dice.exponential(1 / rate, size)), worked, ends)
    known: Seconds = times[times < ends[-1]]
    return known


def _services(kind: Kind, number: int, dice: np.random.Generator) -> Seconds:
    if kind == "lognormal":
        return dice.lognormal(-(_SIGMA**2) / 2, _SIGMA, number)
    if kind == "pauses":
        share, times = _PAUSES
        longer = np.where(dice.random(number) < share, times, 1.0)
        return dice.exponential(1.0, number) * longer / (1 + share * (times - 1))
    return queues.services("M/M/1" if kind == "MMPP" else kind, number, dice)


def _slower_body(rows: Records, factor: float) -> Records:
    latency = rows.latency()
    p90 = float(np.quantile(latency, 0.9))
    slower = np.where(latency < p90, np.minimum(factor * latency, p90), latency)
    return records(rows.scheduled / 1e9, slower, rows.window / 1e9)
