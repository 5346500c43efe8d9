"""Cross-validation of the model: predict each case from the other cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from pytest_servebench.metrics import LATENCY, percentiles_of
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.sizing.draws import Resamples
from pytest_servebench.sizing.fit import check, fit
from pytest_servebench.sizing.inversion import Floats
from pytest_servebench.sizing.model import Misfit, ServerModel, Unfit
from pytest_servebench.sizing.prediction import Setting, layout_of
from pytest_servebench.sizing.queue import simulate
from pytest_servebench.stats.bootstrap import TAIL
from pytest_servebench.stats.episodes import nearest_rank
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.stats.student import NORMAL, Z

TOLERATED: Final = 0.2
"""Relative error of a prediction that makes a model unfit, if chance does not explain it."""

DECISIVE: Final = ("p50", "p95")
"""Metrics that count against it: higher percentiles rest on too few requests in most cases."""

_SLOW: Final = 4.0  # medians
_FEW_SLOW: Final = 10
_RARE: Final = 0.1  # of the services
_TOGETHER: Final = 0.3  # of those after a slow one, which are slow too
_SHOWN: Final = ("p50", "p95", "p99")
_CHAINS: Final = 400
_MOST_ARRIVALS: Final = 20_000


@dataclass(frozen=True)
class Held:
    """One metric of one case.

    Attributes:
        predicted: what the case should measure; in 95 % of its repetitions, within the interval.
        measured: what it did measure; ``None`` for infinite.
    """

    predicted: Estimate
    measured: float | None

    @property
    def inside(self) -> bool:
        """Return whether the measurement lies in the interval."""
        measured = math.inf if self.measured is None else self.measured
        low = math.inf if self.predicted.low is None else self.predicted.low
        high = math.inf if self.predicted.high is None else self.predicted.high
        return low <= measured <= high

    @property
    def error(self) -> float | None:
        """Return predicted over measured, less 1; ``None`` if either is infinite."""
        if self.predicted.value is None or not self.measured:
            return None
        return self.predicted.value / self.measured - 1

    def missed(self, among: int) -> bool:
        """Return whether the prediction is off beyond chance, and by more than is tolerated.

        Args:
            among: predictions of the same model that count against it. One of many lies outside
                its interval by chance, so that the interval is widened on a logarithmic scale to
                the level that divides 5 % by their number (Bonferroni).
        """
        if self.inside or not (self.error is None or abs(self.error) > TOLERATED):
            return False
        wider = NORMAL.inv_cdf(1 - TAIL / among) / Z
        value, low, high, measured = (
            math.log(one) if one else math.inf
            for one in (
                self.predicted.value,
                self.predicted.low,
                self.predicted.high,
                self.measured,
            )
        )
        if not math.isfinite(value):
            return True
        return not value + wider * (low - value) <= measured <= value + wider * (high - value)


@dataclass(frozen=True)
class SelfCheck:
    """One case, predicted from the others of the same server.

    Attributes:
        case: its name.
        label: of the load within its test.
        rate: arrivals a second.
        buffer_size: requests that could wait.
        workers: connections.
        load: utilisation of the slots that its rate would be; ``None`` without a model.
        highest_load: the highest that the model was fitted to; ``None`` without a model.
        metrics: metric's name to prediction and measurement; empty without a model.
        unfit: why there is no model of the other cases.
        among: number of predictions that count against the model, in all of its cases.
    """

    case: str
    label: str
    rate: float
    buffer_size: int
    workers: int
    load: float | None
    highest_load: float | None
    metrics: Mapping[str, Held]
    unfit: Unfit | None = None
    among: int = 1

    @property
    def decisive(self) -> tuple[Held, ...]:
        """Return the predictions that count against the model."""
        return tuple(self.metrics[name] for name in DECISIVE if name in self.metrics)

    @property
    def missed(self) -> bool:
        """Return whether a prediction contradicts the measurement."""
        return any(one.missed(self.among) for one in self.decisive)

    def to_dict(self) -> dict[str, Any]:
        """Return the check as plain data for JSON."""
        return asdict(self)


def check_itself(cases: Sequence[CaseResult], seed: int = 0) -> tuple[SelfCheck, ...]:
    """Return each case as predicted from the others; nothing if there is one case only.

    The prediction has the case's own arrivals, buffer and connections, and begins with an empty
    server as the case did: only services are drawn.

    Args:
        cases: of one server, with their records.
        seed: of the simulation.

    Raises:
        ValueError: as in :func:`~pytest_servebench.sizing.fit.fit`.
    """
    check(cases)
    if len(cases) < 2:
        return ()
    checks = [
        _check(fit([*cases[:index], *cases[index + 1 :]]), case, seed)
        for index, case in enumerate(cases)
    ]
    among = max(1, sum(len(one.decisive) for one in checks))
    return tuple(replace(one, among=among) for one in checks)


def trusted(fitted: ServerModel | Unfit, checks: Sequence[SelfCheck]) -> ServerModel | Unfit:
    """Return the model, unless it mispredicts one of its cases."""
    if isinstance(fitted, Unfit) or not any(one.missed for one in checks):
        return fitted
    reasons = (Misfit.MISPREDICTS, *([Misfit.PAUSES] if pauses(fitted) else []))
    return Unfit(reasons, fitted.slots, fitted.deviation, len(fitted.services))


def pauses(model: ServerModel) -> bool:
    """Return whether slow services cluster, as when all slots stand still.

    A pause of a server with one slot looks like one slow service, and cannot be distinguished from
    it.
    """
    slow = model.services > _SLOW * np.median(model.services)
    share = float(slow.mean())
    if slow.sum() < _FEW_SLOW or share >= _RARE:
        return False
    after_slow = float(slow[1:][slow[:-1]].mean()) if slow[:-1].any() else 0.0
    return after_slow > _TOGETHER


def _check(fitted: ServerModel | Unfit, case: CaseResult, seed: int) -> SelfCheck:
    about = (case.name, case.label, case.rate, case.buffer_size, case.workers)
    if isinstance(fitted, Unfit):
        return SelfCheck(*about, None, None, {}, fitted)
    assert case.records is not None
    number = min(len(case.records), _MOST_ARRIVALS)
    arrivals = case.records.scheduled[:number] / 1e9
    measured = case.records.latency()[:number]
    predicted = replayed(fitted, case, arrivals, seed)
    metrics = {}
    for metric in percentiles_of(LATENCY):
        if metric.name in _SHOWN and number >= metric.enough and metric.permille is not None:
            rank = nearest_rank(metric.permille, number) - 1
            found = float(np.partition(measured, rank)[rank])
            values = np.partition(predicted, rank, axis=0)[rank]
            metrics[metric.name] = Held(_estimate(values), found if math.isfinite(found) else None)
    load = number / arrivals[-1] * fitted.mean_service / fitted.slots if number else 0.0
    return SelfCheck(*about, float(load), fitted.highest_load, metrics)


def replayed(model: ServerModel, case: CaseResult, arrivals: Floats, seed: int) -> Floats:
    """Return latencies of a case's arrivals in several simulations; shape ``(n, chains)``.

    Each uses services of another resample, so that they vary as repetitions of the case would, and
    with the uncertainty of the services.
    """
    dice = np.random.default_rng(seed)
    setting = Setting(case.rate, case.workers, case.buffer_size)
    pool = Resamples(model, _CHAINS, dice)
    chains = np.arange(_CHAINS)
    done = 0
    failed = []

    def draws(steps: int) -> tuple[Floats, Floats]:
        nonlocal done
        came = np.tile(arrivals[done : done + steps, None], (1, _CHAINS))
        done += steps
        places = pool.chosen[chains, dice.integers(0, len(pool.rank), came.shape)]
        failed.append(pool.failed[places])
        return came, pool.ordered[places]

    times = simulate(
        layout_of(model, setting), draws, len(arrivals), np.zeros(_CHAINS), 0.0, dice
    ).astype(np.float64)
    if failed:
        times[np.concatenate(failed)] = np.inf
    return times


def _estimate(values: Floats) -> Estimate:
    found = np.quantile(values, [0.5, TAIL, 1 - TAIL], method="inverted_cdf").tolist()
    return Estimate(*(end if math.isfinite(end) else None for end in found))
