"""The settings that the options are parsed into."""

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
        servers: names of the server kinds, in order.
        rates: offered loads in requests per second, a case each.
        buffer_sizes: requests that may queue, a case each.
        rows: samples in each request, a case each.
        load: load settings common to all cases; each repeat takes the next seed.
        repeats: how often each case is run.
        interleave: whether all servers run at once and alternate case by case.
        max_lag: how late the load generator may send a request, in seconds.
        retries: how often a case with an invalid measurement is repeated.
        slos: clauses that every case must meet, in addition to those of its marker.
        on_inconclusive: what to do with a test whose SLOs are inconclusive.
        capacity_budget: seconds for a search for a capacity.
        capacity_precision: width of its interval, high / low - 1, at which it may end sooner.
        capacity_range: lowest and highest rate that it tries.
        baseline: saved run to compare with; empty for none.
        gates: how much worse than the baseline each metric may get.
        baseline_allow: names of the differences from the baseline to allow.
        on_missing_baseline: what to do with a case that is missing from the baseline.
        save: additional name of this run; empty for none.
        model: ``module:callable`` that returns the model; empty if none is configured.
        results: directory with a subdirectory per run.
        outputs: output name to whether to write its files, or to the file to append its text to;
            ``None`` for none.
        exact_keywords: whether ``-k rate10`` selects rate 10 only.
        server: how servers are started.
        kind_values: options of single server kinds, as given.
    """

    servers: tuple[str, ...]
    rates: tuple[float, ...]
    buffer_sizes: tuple[int, ...]
    rows: tuple[int, ...]
    load: LoadSettings
    repeats: int
    interleave: bool
    max_lag: float
    retries: int
    slos: tuple[Clause, ...]
    on_inconclusive: InconclusivePolicy
    capacity_budget: float
    capacity_precision: float
    capacity_range: tuple[float, float]
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
