"""Intervals of a prediction: from resamples of the services, with the error of the simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.metrics import LATENCY, percentiles_of
from pytest_servebench.sizing.inversion import Floats
from pytest_servebench.sizing.model import ServerModel
from pytest_servebench.sizing.queue import Latencies
from pytest_servebench.stats.bootstrap import TAIL, degrees_of_freedom, moving_blocks
from pytest_servebench.stats.episodes import nearest_rank
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.stats.student import student, student_quantile

_BATCHES: Final = 20
_CONSTANT: Final = 1e-3  # relative spread below which services count as constant
_MOST_BINS: Final = 2000
_PLAIN: Final = 200  # resamples
_SEED: Final = 1953  # any: the same records give the same intervals
_BATCH_ERROR: Final = student_quantile(2 * TAIL, _BATCHES - 1)
_HEAVY: Final = 30.0  # degrees of freedom below which few services decide


@dataclass(frozen=True)
class Widening:
    """By what factors an interval must reach further than resamples of the services do.

    Attributes:
        below: of the lower end, 1 or more.
        above: of the upper end, 1 or more.
        heavy: whether few slow services decide.
    """

    below: float
    above: float
    heavy: bool


def widening(model: ServerModel) -> Widening:
    """Return by what factors resamples of the services spread too little.

    Waiting grows with the mean of the squared services (Pollaczek and Khinchine), and of heavy
    tails few services decide it: a run that saw few slow ones has too low a mean and too small a
    spread at once. How far the interval of this mean must reach is told by studentized resamples;
    it is compared with how far plain resamples reach. Besides, the spread itself is known from few,
    and gets Student's quantile for their number.
    """
    squares = model.services**2
    mean = float(squares.mean())
    factor = student(_degrees(model))
    edges = np.linspace(0, len(squares), min(len(squares), _MOST_BINS) + 1)[:-1].astype(np.int64)
    sums = np.add.reduceat(squares - mean, edges)
    drawn = sums[np.random.default_rng(_SEED).integers(0, len(sums), (_PLAIN, len(sums)))]
    below, above = np.quantile(drawn.sum(axis=1) / len(squares), [TAIL, 1 - TAIL])
    if below >= 0 or above <= 0 or squares.std() <= _CONSTANT * mean:
        return Widening(1.0, 1.0, heavy=False)
    low, high = (end / len(squares) for end in moving_blocks(sums[:, None]).studentized(0))
    return Widening(
        max(factor, high / -float(below)),
        max(factor, -low / float(above)),
        heavy=factor > student(_HEAVY),
    )


def _degrees(model: ServerModel) -> float:
    squares = model.services**2
    centred = squares - squares.mean()
    variance = float((centred**2).mean())
    number = len(squares) / model.memory
    if variance <= 0:
        return number
    return degrees_of_freedom(number, float((centred**4).mean()) / variance**2)


class Spread:
    """Estimates from the chains of a model and those of its resamples."""

    def __init__(
        self,
        times: Latencies,
        failed: npt.NDArray[np.bool_] | None,
        resamples: int,
        factor: Widening,
    ) -> None:
        """Sort the chains.

        Args:
            times: first of the model's chains, then of its resamples', in seconds, infinite for
                dropped requests; shape ``(steps, 2 * streams)``.
            failed: which were answered with an error; ``None`` for none.
            resamples: each has as many neighbouring streams as the next.
            factor: by which the resamples' spread is widened at either end.
        """
        self._factor = factor
        self.heavy = factor.heavy
        self._resamples = resamples
        self._dropped = _by_chain(np.isinf(times))
        if failed is not None:
            self._failed = _by_chain(failed & ~np.isinf(times))
            times = np.where(failed, np.float32(np.inf), times)
        else:
            self._failed = np.zeros_like(self._dropped)
        streams = times.shape[1] // 2
        self._own = _grouped(times[:, :streams], resamples)
        self._others = _grouped(times[:, streams:], resamples)

    def latencies(self) -> dict[str, Estimate]:
        """Return percentiles and mean of the latency."""
        found = {}
        own, others = _percentiles(self._own), _percentiles(self._others)
        own["mean"], others["mean"] = self._own.mean(axis=1), self._others.mean(axis=1)
        whole = _percentiles(self._own.reshape(1, -1))
        batches = _percentiles(_grouped_rows(self._own))
        for name in own:
            if name == "mean":
                value, parts = float(own["mean"].mean()), own["mean"]
            else:
                value, parts = float(whole[name][0]), batches[name]
            found[name] = self._latency(value, own[name], others[name], parts)
        return found

    def _latency(self, value: float, own: Floats, others: Floats, parts: Floats) -> Estimate:
        if not math.isfinite(value):
            low = float(np.quantile(others, TAIL, method="inverted_cdf"))
            return Estimate(None, low if math.isfinite(low) else None, None)
        known = np.isfinite(own) & (own > 0)
        with np.errstate(divide="ignore"):
            moved = np.log(others[known] / own[known])
        error = 0.0
        if np.isfinite(parts).all() and value > 0:
            error = float(np.std(parts, ddof=1)) / math.sqrt(len(parts)) / value
        low, high = self._ends(moved, error)
        top = value * math.exp(high) if high < 500 else math.inf
        return Estimate(value, value * math.exp(low), top if math.isfinite(top) else None)

    def shares(self) -> dict[str, Estimate]:
        """Return success, drop and error rate."""
        return {
            "drop_rate": self._share(self._dropped),
            "error_rate": self._share(self._failed),
            "success_rate": self._share(1 - self._dropped - self._failed),
        }

    def _share(self, shares: Floats) -> Estimate:
        own, others = shares.reshape(2, self._resamples, -1).mean(axis=2)
        value = float(own.mean())
        error = float(np.std(own, ddof=1)) / math.sqrt(len(own))
        low, high = self._ends(others - own, error)
        return Estimate(value, max(0.0, value + low), min(1.0, value + high))

    def utilisation(self, load: float, factors: Floats) -> Estimate:
        """Return the share of the time in which slots are busy.

        Args:
            load: what it would be if nothing were dropped.
            factors: of each resample's mean service over the model's; shape ``(resamples,)``.
        """
        own, others = (1 - self._dropped).reshape(2, self._resamples, -1).mean(axis=2)
        value = min(1.0, float(own.mean()) * load)
        low, high = self._ends(others * factors * load - own * load, 0.0)
        return Estimate(value, max(0.0, value + low), min(1.0, value + high))

    def _ends(self, moved: Floats, error: float) -> tuple[float, float]:
        """Return by how much the ends of the interval differ from the value."""
        if not len(moved):
            return -math.inf, math.inf
        low, high = np.quantile(moved, [TAIL, 1 - TAIL], method="inverted_cdf")
        below, above = max(0.0, -float(low)), max(0.0, float(high))
        return (
            -math.hypot(below * self._factor.below, _BATCH_ERROR * error),
            math.hypot(above * self._factor.above, _BATCH_ERROR * error),
        )


def _by_chain(flags: npt.NDArray[np.bool_]) -> Floats:
    shares: Floats = flags.mean(axis=0)
    return shares


def _grouped(times: Latencies, groups: int) -> Latencies:
    """Return the times of neighbouring chains together; shape ``(groups, …)``."""
    steps, chains = times.shape
    return times.reshape(steps, groups, chains // groups).transpose(1, 0, 2).reshape(groups, -1)


def _grouped_rows(groups: Latencies) -> Latencies:
    number = len(groups) // _BATCHES * _BATCHES
    return groups[:number].reshape(_BATCHES, -1) if number else groups


def _percentiles(groups: Latencies) -> dict[str, Floats]:
    """Return the nearest-rank percentiles of each row, by metric."""
    number = groups.shape[1]
    ranks = {
        metric.name: nearest_rank(metric.permille, number) - 1
        for metric in percentiles_of(LATENCY)
        if metric.permille is not None
    }
    ordered = np.sort(groups, axis=1)  # faster than to partition at so many places
    return {name: ordered[:, rank].astype(np.float64) for name, rank in ranks.items()}
