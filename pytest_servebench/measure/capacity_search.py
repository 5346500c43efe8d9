"""The search for the highest rate that keeps its limits: which probes to make, and their meaning.

A state machine without clock and I/O: its driver makes the probes that it asks for, and passes it
their outcomes::

    search = CapacitySearch((0.01,), SearchSettings())
    while (plan := search.next()) is not None:
        search.add(probe(plan))
    search.capacity()
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from pytest_servebench.measure.capacity_plan import (
    LEAST_SECONDS,
    Capacity,
    Plan,
    ProbeOutcome,
    SearchSettings,
)
from pytest_servebench.measure.recovery import Recovery
from pytest_servebench.runs.capacity import CapacityState, ProbeStage
from pytest_servebench.stats.capacity import Bracket, Curve, fit, least, limiting_curve, rivals
from pytest_servebench.stats.expected import Expected, informed
from pytest_servebench.stats.machine_paces import MEDIAN_PACE, Pace, Work, paces
from pytest_servebench.stats.probed import OVERLOADED, Probed, evidence, saturation
from pytest_servebench.stats.relaxation import relaxation_of

_LADDER_SECONDS: Final = 2.0  # that count, in a step of the ladder
_ARRIVALS: Final = 10  # of a probe at least, on average: without any it is not a load
_FEW: Final = 50  # arrivals of a step at which the next one is twice as large
_LADDER_SETTLE: Final = 0.5
_OVER: Final = 2  # steps of the ladder after the first broken one, until the server is saturated
_FIRST: Final = 3  # probes of the estimate that are short, as it may be far off
_SHORT, _LONG = 10.0, 20.0  # seconds that count of those, and of the others
_RELAXATIONS: Final = 3.0  # times that a queue needs to relax, to settle
_LONGEST_SETTLE: Final = 6.0
_STEPS: Final = (0.4, 1.2, -0.5, 0.8)  # of the logit of the share, around the estimate
_TRIES: Final = 3  # of a probe that is invalid or disturbed
_NEAR_CEILING: Final = 1.2  # as a factor: the ladder goes no nearer to what the generator can do
_FAR: Final = 3.0  # as a factor: below the rates that broke a limit
_CLEARLY: Final = 5.0  # times the allowed share: what a rate that was kept does not break by chance
_SURE: Final = 0.975
_COLD: Final = 2  # probes of the lowest rate that it takes: the first may be of a cold server

_Seen = tuple[int, Plan, tuple[Probed, ...]]
"""The index of a probe's outcome, its plan, and what each limit saw."""


@dataclass
class CapacitySearch:
    """One search; see the module.

    Attributes:
        allowed: for each limit, the share of the requests that may go beyond it.
        settings: what it may do.
    """

    allowed: Sequence[float]
    settings: SearchSettings
    _every: list[_Seen] = field(default_factory=list, init=False)
    _disturbed: set[int] = field(default_factory=set, init=False)
    _works: dict[int, Work] = field(default_factory=dict, init=False)
    _paced: dict[int, Pace] = field(default_factory=dict, init=False)
    _beside: bool = field(default=False, init=False)  # other programs, most of the time
    _plan: Plan | None = field(default=None, init=False)
    _outcomes: int = field(default=0, init=False)
    _elapsed: float = field(default=0.0, init=False)
    _overheads: list[float] = field(default_factory=list, init=False)
    _failed: Counter[str] = field(default_factory=Counter, init=False)  # tries, by their state
    _ceiling: float | None = field(default=None, init=False)  # the generator's
    _died: bool = field(default=False, init=False)
    _climbing: bool = field(default=True, init=False)
    _broken: int = field(default=0, init=False)
    _round: int = field(default=0, init=False)
    _recovery: Recovery | None = field(default=None, init=False)
    _fitted_to: int = field(default=-1, init=False)
    _known: list[Curve] = field(default_factory=list, init=False)
    _known_of: list[int] = field(default_factory=list, init=False)  # the limit of each

    def __post_init__(self) -> None:
        if not self.allowed:
            raise ValueError("allowed: give at least one limit")
        if not 0 < self.settings.lowest <= self.settings.highest:
            raise ValueError(
                f"lowest={self.settings.lowest:g}, highest={self.settings.highest:g}: "
                "give 0 < lowest <= highest"
            )

    # -- driving ----------------------------------------------------------------------------------

    def next(self) -> Plan | None:
        """Return the next probe, or ``None`` at the end. Asked again, it returns the same."""
        if self._plan is None and not self._over():
            self._plan = self._fitted(self._wanted())
        return self._plan

    def add(self, outcome: ProbeOutcome) -> None:
        """Take the outcome of the probe that :meth:`next` returned.

        Raises:
            ValueError: no probe was asked for, or the outcome has another number of limits.
        """
        plan = self._plan
        if plan is None:
            raise ValueError("no probe was asked for: call next() first")
        measured = outcome.state in ("measured", "disturbed")
        if measured and len(outcome.limits) != len(self.allowed):
            raise ValueError(f"{len(outcome.limits)} limits: give {len(self.allowed)}")
        index, self._outcomes, self._plan = self._outcomes, self._outcomes + 1, None
        self._elapsed += outcome.elapsed
        self._overheads.append(max(0.0, outcome.elapsed - plan.seconds - plan.rest))
        self._died = outcome.state == "died"
        if outcome.state == "invalid":
            self._missed(plan)
        elif measured:
            self._every.append((index, plan, outcome.limits))
            if outcome.work is not None:
                self._works[index] = outcome.work
            if outcome.state == "disturbed":
                self._note_disturbed(index)
            if self._beside or index not in self._disturbed:
                self._failed.clear()
                self._learn(plan, outcome.limits)
            if self._beside:
                self._beside = not self._is_quiet()
            self._paced = self._find_paces()

    def _find_paces(self) -> dict[int, Pace]:
        """Return how fast the machine was in the probes around the estimate, if that is known."""
        near: dict[int, Work] = {}
        others: list[Work] = []
        for index, plan, _ in self._measured:
            work = self._works.get(index)
            if work is None or math.isnan(work.server):
                continue
            if plan.stage == "estimate":
                near[index] = work
            else:
                others.append(work)
        return dict(zip(near, paces([*near.values()], others), strict=False))

    def _note_disturbed(self, index: int) -> None:
        """Have a disturbed probe made again, unless that would not help: then all count."""
        self._disturbed.add(index)
        self._failed["disturbed"] += 1
        self._beside = self._beside or self._failed["disturbed"] >= _TRIES

    def _is_quiet(self) -> bool:
        """Return whether the undisturbed probes are enough to continue."""
        lately = (one[0] for one in self._every[-_TRIES:])
        return self._disturbed.isdisjoint(lately) and self._straddled(self._undisturbed)

    def capacity(self, expected: Mapping[int, Expected] = MappingProxyType({})) -> Capacity:
        """Return what is known so far; after the end, the result; by a limit's queue, if known."""
        curves = [*map(informed, self._curves(), map(expected.get, self._known_of))]
        bracket = least(curves)
        state, low, high = self._state(curves, bracket)
        if self._unseen and state != "below_range":
            # Whether a rate keeps that limit is unknown; that it breaks another one is not.
            if state not in ("found", "open", "server_died"):
                curves, high = [], None
            state = "server_died" if self._died else "open"
            low, bracket = None, Bracket(None, None, high, closed=False)
        elif state in ("open", "server_died") and not self._straddled(self._measured):
            bracket = Bracket(None, low, high, closed=False)  # the prior alone is no estimate
            curves = []
        broken = bool(curves) and state in ("found", "open", "below_range")
        limiting = self._known_of[limiting_curve(curves)] if broken else None
        queue = None if limiting is None else expected.get(limiting)
        known = state in ("found", "open", "server_died")
        recovery = self._recovery
        slow = recovery is not None and recovery.slow
        return Capacity(
            state=state,
            value=bracket.value if known else None,
            low=low,
            high=high,
            limiting=limiting,
            needed_seconds=_at_least_a_probe(bracket.needed_seconds) if state == "open" else None,
            generator_limit=self._ceiling,
            slow_recovery=slow,
            recovery_seconds=recovery.rested if recovery and slow and recovery.over else None,
            used=tuple(index for index, _, _ in self._counted()),
            seconds=self._elapsed,
            slowdowns={index: math.exp(one.slower) for index, one in self._paced.items()},
            expected=None if queue is None else queue.rate,
        )

    # -- what is known ----------------------------------------------------------------------------

    @property
    def _measured(self) -> list[_Seen]:
        """The probes that the search uses."""
        return self._every if self._beside else self._undisturbed

    @property
    def _undisturbed(self) -> list[_Seen]:
        return [one for one in self._every if one[0] not in self._disturbed]

    def _counted(self) -> list[_Seen]:
        return [
            one for one in self._measured
            if one[1].stage != "recovery" and not self._pace(one[0]).far
        ]  # fmt: skip

    def _pace(self, index: int) -> Pace:
        return self._paced.get(index, MEDIAN_PACE)

    def _columns(self) -> list[list[Probed]]:
        """Return the counts of each limit in the probes that count."""
        counted = [
            [replace(one, pace=self._pace(index)) for one in limits]
            for index, _, limits in self._counted()
        ]
        return [[limits[index] for limits in counted] for index in range(len(self.allowed))]

    def _curves(self) -> list[Curve]:
        if self._fitted_to != self._outcomes:
            fitted = [fit(one, q) for one, q in zip(self._columns(), self.allowed, strict=True)]
            self._known = [one for one in fitted if one is not None]
            self._known_of = [place for place, one in enumerate(fitted) if one is not None]
            self._fitted_to = self._outcomes
        return self._known

    @property
    def _unseen(self) -> bool:
        """Whether some limit counted no request although others did."""
        return 0 < len(self._curves()) < len(self.allowed)

    def _state(  # noqa: PLR0911
        self, curves: list[Curve], bracket: Bracket
    ) -> tuple[CapacityState, float | None, float | None]:
        if self._died:
            return "server_died", bracket.low, bracket.high
        above: CapacityState = "above_range" if self._ceiling is None else "generator_limited"
        if not curves:
            return ("open" if self._ceiling is None else above), None, None
        top = self._top()
        if _beyond(curves, top) >= _SURE:
            return above, top, None
        if _beyond(curves, self.settings.lowest) <= 1 - _SURE or self._lowest_breaks():
            return "below_range", None, self.settings.lowest
        if not bracket.closed or bracket.low is None or bracket.high is None:
            return "open", bracket.low, bracket.high
        if bracket.high > self.settings.highest or (self._ceiling and bracket.high > self._ceiling):
            return ("open" if self._ceiling is None else above), bracket.low, None
        return "found", bracket.low, bracket.high

    def _lowest_breaks(self) -> bool:
        """Return whether the lowest rate surely breaks a limit, whatever the queue."""
        lowest = [
            limits for _, plan, limits in self._counted() if plan.rate == self.settings.lowest
        ]
        if len(lowest) < _COLD:
            return False
        against = map(evidence, zip(*lowest, strict=True), self.allowed)
        return max(against) >= len(self.allowed) / (1 - _SURE)

    def _straddled(self, seen: Sequence[_Seen]) -> bool:
        """Return whether some rates kept all limits and others broke one."""
        broke = {self._broke(limits) for _, plan, limits in seen if plan.stage != "recovery"}
        return broke == {True, False}

    def _broke(self, limits: Sequence[Probed]) -> bool:
        """Return whether more requests of a probe broke some limit than it allows."""
        return any(one.share >= q for one, q in zip(limits, self.allowed, strict=True))

    def _top(self) -> float:
        """Return the highest rate to probe: that of the range, or that the generator made."""
        if self._ceiling is None:
            return self.settings.highest
        made = [one[1].rate for one in self._measured if one[1].rate < self._ceiling]
        return max(made, default=self.settings.lowest)

    # -- what to do next --------------------------------------------------------------------------

    def _over(self) -> bool:
        if self._died or self._left() < self._cost(LEAST_SECONDS):
            return True
        if self._ceiling is not None and self._ceiling <= self.settings.lowest:
            return True
        if self._climbing or not self._measured:
            return False
        if self._recovery is not None and not self._recovery.over:
            return self._recovery.given_up
        curves = self._curves()
        state, _, _ = self._state(curves, least(curves))
        if state != "found" or self._unseen:
            return state != "open" or not curves  # no limit counted a request
        return (self.capacity().width or math.inf) <= self.settings.precision

    def _left(self) -> float:
        return self.settings.budget - self._elapsed

    def _cost(self, seconds: float) -> float:
        return seconds + max(self._overheads[-3:], default=self.settings.overhead)

    def _fitted(self, plan: Plan) -> Plan:
        """Return the plan in the time that is left."""
        room = self._left() - self._cost(plan.rest)
        seconds = min(plan.seconds, max(room, LEAST_SECONDS))
        return Plan(plan.rate, seconds, min(plan.settle, seconds / 3), plan.rest, plan.stage)

    def _wanted(self) -> Plan:
        if self._recovery is not None and not self._recovery.over:
            return self._brief(self._recovery.rate, self._recovery.rest, "recovery")
        if self._climbing:
            return self._brief(self._step(), 0.0, "ladder")
        curves = self._curves()
        curve = curves[limiting_curve(curves)]
        away = _STEPS[self._round % len(_STEPS)] / curve.slope
        rate = curve.quantile(0.5) * (1 + min(max(away, -0.3), 0.6))
        rate = min(max(rate, self.settings.lowest), self._top())
        settle = self._settle(rate)
        seconds = settle + max(_ARRIVALS / rate, _SHORT if self._round < _FIRST else _LONG)
        overloaded = any(one.share >= OVERLOADED for one in self._measured[-1][2])
        slow = self._recovery if self._recovery is not None and self._recovery.slow else None
        rest = slow.rested if slow is not None and overloaded else 0.0
        return Plan(rate, seconds, settle, rest, "estimate")

    def _brief(self, rate: float, rest: float, stage: ProbeStage) -> Plan:
        settle = min(_LADDER_SETTLE, self.settings.settle)
        seconds = settle + max(_ARRIVALS / rate, _LADDER_SECONDS)
        return Plan(rate, seconds, settle, rest, stage)

    def _settle(self, rate: float) -> float:
        """Return how long the queue of an idle server takes to settle."""
        least = self.settings.settle
        full = max(
            (f for column in self._columns() if (f := saturation(column)) is not None), default=None
        )
        if full is None:
            return least
        return max(least, min(_RELAXATIONS * relaxation_of(rate, full), _LONGEST_SETTLE))

    def _step(self) -> float:
        """Return the next rate of the ladder."""
        if not self._measured:
            return self.settings.lowest
        _, plan, limits = self._measured[-1]
        last = plan.rate
        far = all(one.beyond == 0 and one.offered < _FEW for one in limits)
        following = min((4 if far else 2) * last, self.settings.highest)
        if self._ceiling is not None and following >= self._ceiling:
            following = math.sqrt(last * self._ceiling)
        return following

    def _learn(self, plan: Plan, limits: tuple[Probed, ...]) -> None:
        broken = self._broke(limits)
        if plan.stage == "ladder":
            at_end = plan.rate >= self.settings.highest or (
                self._ceiling is not None and self._ceiling / plan.rate < _NEAR_CEILING
            )
            full = any(saturation([one]) is not None for one in limits)
            self._broken += broken
            self._climbing = not (at_end or (broken and (full or self._broken > _OVER)))
        elif plan.stage == "estimate":
            self._round += 1
        elif self._recovery is not None:
            far = any(
                one.share >= min(_CLEARLY * q, (1 + q) / 2)
                for one, q in zip(limits, self.allowed, strict=True)
            )
            self._recovery = self._recovery.after(plan.rest, far)
        overloaded = any(one.share >= OVERLOADED for one in limits)
        if overloaded and self._recovery is None and (calm := self._calm()) is not None:
            self._recovery = Recovery(calm)

    def _calm(self) -> float | None:
        """Return the highest rate far below any that broke a limit, if one was kept."""
        kept: list[float] = []
        broken: list[float] = []
        for _, plan, limits in self._measured:
            (broken if self._broke(limits) else kept).append(plan.rate)
        return max((rate for rate in kept if rate <= min(broken) / _FAR), default=None)

    def _missed(self, plan: Plan) -> None:
        self._failed["invalid"] += 1
        if self._failed["invalid"] >= _TRIES:
            self._failed.clear()
            self._ceiling = plan.rate if self._ceiling is None else min(self._ceiling, plan.rate)
            near = self._measured and self._ceiling / self._measured[-1][1].rate < _NEAR_CEILING
            self._climbing = self._climbing and not (near or self._broken)


def _at_least_a_probe(seconds: float | None) -> float | None:
    return None if seconds is None else max(seconds, _SHORT)


def _beyond(curves: Sequence[Curve], rate: float) -> float:
    """Return the probability that the capacity lies above a rate."""
    return math.prod(1 - curves[index].cumulative(rate) for index in rivals(curves))
