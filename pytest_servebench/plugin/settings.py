"""The frozen settings object that the options are read into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_servebench.load.spec import LoadSettings
from pytest_servebench.objectives.gates import Gate
from pytest_servebench.objectives.slo import Clause
from pytest_servebench.plugin.option_values import KindValue
from pytest_servebench.servers.base import ServerSettings

InconclusivePolicy = Literal["warn", "fail", "skip"]


@dataclass(frozen=True)
class Settings:
    """Every choice of the user, checked.

    Attributes:
        servers: names of the kinds to load, in order.
        rates: offered arrivals a second, each a case.
        buffer_sizes: requests that may wait, each a case.
        load: what holds for the loads of all cases; each repeat has the next seed.
        repeats: how often each case is run.
        interleave: whether the servers take turns, case by case, all of them running.
        max_lag: lateness of the generator, seconds, beyond which an arrival is late.
        retries: how often a case is measured again whose measurement is invalid.
        slos: clauses that every case must meet, beside those of its own marker.
        on_inconclusive: what becomes of a test whose SLOs cannot be decided.
        baseline: saved run that cases are held to; empty for none.
        gates: what may get worse by how much against the baseline.
        baseline_allow: differences to the baseline that are allowed, by their names.
        on_missing_baseline: what becomes of a case of which there is no baseline.
        save: name under which this run is saved too; empty for none.
        model: ``module:callable`` that gives the model; empty if none is configured.
        results: directory that receives one directory a run.
        outputs: name of an output that has an option to whether its files are made, or to the file
            that its text is added to; ``None`` for none.
        exact_keywords: whether ``-k rate10`` means rate 10 alone.
        server: how servers are started.
        kind_values: options of single kinds of server, as they were given.
    """

    servers: tuple[str, ...]
    rates: tuple[float, ...]
    buffer_sizes: tuple[int, ...]
    load: LoadSettings
    repeats: int
    interleave: bool
    max_lag: float
    retries: int
    slos: tuple[Clause, ...]
    on_inconclusive: InconclusivePolicy
    baseline: str
    gates: tuple[Gate, ...]
    baseline_allow: frozenset[str]
    on_missing_baseline: InconclusivePolicy
    save: str
    model: str
    results: Path
    outputs: Mapping[str, bool | Path | None]
    exact_keywords: bool
    server: ServerSettings
    kind_values: tuple[KindValue, ...]
