"""Clauses as limits on single requests: which requests break one, and what share of them may.

``p99<50ms`` lets 1 % of the arrivals fail or take 50 ms or longer; ``success_rate>=99%`` lets 1 %
of them fail. Clauses on other metrics, such as a mean, CPU or throughput, do not limit single
requests, nor do those on the inter-token latency, of which a request has many values: use ``tpot``
and ``stall``. Nor is ``throughput>=99%``: requests in flight when the window ends are not completed
in it, so with a window of 10 s and a latency of 50 ms it loses 0.5 % however low the rate. In the
long run it is the success rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pytest_servebench.load import quantities
from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.metrics import METRICS, Metric
from pytest_servebench.objectives.slo_grammar import Clause

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Limit:
    """A clause as a limit on single requests.

    Attributes:
        clause: the clause.
        allowed: the share of the counted arrivals that may break it, 0 to below 1.
        breaks: returns which requests would break it if they were of its class; shape ``(n,)``.
    """

    clause: Clause
    allowed: float
    breaks: Callable[[Records], BoolArray] = field(repr=False, compare=False)

    @property
    def metric(self) -> Metric:
        """Return the clause's metric."""
        return METRICS[self.clause.metric]

    def is_known(self, records: Records) -> bool:
        """Return whether the records show which requests break it."""
        times, name = self.metric.times, self.clause.request_class
        if name and (records.classes is None or name not in records.classes.names):
            return False
        return times is None or quantities.knows(records, times.name, self._members(records))

    def broken_by(self, records: Records) -> BoolArray:
        """Return which requests break it; shape ``(n,)``."""
        return self.breaks(records) & self._members(records)

    def counted(self, records: Records) -> BoolArray:
        """Return which requests it counts: those of its class, not successes without such a time.

        Shape ``(n,)``.
        """
        times, members = self.metric.times, self._members(records)
        if times is None:
            return members
        return members & ~np.isnan(quantities.seconds(records, times.name))

    def _members(self, records: Records) -> BoolArray:
        name, classes = self.clause.request_class, records.classes
        found = np.full(len(records), not name)
        if name and classes is not None:
            found[classes.members(name)] = True
        return found


def limit_of(clause: Clause) -> Limit | None:
    """Return a clause as a limit on single requests; ``None`` if it is none."""
    metric = METRICS[clause.metric]
    at_least = clause.at_least
    if clause.asks_for_bad:
        return None
    times = metric.times
    if times is not None and metric.permille is not None and not times.several:
        allowed, breaks = (1000 - metric.permille) / 1000, _slow(clause, times.name)
    elif metric.outcomes:
        allowed = 1 - clause.bound if at_least else clause.bound
        breaks = _ended(metric.outcomes, good=at_least)
    else:
        return None
    return Limit(clause, round(allowed, 12), breaks) if allowed < 1 else None


def limits_of(clauses: Iterable[Clause]) -> tuple[Limit, ...]:
    """Return the limits among some clauses, each once."""
    found = (limit_of(one) for one in dict.fromkeys(clauses))
    return tuple(one for one in found if one is not None)


def of_each_request(clauses: Iterable[Clause]) -> tuple[Limit, ...]:
    """Return the limits of time that a request must keep to be a good one.

    Of several percentiles of the same times and class, the highest: ``p50<20ms`` lets every other
    request take longer, so its bound is not one for single requests.
    """
    found: dict[tuple[str, str], Limit] = {}
    for limit in limits_of(clauses):
        times = limit.metric.times
        if times is None:
            continue
        key = times.name, limit.clause.request_class
        known = found.get(key)
        if known is None or _strictness(limit) > _strictness(known):
            found[key] = limit
    return tuple(found.values())


def _strictness(limit: Limit) -> tuple[float, float]:
    return -limit.allowed, -limit.clause.bound


def _slow(clause: Clause, quantity: str) -> Callable[[Records], BoolArray]:
    def broken(records: Records) -> BoolArray:
        times = quantities.seconds(records, quantity)  # NaN (undefined) breaks none
        slow = times >= clause.bound if clause.operator == "<" else times > clause.bound
        return np.asarray(slow | ~records.ok)

    return broken


def _ended(outcomes: Iterable[str], *, good: bool) -> Callable[[Records], BoolArray]:
    numbers = [Outcome[name.upper()] for name in outcomes]
    return lambda records: np.isin(records.outcome, numbers, invert=good)
