"""Intervals of a prediction: from resamples of the services, with the error of the simulation."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.metrics import LATENCY, percentiles_of
from pytest_servebench.sizing.inversion import Floats
from pytest_servebench.sizing.model import ServerModel
from pytest_servebench.sizing.queue import Latencies
from pytest_servebench.stats.bootstrap import TAIL, degrees_of_freedom
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.stats.student import Z, student

_BATCHES: Final = 20
_CONSTANT: Final = 1e-3  # relative spread below which services count as constant
_HEAVY: Final = 30.0  # degrees of freedom below which few services decide


def widening(model: ServerModel) -> float:
    """Return by what factor resamples of the services spread too little.

    Waiting grows with the mean of the squared services, and of heavy-tailed services few decide
    it: the spread is known from these few, and gets Student's quantile for their number (see
    :func:`~pytest_servebench.stats.bootstrap.degrees_of_freedom`).
    """
    return student(_degrees(model))


def _degrees(model: ServerModel) -> float:
    squares = model.services**2
    centred = squares - squares.mean()
    variance = float((centred**2).mean())
    number = len(squares) / model.memory
    if math.sqrt(variance) <= _CONSTANT * float(squares.mean()):
        return number
    return degrees_of_freedom(number, float((centred**4).mean()) / variance**2)


class Spread:
    """Estimates from the chains of a model and those of its resamples."""

    def __init__(
        self, times: Latencies, failed: npt.NDArray[np.bool_] | None, resamples: int, factor: float
    ) -> None:
        """Sort the chains.

        Args:
            times: first of the model's chains, then of its resamples', in seconds, infinite for
                dropped requests; shape ``(steps, 2 * streams)``.
            failed: which were answered with an error; ``None`` for none.
            resamples: each has as many neighbouring streams as the next.
            factor: by which the resamples' spread is widened.
        """
        self._factor = factor
        self.heavy = factor > student(_HEAVY)
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
        return -self._end(-float(low), error), self._end(float(high), error)

    def _end(self, reach: float, error: float) -> float:
        return math.hypot(max(0.0, reach) * self._factor, Z * error)


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
        metric.name: -(-(metric.permille or 0) * number // 1000) - 1
        for metric in percentiles_of(LATENCY)
    }
    ordered = np.partition(groups, list(ranks.values()), axis=1)
    return {name: ordered[:, rank].astype(np.float64) for name, rank in ranks.items()}
