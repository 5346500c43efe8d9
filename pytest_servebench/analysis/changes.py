"""How the metrics of one case changed between two runs, and which changes are undecided.

**Changes.** Each metric's change is the ratio new / base, or the difference of two shares, with a
95 % interval. Percentiles and means are compared by the requests of both runs where these were
saved (:mod:`pytest_servebench.stats.shifts`); everything else by the intervals of each run
(:mod:`pytest_servebench.stats.ratios`). These also decide where runs are too short for their
requests to do so, such as one second in which everything takes ten times as long. Throughput is
compared without the luck of the schedule where both sides had the same arrivals. Memory is one
figure per run, with no interval of sampling: it differs if it does by 5 %, as in the evaluation of
one run.

**Verdicts.** *worse* and *better*: the whole interval of a stricter level lies on one side of no
change. *same*: the whole 95 % interval lies within the margin.

Intervals of single runs are less reliable in the tails. A calm run has both a low p99 and an
interval that is too short; the other run then often has so few independent requests that its p99
has no upper limit at all. If a side has none, intervals must be :data:`CAUTION` times as far away.

The machine itself may have been slower in one of the runs. Intervals cover the change both with and
without what that may have made of it (:mod:`pytest_servebench.analysis.machine_effects`), so that
neither a slow hour nor a fast one decides; the change as it would be judged at one speed is kept
beside it.

The generator may have been late in one of the runs. Every comparison is made twice, with the
latencies as measured and with the generator's lag subtracted, and a verdict counts only if both
agree.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pytest_servebench.analysis.capacities import Searches, change_by_ends
from pytest_servebench.analysis.machine_effects import STEADY, Machine, effect_on, machine_text
from pytest_servebench.analysis.pairs import Pair
from pytest_servebench.analysis.request_shifts import Repeats
from pytest_servebench.analysis.samples import samples
from pytest_servebench.metrics import COMPARED, METRICS, Metric
from pytest_servebench.stats import ratios
from pytest_servebench.stats.ratios import Range
from pytest_servebench.stats.shifts import Shift

Verdict = Literal["worse", "cannot tell", "same", "better"]

VERDICTS: Final[tuple[Verdict, ...]] = ("worse", "cannot tell", "same", "better")
"""From the worst to the best: a case has the worst of its metrics'."""

NOISE: Final = "within noise"
"""Why a change is undecided if there is no other reason."""

CAUTION: Final = 1.5
"""Factor by which intervals are widened if a percentile has no upper limit."""

_ROUNDING: Final = 1e-12


@dataclass(frozen=True)
class Change:
    """How one metric of one case changed.

    Attributes:
        metric: a key of :data:`~pytest_servebench.metrics.COMPARED`.
        base: its value before; of repeats, their mean (for ratios the geometric one).
        new: its value now.
        change: new / base, or new - base for shares, with its 95 % interval.
        strict: the same with the stricter interval that decides the verdict.
        sampled: whether the intervals are of sampling.
        verdict: worse, better, same or cannot tell.
        reason: why it is undecided, else empty.
        machine: how its speed changed, for which the intervals allow; steady if that does not
            affect the metric.
        at_one_speed: the same without this allowance; ``None`` where there is none.
        percentile: that of all of BASE's requests, where the requests of both were compared; of
            repeats ``base`` is the mean of each repeat's.
        beyond: share of NEW's requests that took longer than it.
        variants: the change as measured, and the same with the generator's lag taken off, where
            these are not the same; the intervals above hold both.
        told: both capacities in words if one of them has no interval, so that the ends of both
            decide; ``base``, ``new`` and the change are then those ends. Else empty.
    """

    metric: str
    base: float
    new: float
    change: Range
    strict: Range
    sampled: bool
    verdict: Verdict
    reason: str
    machine: Machine = STEADY
    at_one_speed: "Change | None" = None
    percentile: float | None = None
    beyond: float | None = None
    variants: tuple["Change", ...] = ()
    told: str = ""

    @property
    def by_machine(self) -> float:
        """Return the change that the machine's speed may have made, like ``change``."""
        neutral = _neutral(METRICS[self.metric])
        return neutral if self.machine.steady else self.machine.made

    @property
    def worse_by(self) -> float:
        """Return the change for the worse, a fraction of the base or a difference of shares."""
        return _worse_by(self.metric, self.change.value)

    @property
    def surely_worse(self) -> bool:
        """Return whether the interval that decides lies wholly on the worse side of no change."""
        return _beyond_doubt(METRICS[self.metric], self.strict) > 0

    @property
    def surely_worse_by(self) -> float:
        """Return the change for the worse, less what lateness and the machine may account for.

        Neither the generator's lateness nor the machine's speed may be blamed on the server.
        """
        values = [one.change.value for one in self.variants or (self,)]
        return min(
            _worse_by(self.metric, one)
            for value in values
            for one in (value, self.machine.taken_off(value))
        )

    @property
    def worst_by(self) -> float:
        """Return the change for the worse at the far end of the 95 % interval; as worse_by."""
        return max(_worse_by(self.metric, end) for end in (self.change.low, self.change.high))

    @property
    def detectable(self) -> float:
        """Return the smallest change for the worse that could have been detected in this pair."""
        smaller = not METRICS[self.metric].larger_is_better
        value, end = self.change.value, self.strict.low if smaller else self.strict.high
        if METRICS[self.metric].is_share:
            return abs(value - end)
        distance = abs(ratios.log(value) - ratios.log(end))
        return ratios.exp(distance) - 1 if smaller else 1 - ratios.exp(-distance)


def changes_of(
    pair: Pair,
    shifts: Mapping[str, Shift],
    gated: Mapping[str, float],
    tail: float,
    machine: Machine,
    faster: Repeats = (),
) -> dict[str, Change]:
    """Return the change of each metric that is known on both sides, in the order of reports.

    Args:
        pair: the cases.
        shifts: what their requests tell, as far as these were saved.
        gated: threshold of each metric with a gate.
        tail: probability that one verdict is wrong by chance, in either direction.
        machine: how its speed changed.
        faster: the records of the side on which it was faster, if these were saved.
    """
    late = any(case.summary.without_lag for case in pair.every)
    pairs = [pair, _punctual(pair)] if late else [pair]
    changes = {}
    for name, metric in COMPARED.items():
        if pair.key.request_class and (metric.of_server or metric.of_search):
            continue
        assert metric.same is not None
        margin = gated.get(name, metric.same)
        speed = effect_on(metric, machine, pair, faster)
        found = [_change(metric, one, shifts.get(name), margin, tail, speed) for one in pairs]
        if known := [one for one in found if one is not None]:
            changes[name] = _either_way(known)
        elif metric.of_search and pair.searches is not None:
            by_ends = _by_ends(metric, pair.searches, gated.get(name, 0.0), tail, speed)
            if by_ends is not None:
                changes[name] = by_ends
    return changes


def _by_ends(
    metric: Metric, searches: tuple[Searches, Searches], gate: float, tail: float, machine: Machine
) -> Change | None:
    """Return the least change of a capacity that the ends of both searches prove.

    A server that breaks the SLO at the lowest rate has only an upper end, one that keeps it at the
    highest rate only a lower one.

    Returns:
        ``None`` if the ends prove neither that it got worse by more than the gate's threshold
        (without a gate, at all) nor that it did not, whatever the machine's speed.
    """
    before, now = (
        (min(one.ends[0] for one in side), max(one.ends[1] for one in side)) for side in searches
    )
    change = Range(math.nan, now[0] / before[1], now[1] / before[0] if before[0] else math.inf)
    strict = change_by_ends(*searches, tail)
    if change.high < 1 - gate and _beyond_doubt(metric, strict) > 0:
        worse, figures, verdict = True, (before[0], now[1]), VERDICTS[0]
    elif change.low >= 1 - gate:
        worse, figures = False, (before[1], now[0])
        verdict = VERDICTS[3] if _beyond_doubt(metric, strict) < 0 else VERDICTS[1]
    else:
        return None

    value = change.high if worse else change.low
    change, strict = (dataclasses.replace(one, value=value) for one in (change, strict))
    told = " against ".join(", ".join(one.stated for one in side) for side in reversed(searches))
    found = Change(metric.name, *figures, change, strict, True, verdict, "", told=told)
    if machine.steady:
        return found
    allowed = _allowed(found, machine)
    side = _beyond_doubt(metric, allowed.strict)
    if worse:
        kept = max(value, machine.taken_off(value)) < 1 - gate and side > 0
    else:
        kept = allowed.change.low >= 1 - gate
    if not kept or (verdict == VERDICTS[3] and side >= 0):
        verdict = VERDICTS[1]
    reason = "" if kept else machine_text(machine)
    return dataclasses.replace(allowed, verdict=verdict, reason=reason)


def _punctual(pair: Pair) -> Pair:
    base, new = (tuple(case.without_lag() for case in side) for side in (pair.base, pair.new))
    return Pair(pair.key, base, new)


def _either_way(changes: Sequence[Change]) -> Change:
    """Return the change on which the variants, with and without lag, agree; first as measured."""
    first = changes[0]
    if all(one == first for one in changes):
        return first
    agreed = all(one.verdict == first.verdict for one in changes)
    return dataclasses.replace(
        first,
        change=_hull([one.change for one in changes]),
        strict=_hull([one.strict for one in changes]),
        verdict=first.verdict if agreed else "cannot tell",
        reason=first.reason if agreed else "the generator's own lateness decides it",
        at_one_speed=first.at_one_speed if agreed else None,
        variants=tuple(changes),
    )


def _hull(ranges: Sequence[Range]) -> Range:
    return Range(ranges[0].value, min(one.low for one in ranges), max(one.high for one in ranges))


def _change(
    metric: Metric, pair: Pair, shift: Shift | None, margin: float, tail: float, machine: Machine
) -> Change | None:
    """Return the change of a metric; ``None`` if it is unknown on a side."""
    base, new = (samples(metric, cases, pair) for cases in (pair.base, pair.new))
    if not base or not new:
        return None
    values = [[sample.range.value for sample in side] for side in (base, new)]
    average = ratios.arithmetic_mean if metric.is_share else ratios.geometric_mean
    between = ratios.difference if metric.is_share else ratios.ratio
    some_open = any(sample.range.open for sample in (*base, *new))
    narrow = between(base, new, 0.05)
    wide = between(base, new, tail, CAUTION if some_open else 1.0)
    if shift is not None:
        of_both = _of_requests(shift, values[0], values[1], tail)
        # A short run has so few blocks that even if all of them differ it may be chance; the runs'
        # own intervals may lie far apart nevertheless.
        if _beyond_doubt(metric, of_both) or not _beyond_doubt(metric, wide):
            wide, narrow = of_both, _of_requests(shift, values[0], values[1], 0.05)
            finite = all(map(math.isfinite, (*values[0], *values[1])))
            some_open = finite and (wide.low == 0 or wide.high == math.inf)
    sampled = [sample.sampled for sample in (*base, *new)]
    if metric.share_of_load:  # it may be compared by its share of the arrivals
        values = [[metric.read(case).value or 0.0 for case in side]
                  for side in (pair.base, pair.new)]  # fmt: skip
        average = ratios.geometric_mean
    verdict = _verdict(metric, narrow, wide, margin)
    if verdict == "cannot tell" and not any(sampled):
        verdict = "same"  # less than the margin by which they must differ
    reason = ""
    if verdict == "cannot tell":
        reason = _reason(metric, [sample.range.value for sample in (*base, *new)], some_open)
    found = Change(
        metric.name,
        average(values[0]),
        average(values[1]),
        narrow,
        wide,
        all(sampled),
        verdict,
        reason,
        percentile=shift.percentile if shift is not None else None,
        beyond=shift.beyond if shift is not None else None,
    )
    return found if machine.steady else _allowing(found, machine, margin)


def _allowing(found: Change, machine: Machine, margin: float) -> Change:
    """Return a change and its verdict, allowing for the machine's speed."""
    allowed = _allowed(found, machine)
    verdict = _verdict(METRICS[found.metric], allowed.change, allowed.strict, margin)
    if found.verdict == "same" and not found.sampled:
        verdict = found.verdict
    reason = ""
    if verdict == "cannot tell":
        reason = found.reason or machine_text(machine)
    return dataclasses.replace(allowed, verdict=verdict, reason=reason)


def _allowed(found: Change, machine: Machine) -> Change:
    """Return a change whose intervals allow for the machine's speed, with the verdict of before."""
    return dataclasses.replace(
        found,
        change=_whatever_the_speed(found.change, machine),
        strict=_whatever_the_speed(found.strict, machine),
        machine=machine,
        at_one_speed=found,
    )


def _of_requests(shift: Shift, base: Sequence[float], new: Sequence[float], tail: float) -> Range:
    """Return the ratio of the runs' values, with the interval that their requests give.

    It is as wide, relatively, without the generator's lag.
    """
    found = shift.at(tail)
    value = ratios.geometric_mean(new) / ratios.geometric_mean(base)
    if math.isnan(value):  # infinite in some repeats of both sides
        return Range(value, 0.0, math.inf)
    scale = value / found.value if 0 < found.value < math.inf and 0 < value < math.inf else 1.0
    # It may be infinite in some repeats, and not of all requests together.
    low, high = min(value, scale * found.low), max(value, scale * found.high)
    scaled = Range(value, low, high)
    logs = [[ratios.log(one) for one in side] for side in (base, new)]
    between = ratios.between_runs(scaled.through(ratios.log), logs[0], logs[1], tail)
    return between.through(ratios.exp)


def _whatever_the_speed(change: Range, machine: Machine) -> Range:
    """Return the interval that covers the change with and without that of the machine."""
    low, high = machine.taken_off(change.low), machine.taken_off(change.high)
    return Range(change.value, min(change.low, low), max(change.high, high))


def _verdict(metric: Metric, change: Range, strict: Range, margin: float) -> Verdict:
    if math.isnan(change.value):
        return "cannot tell"
    within = margin if metric.is_share else math.log1p(margin)
    scale = (lambda value: value) if metric.is_share else ratios.log
    if abs(scale(change.low)) <= within and abs(scale(change.high)) <= within:
        return "same"
    side = _beyond_doubt(metric, strict)
    return "worse" if side > 0 else "better" if side < 0 else "cannot tell"


def _beyond_doubt(metric: Metric, strict: Range) -> int:
    """Return 1 where the whole interval is for the worse, -1 for the better, else 0."""
    neutral = _neutral(metric)
    side = (strict.low > neutral + _ROUNDING) - (strict.high < neutral - _ROUNDING)
    return -side if metric.larger_is_better else side


def _neutral(metric: Metric) -> float:
    return 0.0 if metric.is_share else 1.0


def _worse_by(name: str, value: float) -> float:
    change = value - _neutral(METRICS[name])
    return -change if METRICS[name].larger_is_better else change


def _reason(metric: Metric, values: Sequence[float], some_open: bool) -> str:
    infinite = [math.isinf(one) for one in values]
    if all(infinite):
        return "infinite on both sides"
    if some_open:
        return "too short a window" if metric.of_server else "too few requests"
    return "requests failed" if any(infinite) else NOISE
