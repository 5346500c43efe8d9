"""What a fitted server would do at another rate, with other limits, or with replicas of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from pytest_servebench.metrics import LATENCY, METRICS, Metric, statistics_of
from pytest_servebench.sizing.draws import Draws, Resamples
from pytest_servebench.sizing.intervals import Moments, Spread
from pytest_servebench.sizing.inversion import Floats
from pytest_servebench.sizing.model import Caution, ServerModel
from pytest_servebench.sizing.queue import ROUTINGS, Layout, Routing, settling, simulate
from pytest_servebench.stats.bootstrap import TAIL
from pytest_servebench.stats.estimates import Estimate

PREDICTED: Final[Mapping[str, Metric]] = {
    **{metric.name: metric for metric in statistics_of(LATENCY)},
    **{name: METRICS[name] for name in ("success_rate", "drop_rate", "error_rate", "throughput")},
}
"""The metrics that a prediction has, by name."""

RESAMPLES: Final = 200
_STREAMS: Final = 8  # of arrivals and of ranks, for each resample
_LEAST_STEPS: Final = 2000
_MOST_STEPS: Final = 12_000
_SETTLE: Final = 3.0  # relaxation times
_MOST_CELLS: Final = 100_000  # chains times connections: what a step costs


@dataclass(frozen=True)
class Setting:
    """A question: what if.

    Attributes:
        rate: arrivals a second, at all replicas together.
        workers: connections, of all replicas together; ``None`` for as many as are needed, so that
            nothing is dropped.
        buffer_size: requests that may wait for a connection.
        replicas: number of servers like the measured one.
        routing: how a request gets to one of them.
        burstiness: squared coefficient of variation of the gaps between arrivals, 1 for Poisson.

    Raises:
        ValueError: a value is out of its range.
    """

    rate: float
    workers: int | None = None
    buffer_size: int = 0
    replicas: int = 1
    routing: Routing = "random"
    burstiness: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise ValueError(f"rate={self.rate}: give a number above 0")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers={self.workers}: give 1 or more")
        if self.buffer_size < 0:
            raise ValueError(f"buffer_size={self.buffer_size}: give 0 or more")
        if self.replicas < 1:
            raise ValueError(f"replicas={self.replicas}: give 1 or more")
        if self.routing not in ROUTINGS:
            raise ValueError(f"routing={self.routing!r}: give one of {', '.join(ROUTINGS)}")
        if not 0.01 <= self.burstiness <= 100:
            raise ValueError(f"burstiness={self.burstiness}: give 0.01 to 100")


@dataclass(frozen=True)
class Prediction:
    """What the model predicts for a setting, in the long run.

    Attributes:
        setting: the question.
        estimates: metric's name to its value with a 95 % interval, as in a case's summary:
            percentiles and mean of the latency, in which a failed or dropped request ranks as
            infinitely slow, success, drop and error rate, and throughput.
        utilisation: share of the time in which a slot is busy, mean of all; 1 at saturation.
        cautions: what else the answer rests on.
    """

    setting: Setting
    estimates: Mapping[str, Estimate]
    utilisation: Estimate
    cautions: tuple[Caution, ...] = ()

    @property
    def p50(self) -> Estimate:
        """Return the median latency."""
        return self.estimates["p50"]

    @property
    def p95(self) -> Estimate:
        """Return the latency that 95 % of the requests stay below."""
        return self.estimates["p95"]

    @property
    def p99(self) -> Estimate:
        """Return the latency that 99 % of the requests stay below."""
        return self.estimates["p99"]

    @property
    def drop_rate(self) -> Estimate:
        """Return the share of the arrivals that is dropped."""
        return self.estimates["drop_rate"]

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as plain data for JSON."""
        return asdict(self)


def predict(
    model: ServerModel, setting: Setting, seed: int = 0, *, resamples: int = RESAMPLES
) -> Prediction:
    """Return the prediction for a setting: the same for the same seed.

    Args:
        model: fitted by :func:`~pytest_servebench.sizing.fit.fit`.
        setting: the question.
        seed: of the random arrivals, services, resamples and routes.
        resamples: of the services, for the intervals; the more, the steadier their ends.
    """
    layout, rate, burstiness = _reduced(layout_of(model, setting), setting)
    load = rate * model.mean_service / layout.servers
    variation = (burstiness + model.variation) / 2
    relaxation = settling(load, variation)
    settle = min(_MOST_STEPS, math.ceil(_SETTLE * relaxation))
    steps = settle + max(_LEAST_STEPS, min(_MOST_STEPS, math.ceil(2 * relaxation)))
    dice = np.random.default_rng(seed)
    held = layout.servers if layout.replicas == 1 else layout.carried
    each = max(1, min(_STREAMS, _MOST_CELLS // (2 * resamples * held)))
    streams = resamples * each
    pool = Resamples(model, resamples, dice)
    draws = Draws(model, pool, streams, dice, rate, burstiness)
    spacing = model.mean_service / layout.servers
    backlog = np.tile(_backlog(layout, load, variation, spacing, dice.random(streams)), 2)
    times = simulate(layout, draws, steps, backlog, spacing, dice)[settle:]
    spread = Spread(times, draws.failed(settle), resamples, Moments(model, pool))
    means = model.mean_service / pool.ordered[pool.chosen].mean(axis=1)
    estimates = {
        **spread.latencies(),
        **spread.shares(),
    }
    estimates["throughput"] = _scaled(estimates["success_rate"], setting.rate)
    if load >= 1 and layout.workers is None:
        surely = load * float(np.quantile(1 / means, TAIL)) >= 1
        estimates = _growing(estimates, model.saturation * setting.replicas, surely=surely)
    unsettled = _SETTLE * relaxation > _MOST_STEPS and load < 1
    if unsettled:
        estimates = {
            name: replace(one, high=None) if PREDICTED[name].kind == "time" else one
            for name, one in estimates.items()
        }
    cautions = {
        Caution.EXTRAPOLATES: load > model.highest_load,
        Caution.SATURATED: load >= 1,
        Caution.UNSETTLED: unsettled,
        Caution.HEAVY_TAIL: spread.heavy,
        Caution.WORKERS_LIMIT: setting.workers is not None
        and setting.workers < model.slots * setting.replicas,
    }
    return Prediction(
        setting,
        estimates,
        spread.utilisation(load, 1 / means),
        (*model.cautions, *(caution for caution, holds in cautions.items() if holds)),
    )


def curve(
    model: ServerModel, setting: Setting, rates: Sequence[float], seed: int = 0
) -> tuple[Prediction, ...]:
    """Return a prediction for each of several rates, with the same random numbers."""
    return tuple(predict(model, replace(setting, rate=rate), seed) for rate in rates)


def layout_of(model: ServerModel, setting: Setting) -> Layout:
    """Return the layout of the queue for a model's servers in a setting."""
    return Layout(
        model.slots, setting.replicas, setting.routing, setting.workers, setting.buffer_size,
        model.overhead,
    )  # fmt: skip


def _reduced(layout: Layout, setting: Setting) -> tuple[Layout, float, float]:
    """Return the layout with one replica if all are alike, its rate and its burstiness.

    A random choice from a Poisson process is Poisson too. With round robin, a replica gets every
    R-th arrival: the sum of R gamma-distributed gaps is gamma-distributed with R times the shape.
    """
    replicas, rate, burstiness = setting.replicas, setting.rate, setting.burstiness
    if layout.workers is None:
        alone = replace(layout, replicas=1)
        if layout.routing == "round_robin":
            return alone, rate / replicas, burstiness / replicas
        if layout.routing == "random" and burstiness == 1:
            return alone, rate / replicas, burstiness
    return layout, rate, burstiness


def _backlog(
    layout: Layout, load: float, variation: float, spacing: float, chance: Floats
) -> Floats:
    """Return how long the slots of each chain are busy initially, about as in the long run.

    Heavy traffic makes the wait exponential (Kingman 1962); at a load of 1 and more all places are
    taken. The error vanishes while the queue settles.
    """
    places = math.inf
    if layout.workers is not None:
        places = max(0, layout.buffer_size + layout.workers - layout.servers)
    if load >= 1:
        # Without a limit there is no steady state.
        full = places * spacing if math.isfinite(places) else _MOST_STEPS * (load - 1) * spacing
        return np.full(len(chance), full)
    mean = variation * spacing / (1 - load)
    waits = np.where(chance < load, -mean * np.log(np.maximum(chance, 1e-12) / load), 0.0)
    return np.minimum(waits, places * spacing)


def _growing(
    estimates: Mapping[str, Estimate], saturation: float, *, surely: bool
) -> dict[str, Estimate]:
    """Return the estimates of a queue that grows without bound: in the long run it has no latency.

    Args:
        estimates: of as long as was simulated.
        saturation: the rate that is served.
        surely: whether it grows, whatever the services are within their resamples.
    """
    found = {
        name: Estimate(None, None if surely else one.low, None)
        if PREDICTED[name].kind == "time" else one
        for name, one in estimates.items()
    }  # fmt: skip
    return found | {"throughput": Estimate(saturation, saturation, saturation)}


def _scaled(estimate: Estimate, by: float) -> Estimate:
    return Estimate(*(
        None if end is None else end * by for end in (estimate.value, estimate.low, estimate.high)
    ))  # fmt: skip
