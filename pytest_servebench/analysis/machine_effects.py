"""What another speed of the machine may have made of a metric, whatever the server did.

Times and capacities change by a factor. If the server cannot keep up on the slower machine, the
buffer overflows there, and what is not answered is missing in success rate and throughput, and
infinitely slow in percentiles.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.analysis.pairs import Pair
from pytest_servebench.analysis.request_shifts import Repeats
from pytest_servebench.load import quantities
from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.metrics import Metric
from pytest_servebench.objectives.goodput import slo_clauses
from pytest_servebench.objectives.limits import Limit, of_each_request
from pytest_servebench.stats.episodes import nearest_rank


@dataclass(frozen=True)
class Machine:
    """How the machine's speed changed.

    Attributes:
        slower: how many times as long it took in NEW for the same work.
        made: the effect that this may have had on a case's times, on a capacity, or on one metric:
            new / base, or new - base of a share.
        answered: of the requests that the server answered on the faster machine, the share that it
            answered on the slower one, at least.
        completed: the same of those that it answered inside the window.
        of_share: whether ``made`` is a difference.
    """

    slower: float
    made: float
    answered: float = 1.0
    completed: float = 1.0
    of_share: bool = False

    @property
    def steady(self) -> bool:
        """Return whether it had no effect."""
        return self.made == (0.0 if self.of_share else 1.0)

    @property
    def factor(self) -> float:
        """Return how many times as long requests took on the slower of both machines, 1 or more."""
        return max(self.made, 1 / self.made if self.made else math.inf)

    def taken_off(self, change: float) -> float:
        """Return a change, new / base, without the effect that the machine's speed may have had."""
        if self.of_share:
            return change - self.made
        if math.isinf(self.made):
            return 0.0
        return change / self.made if self.made else math.inf

    def with_effect(self, *, slow: float, fast: float, of_share: bool = False) -> Machine:
        """Return it for a metric with these values on the slower and on the faster machine."""
        new, base = (slow, fast) if self.slower > 1 else (fast, slow)
        made = new - base if of_share else new / base if base else math.inf
        return dataclasses.replace(self, made=made, of_share=of_share)


STEADY: Final = Machine(1.0, 1.0)


def effect_on(metric: Metric, machine: Machine, pair: Pair, faster: Repeats) -> Machine:
    """Return the effect on one metric.

    Args:
        metric: to compare.
        machine: the effect on the case's times, or on its capacity.
        pair: the case.
        faster: the records of the side on which the machine was faster, if these were saved.
    """
    if machine.slower == 1:
        return STEADY
    if metric.of_search:
        return machine
    if metric.times is not None:
        return _on_times(metric, machine, faster)
    if metric.kind in ("time", "cpu"):  # CPU time does not wait
        return Machine(machine.slower, machine.slower)
    if metric.kind in ("throughput", "token_rate"):
        kept = machine.completed
        if metric.given_limits:
            kept *= _still_good(of_each_request(slo_clauses(pair.base[0])), machine, faster)
        return machine.with_effect(slow=kept, fast=1.0)
    return _on_share(metric, machine, faster)


def _on_share(metric: Metric, machine: Machine, faster: Repeats) -> Machine:
    # Of a class, a repeat may have no request.
    outcomes = np.concatenate([[], *(rows.outcome for rows in faster)])
    if not metric.outcomes or not len(outcomes):
        return STEADY
    counted = [Outcome[name.upper()] for name in metric.outcomes]
    fast = slow = float(np.isin(outcomes, counted).mean())
    if Outcome.OK in counted:
        slow = fast * machine.answered
    elif Outcome.DROPPED in counted:
        slow = 1 - (1 - fast) * machine.answered
    return machine.with_effect(slow=slow, fast=fast, of_share=True)


def _on_times(metric: Metric, machine: Machine, faster: Repeats) -> Machine:
    assert metric.times is not None
    told = [quantities.sample(one, metric.times.name) for one in faster]
    known = [one.values for one in told if one is not None]
    if metric.permille is None or not known:
        return machine
    return on_percentile(machine, metric.permille, np.concatenate(known))


def on_percentile(machine: Machine, permille: int, faster: npt.NDArray[np.float64]) -> Machine:
    """Return the effect on one percentile, by the times of the faster side.

    A percentile may jump where times have a gap, such as between requests that found an idle server
    and those that waited: on a machine that takes s times as long, s times as many wait. With the
    tail q, it was then at most s times as long as that of the tail q / s before. What the slower
    machine does not answer is a part of the tail, or more than that.

    Args:
        machine: the effect on all times.
        permille: the percentile, in thousandths.
        faster: times, seconds, infinite for failed requests; shape ``(n,)``.
    """
    slower, n = max(machine.slower, 1 / machine.slower), len(faster)
    finite = np.sort(faster[np.isfinite(faster)])
    rank = nearest_rank(permille, n) if n else 1
    if rank > len(finite) or finite[rank - 1] <= 0:
        return machine
    fast = float(finite[rank - 1])
    tail = n * (1000 - permille) / 1000 - (n - machine.answered * len(finite))
    if tail < 0:
        return machine.with_effect(slow=math.inf, fast=fast)
    usual, later = (
        float(finite[min(math.ceil(len(finite) - one), len(finite)) - 1])
        for one in (tail, tail / slower)
    )
    return machine.with_effect(slow=max(machine.factor * usual, slower * later), fast=fast)


def _still_good(limits: Sequence[Limit], machine: Machine, faster: Repeats) -> float:
    """Return the share of the good requests that would be good on the slower machine, too."""
    before, now = (
        sum(int(_keep(rows, limits, factor).sum()) for rows in faster)
        for factor in (1.0, machine.factor)
    )
    return now / before if before else 1.0


def _keep(rows: Records, limits: Sequence[Limit], factor: float) -> npt.NDArray[np.bool_]:
    """Return which successes keep all limits if they take so many times as long."""
    kept = rows.ok
    for limit in limits:
        times = limit.metric.times
        if times is not None and limit.is_known(rows):
            slow = quantities.seconds(rows, times.name) > limit.clause.bound / factor
            kept &= ~(limit.counted(rows) & slow)
    return kept


def machine_text(machine: Machine) -> str:
    """Return the effect that the machine's own speed may have had on a figure, in words."""
    factor = max(machine.slower, 1 / machine.slower)
    if machine.made == machine.slower:
        word = "slower" if machine.slower > 1 else "faster"
        return f"the machine was {100 * (factor - 1):.0f} % {word} in NEW"
    word = "slow" if machine.slower > 1 else "fast"
    if machine.of_share:
        made = f"{100 * machine.made:+.1f} pp"
    elif machine.made == (math.inf if machine.slower > 1 else 0.0):
        made = "any change, as it was overloaded"
    elif math.isinf(machine.made):  # on the slower machine, no request would have been good
        made = "any change"
    else:
        made = f"{100 * (machine.made - 1):+.0f} %"
    return f"the machine was {factor:.3g} times as {word} in NEW, which may explain {made}"
