"""How many replicas keep an SLO, and up to which rate: answers with an interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from pytest_servebench.errors import OptionError
from pytest_servebench.objectives.slo_grammar import Clause
from pytest_servebench.sizing.model import ServerModel
from pytest_servebench.sizing.prediction import PREDICTED, RESAMPLES, Prediction, Setting, predict

End = Literal["low", "value", "high"]

_MOST_REPLICAS: Final = 100_000
_CALM: Final = 0.02  # load at which requests hardly ever wait
_MOST_LOAD: Final = 4.0  # nearly all clauses are broken by then: at least 75 % is dropped
_PRECISION: Final = 0.005
_MOST_STEPS: Final = 30


@dataclass(frozen=True)
class Kept:
    """Whether the prediction keeps all clauses.

    Attributes:
        likely: by its values.
        surely: by the worse ends of their intervals.
        possibly: by the better ends.
    """

    likely: bool
    surely: bool
    possibly: bool


@dataclass(frozen=True)
class Replicas:
    """How many replicas keep the clauses; ``None``: no number does.

    Attributes:
        value: the least with which they are likely kept.
        low: the least with which they may be kept.
        high: the least with which they are surely kept.
        limiting: the clause that needs the most, where ``value`` is above 1 or ``None``.
        prediction: with ``high`` replicas, else with ``value``; ``None`` without either.
    """

    value: int | None
    low: int | None
    high: int | None
    limiting: Clause | None
    prediction: Prediction | None

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as plain data for JSON."""
        return _to_dict(self)


@dataclass(frozen=True)
class HighestRate:
    """The highest rate at which the clauses are kept, 1/s; 0: none, ``None``: every rate.

    Attributes:
        value: up to which they are likely kept.
        low: up to which they are surely kept.
        high: up to which they may be kept.
        limiting: the clause that is broken first; ``None`` if none is.
        prediction: at ``value``; ``None`` if that is 0 or ``None``.
    """

    value: float | None
    low: float | None
    high: float | None
    limiting: Clause | None
    prediction: Prediction | None

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as plain data for JSON."""
        return _to_dict(self)


def _to_dict(answer: Replicas | HighestRate) -> dict[str, Any]:
    return {
        **asdict(replace(answer, limiting=None, prediction=None)),
        "limiting": None if answer.limiting is None else str(answer.limiting),
        "prediction": None if answer.prediction is None else answer.prediction.to_dict(),
    }


def check_clauses(clauses: Sequence[Clause]) -> None:
    """Refuse clauses that a prediction cannot be held against.

    Raises:
        OptionError: there are none, or a metric is not predicted.
    """
    if not clauses:
        raise OptionError("no SLO: give one, such as 'p99<50ms'.")
    for clause in clauses:
        if clause.metric not in PREDICTED:
            known = ", ".join(metric.written for metric in PREDICTED.values())
            raise OptionError(f"{clause}: the model does not predict it. Give one of {known}.")
        if clause.request_class:
            raise OptionError(
                f"{clause}: the model has one class of requests, with the services of all. Leave "
                f"{{{clause.request_class}}} out, or measure the requests of that class alone."
            )


def kept(prediction: Prediction, clauses: Sequence[Clause]) -> Kept:
    """Return whether a prediction keeps all clauses.

    Raises:
        OptionError: a metric is not predicted.
    """
    check_clauses(clauses)
    return Kept(
        likely=all(margin(prediction, one, "value") <= 0 for one in clauses),
        surely=all(margin(prediction, one, "high") <= 0 for one in clauses),
        possibly=all(margin(prediction, one, "low") <= 0 for one in clauses),
    )


def margin(prediction: Prediction, clause: Clause, end: End) -> float:
    """Return by how much a clause is broken, below 0 or at 0 if it is kept.

    Args:
        prediction: what is predicted.
        clause: on a predicted metric.
        end: ``"high"`` for the worse end of the interval, ``"low"`` for the better one.

    Returns:
        Of times and rates the logarithm of value over bound, of shares their difference.
    """
    metric = PREDICTED[clause.metric]
    estimates = prediction.estimates
    one = estimates["success_rate" if clause.relative else clause.metric]
    worse, better = (one.low, one.high) if clause.at_least else (one.high, one.low)
    found = {"value": one.value, "high": worse, "low": better}[end]
    value = math.inf if found is None else found
    if clause.relative or metric.is_share:
        broken = value - clause.bound
    elif value == clause.bound:
        broken = 0.0
    elif value <= 0 or clause.bound <= 0:
        broken = math.inf if value > clause.bound else -math.inf
    else:
        broken = math.log(value / clause.bound)
    if clause.at_least:
        broken = -broken
    strict = clause.operator in ("<", ">")
    return math.ulp(1.0) if broken == 0 and strict else broken


def replicas_needed(
    model: ServerModel,
    setting: Setting,
    clauses: Sequence[Clause],
    seed: int = 0,
    *,
    resamples: int = RESAMPLES,
) -> Replicas:
    """Return how many replicas keep all clauses at the setting's rate.

    Args:
        model: of one of them.
        setting: the question; its number of replicas is ignored.
        clauses: of the SLO.
        seed: of what is drawn.
        resamples: of the services, for the interval of each prediction.

    Raises:
        OptionError: there are no clauses, or one is on a metric that is not predicted.
    """
    check_clauses(clauses)
    predictions: dict[int, Prediction] = {}

    def at(replicas: int) -> Prediction:
        if replicas not in predictions:
            predictions[replicas] = predict(
                model, replace(setting, replicas=replicas), seed, resamples=resamples
            )
        return predictions[replicas]

    calm = predict(model, Setting(_CALM * model.saturation), seed, resamples=resamples)

    most = min(
        _MOST_REPLICAS, math.ceil(setting.rate / model.saturation / _CALM),
        *([] if setting.workers is None else [setting.workers]),
    )  # fmt: skip

    def least(end: End, start: int) -> int | None:
        """Return the least number that keeps the clauses, no less than ``start``."""
        if any(margin(calm, clause, end) > 0 for clause in clauses):
            return None  # even without waiting

        def holds(replicas: int) -> bool:
            return all(margin(at(replicas), clause, end) <= 0 for clause in clauses)

        step, broken, number = 1, start - 1, start
        while not holds(number):
            if number >= most:
                return None
            broken, number, step = number, min(most, number + step), 2 * step
        while number - broken > 1:
            middle = (number + broken) // 2
            broken, number = (broken, middle) if holds(middle) else (middle, number)
        return number

    most = max(1, most)
    # With fewer, a queue without a limit only grows.
    start = 1 if setting.workers is not None else math.ceil(setting.rate / model.saturation)
    start = min(start, most)
    low = least("low", start)
    value = None if low is None else least("value", low)
    high = None if value is None else least("high", value)
    shown = high or value
    before = most if value is None else value - 1
    limiting = None
    if before >= 1:
        short = calm if low is None else at(before)
        limiting = max(clauses, key=lambda clause: margin(short, clause, "value"))
    return Replicas(value, low, high, limiting, None if shown is None else at(shown))


def highest_rate(
    model: ServerModel,
    setting: Setting,
    clauses: Sequence[Clause],
    seed: int = 0,
    *,
    resamples: int = RESAMPLES,
) -> HighestRate:
    """Return the highest rate at which all clauses are kept.

    Args:
        model: of the server.
        setting: the question; its rate is ignored.
        clauses: of the SLO.
        seed: of what is drawn.
        resamples: of the services, for the interval of each prediction.

    Raises:
        OptionError: there are no clauses, one is on a metric that is not predicted, or on the
            throughput, which rises with the rate.
    """
    search = _Rates(model, setting, clauses, seed, resamples)
    value = search.highest("value")
    if value is None:
        return HighestRate(None, search.highest("high"), None, None, None)
    limiting = search.limiting(value or search.least)
    if value == 0:
        return HighestRate(0.0, 0.0, search.highest("low"), limiting, None)
    return HighestRate(
        value, search.highest("high"), search.highest("low"), limiting, search.at(value)
    )


class _Rates:
    """Predictions at several rates, and where they begin to break the clauses."""

    def __init__(
        self, model: ServerModel, setting: Setting, clauses: Sequence[Clause], seed: int,
        resamples: int,
    ) -> None:  # fmt: skip
        check_clauses(clauses)
        for clause in clauses:
            if clause.metric == "throughput" and not clause.relative:
                raise OptionError(
                    f"{clause}: rises with the rate, so it has no highest one. Give a percentage "
                    "of the load, such as 'throughput>=95%'."
                )
        self._clauses = clauses
        self._predict: Callable[[float], Prediction] = lambda rate: predict(
            model, replace(setting, rate=rate), seed, resamples=resamples
        )
        self._known: dict[float, Prediction] = {}
        saturation = model.saturation * setting.replicas
        # Without limits, a queue that has no steady state breaks every bound on a time.
        limited = setting.workers is not None
        self.least = _CALM * saturation
        self._most = (_MOST_LOAD if limited else 1.05) * saturation
        self._first = [0.8 * saturation, (1.2 if limited else 0.95) * saturation]

    def at(self, rate: float) -> Prediction:
        """Return the prediction at a rate, made once."""
        if rate not in self._known:
            self._known[rate] = self._predict(rate)
        return self._known[rate]

    def limiting(self, rate: float) -> Clause:
        """Return the clause that is closest to being broken, or broken the most."""
        return max(self._clauses, key=lambda clause: margin(self.at(rate), clause, "value"))

    def highest(self, end: End) -> float | None:
        """Return the highest rate that keeps all clauses by one end; 0 for none, ``None`` for all.

        By bisection, and by false position if both margins are finite
        (Dowell and Jarratt 1971, BIT 11:168).
        """

        def broken(rate: float) -> float:
            return max(margin(self.at(rate), clause, end) for clause in self._clauses)

        low = high = None
        for rate in (*sorted(self._known), *self._first, self.least, self._most):
            if (low is None or rate > low[0]) and (high is None or rate < high[0]):
                found = (rate, broken(rate))
                low, high = (found, high) if found[1] <= 0 else (low, found)
            if low is not None and high is not None and rate in self._first:
                break
        if low is None:
            return 0.0
        if high is None:
            return None
        for step in range(_MOST_STEPS):
            if high[0] <= (1 + _PRECISION) * low[0]:
                break
            middle = (low[0] + high[0]) / 2
            if math.isfinite(low[1]) and math.isfinite(high[1]) and step % 3 < 2:
                # Kept away from the ends, so that both come closer.
                share = -low[1] / (high[1] - low[1])
                middle = low[0] + min(0.9, max(0.1, share)) * (high[0] - low[0])
            found = (middle, broken(middle))
            low, high = (found, high) if found[1] <= 0 else (low, found)
        return low[0]
