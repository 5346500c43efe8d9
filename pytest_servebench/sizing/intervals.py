"""Intervals of a prediction: from resamples of the services, with the error of the simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.metrics import LATENCY, percentiles_of
from pytest_servebench.sizing.draws import Resamples
from pytest_servebench.sizing.inversion import Floats
from pytest_servebench.sizing.model import ServerModel
from pytest_servebench.sizing.queue import Latencies
from pytest_servebench.stats.bootstrap import TAIL, degrees_of_freedom, moving_blocks
from pytest_servebench.stats.episodes import heaviness, nearest_rank
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.stats.student import student, student_quantile

_BATCHES: Final = 20
_CONSTANT: Final = 1e-3  # relative spread below which services count as constant
_MOST_BINS: Final = 2000
_PLAIN: Final = 200  # resamples
_SEED: Final = 1953  # any: the same records give the same intervals
_SHOWN: Final = ("p50", "p95", "p99")  # of these, a few slow services may decide any
_BATCH_ERROR: Final = student_quantile(2 * TAIL, _BATCHES - 1)
_WAITING: Final = 2  # the power of services on which waiting depends
_HIGHEST: Final = 3
_AS_WELL: Final = 0.05  # of correlation
_HEAVY: Final = 30.0  # degrees of freedom below which few services decide


@dataclass(frozen=True)
class Widening:
    """Factors by which an interval must be wider than resamples of the services suggest.

    Attributes:
        below: of the lower end, 1 or more.
        above: of the upper end, 1 or more.
        heavy: whether few slow services decide.
    """

    below: float = 1.0
    above: float = 1.0
    heavy: bool = False


class Moments:
    """The moments of the services on which what is predicted depends, and how sure they are.

    Waiting grows with the mean of the squared services (Pollaczek and Khinchine). Where their tail
    is heavy, the longest waits are those behind the longest services, and depend on higher powers.
    """

    def __init__(self, model: ServerModel, pool: Resamples) -> None:
        """Compute the means of their powers, in the model and in each resample."""
        self._services = model.services / model.mean_service
        self._heaviness = heaviness(pool.ordered)
        self._memory = model.memory
        ordered = pool.ordered / model.mean_service
        self._logs = {
            exponent: np.log((ordered**exponent)[pool.chosen].mean(axis=1))
            for exponent in range(_WAITING, _HIGHEST + 1)
        }
        self._known: dict[int, Widening] = {}

    def widening(self, moved: Floats) -> Widening:
        """Return the factors by which resamples understate the spread of a statistic.

        The moment is the highest of those that explain it about as well as the best.

        Args:
            moved: logarithms of a statistic of each resample over that of the measured services;
                NaN does not count; shape ``(resamples,)``.
        """
        known = np.isfinite(moved)
        explained = {
            exponent: _correlation(moved[known], logs[known])
            for exponent, logs in self._logs.items()
        }
        most = max(explained.values())
        return self._of(max(e for e, share in explained.items() if share >= most - _AS_WELL))

    @property
    def of_waiting(self) -> Widening:
        """Return the factors for what depends on the mean wait."""
        return self._of(_WAITING)

    def _of(self, exponent: int) -> Widening:
        if exponent not in self._known:
            self._known[exponent] = self._measured(exponent)
        return self._known[exponent]

    def _measured(self, exponent: int) -> Widening:
        """Return the factors by which resamples of the services understate the spread of a moment.

        With heavy tails few services decide it: a run that saw few slow ones has too low a mean and
        too small a spread at once. Studentized resamples show how wide the interval must be,
        compared with that of plain resamples. As the spread itself is known from few services, it
        also gets Student's quantile for their number.

        All of this rests on the slow services that were seen, and is smallest where the fewest
        were. The slowest of them still shows the kind of tail, by the factor h beyond the slowest
        of as many exponential ones (:func:`.episodes.heaviness`). Upwards, the standard error of a
        statistic of waiting is then at least √h times as large, like that of a mean latency, and
        another √h times for each further power of the services, in which the slowest weigh more.
        """
        powers = self._services**exponent
        mean, number = float(powers.mean()), len(powers)
        factor = student(_degrees(powers, self._memory))
        edges = np.linspace(0, number, min(number, _MOST_BINS) + 1)[:-1].astype(np.int64)
        sums = np.add.reduceat(powers - mean, edges)
        drawn = sums[np.random.default_rng(_SEED).integers(0, len(sums), (_PLAIN, len(sums)))]
        below, above = np.quantile(drawn.sum(axis=1), [TAIL, 1 - TAIL])
        if below >= 0 or above <= 0 or powers.std() <= _CONSTANT * mean:
            return Widening()
        low, high = moving_blocks(sums[:, None]).studentized(0)
        return Widening(
            max(factor, high / -float(below)),
            max(factor, -low / float(above), self._heaviness ** ((exponent - 1) / 2)),
            heavy=factor > student(_HEAVY),
        )


def _degrees(powers: Floats, memory: int) -> float:
    centred = powers - powers.mean()
    variance = float((centred**2).mean())
    number = len(powers) / memory
    if variance <= 0:
        return number
    return degrees_of_freedom(number, float((centred**4).mean()) / variance**2)


def _correlation(first: Floats, second: Floats) -> float:
    if len(first) < 2 or not first.std() or not second.std():
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


class Spread:
    """Estimates from the chains of a model and those of its resamples."""

    def __init__(
        self,
        times: Latencies,
        failed: npt.NDArray[np.bool_] | None,
        resamples: int,
        moments: Moments,
    ) -> None:
        """Sort the chains.

        Args:
            times: first of the model's chains, then of its resamples', in seconds, infinite for
                dropped requests; shape ``(steps, 2 * streams)``.
            failed: which were answered with an error; ``None`` for none.
            resamples: each has as many neighbouring streams as the next.
            moments: by which the resamples' spread is widened.
        """
        self._moments = moments
        self.heavy = moments.of_waiting.heavy
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
            found[name] = self._latency(name, value, own[name], others[name], parts)
        return found

    def _latency(
        self, name: str, value: float, own: Floats, others: Floats, parts: Floats
    ) -> Estimate:
        if not math.isfinite(value):
            low = float(np.quantile(others, TAIL, method="inverted_cdf"))
            return Estimate(None, low if math.isfinite(low) else None, None)
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = np.where(np.isfinite(own) & (own > 0), np.log(others / own), np.nan)
        error = 0.0
        if np.isfinite(parts).all() and value > 0:
            error = float(np.std(parts, ddof=1)) / math.sqrt(len(parts)) / value
        factor = self._moments.widening(moved)
        self.heavy |= factor.heavy and name in _SHOWN
        low, high = _ends(moved[~np.isnan(moved)], error, factor)
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
        low, high = _ends(others - own, error, self._moments.of_waiting)
        return Estimate(value, max(0.0, value + low), min(1.0, value + high))

    def utilisation(self, load: float, factors: Floats) -> Estimate:
        """Return the share of the time in which slots are busy.

        Args:
            load: what it would be if nothing were dropped.
            factors: of each resample's mean service over the model's; shape ``(resamples,)``.
        """
        own, others = (1 - self._dropped).reshape(2, self._resamples, -1).mean(axis=2)
        value = min(1.0, float(own.mean()) * load)
        moved = others * factors * load - own * load
        low, high = _ends(moved, 0.0, self._moments.of_waiting)
        return Estimate(value, max(0.0, value + low), min(1.0, value + high))


def _ends(moved: Floats, error: float, factor: Widening) -> tuple[float, float]:
    """Return by how much the ends of the interval differ from the value."""
    if not len(moved):
        return -math.inf, math.inf
    low, high = np.quantile(moved, [TAIL, 1 - TAIL], method="inverted_cdf")
    below, above = max(0.0, -float(low)), max(0.0, float(high))
    return (
        -math.hypot(below * factor.below, _BATCH_ERROR * error),
        math.hypot(above * factor.above, _BATCH_ERROR * error),
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
    ordered = np.sort(groups, axis=1)  # faster than a partition at this many places
    return {name: ordered[:, rank].astype(np.float64) for name, rank in ranks.items()}
