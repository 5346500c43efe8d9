"""What got worse between two runs, and what remains undecided.

**Changes.** Each metric's change is the ratio new / base, or the difference of two shares, with a
95 % interval (:mod:`pytest_servebench.stats.ratios`). Throughput is compared without the luck of
the schedule where both sides had the same arrivals. Memory is one figure a run, with no interval of
sampling: it differs where it does by 5 %, as in the evaluation of one run.

**Verdicts.** A comparison makes dozens of statements at once, and one in twenty 95 % intervals
misses the true value. *worse* and *better* therefore use a stricter level: 1 % for all statements
together, divided equally among them (Bonferroni). Holm's procedure would detect a little more, but
one case's verdict would then depend on the others, and the interval that decides could not be
shown. *same*: the whole 95 % interval lies within the margin.

Intervals are less reliable in the tails. A calm run has both a low p99 and an interval that is too
short; the other run then often has so few independent requests that its p99 has no upper limit at
all. If a side has none, intervals must be :data:`CAUTION` times as far away.

The machine itself may have been slower in one of the runs
(:mod:`pytest_servebench.analysis.machine_speed`).
Latency and CPU may then have changed by up to that much whatever the server did. Their intervals
cover the change both with and without that of the machine, so that neither a slow hour nor a fast
one decides.

The generator may have been late in one of the runs. Every comparison is made twice, with the
latencies as measured and with the generator's lag subtracted, and counts only if both agree.

On identical pairs of simulated queues (M/M/1, M/D/1 and M/G/1 at loads from 0.3 to 0.8, 1,000
requests), whose intervals hold the truth less often than they promise, gates such as ``p99:10%``
and ``p50:5%`` then give false alarms in fewer than 1 % of the pairs, and in about 1 % of the runs
of twelve such cases: see ``tests/test_compare.py``.
"""

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from pytest_servebench.analysis.comparability import Key, Pair, match
from pytest_servebench.analysis.machine_speed import same_generator, slowdown
from pytest_servebench.analysis.samples import samples
from pytest_servebench.metrics import COMPARED, METRICS, POINTS, Metric
from pytest_servebench.objectives.gates import Gate
from pytest_servebench.runs.results import CaseResult, Run, VerdictWord
from pytest_servebench.stats import ratios
from pytest_servebench.stats.ratios import Range, Sample

Verdict = Literal["worse", "cannot tell", "same", "better"]

VERDICTS: Final[tuple[Verdict, ...]] = ("worse", "cannot tell", "same", "better")
"""From the worst to the best: a case has the worst of its metrics'."""

NOISE: Final = "within noise"
"""Why a change is undecided if there is no other reason."""

TAIL: Final = 0.01
"""Probability that any of all statements is wrong by chance, in either direction."""

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
        strict: the same with the interval that decides.
        sampled: whether the intervals are of sampling.
        verdict: worse, better, same or cannot tell.
        reason: why it is undecided, else empty.
        slowdown: how many times as long the machine took in NEW, which the intervals allow for; 1
            where it does not matter to the metric.
        variants: the change as measured, and the same with the generator's lag taken off, where
            these are not the same; the intervals above hold both.
    """

    metric: str
    base: float
    new: float
    change: Range
    strict: Range
    sampled: bool
    verdict: Verdict
    reason: str
    slowdown: float = 1.0
    variants: tuple["Change", ...] = ()

    @property
    def worse_by(self) -> float:
        """Return the change for the worse, a fraction of the base or a difference of shares."""
        return _worse_by(self.metric, self.change.value)

    @property
    def surely_worse_by(self) -> float:
        """Return the change for the worse, less what lateness and the machine may account for.

        Neither the generator's lateness nor the machine's speed may be blamed on the server.
        """
        values = [one.change.value for one in self.variants or (self,)]
        return min(
            _worse_by(self.metric, one)
            for value in values
            for one in (value, value / self.slowdown)
        )

    @property
    def worst_by(self) -> float:
        """Return the change for the worse at the far end of the 95 % interval; as worse_by."""
        return max(_worse_by(self.metric, end) for end in (self.change.low, self.change.high))

    @property
    def detectable(self) -> float:
        """Return the smallest change for the worse that this pair could have told from noise."""
        smaller = not METRICS[self.metric].larger_is_better
        value, end = self.change.value, self.strict.low if smaller else self.strict.high
        if METRICS[self.metric].is_share:
            return abs(value - end)
        distance = abs(ratios.log(value) - ratios.log(end))
        return ratios.exp(distance) - 1 if smaller else 1 - ratios.exp(-distance)


@dataclass(frozen=True)
class CaseComparison:
    """One case on both sides.

    Attributes:
        key: what both share.
        pair: the cases.
        changes: metric to its change, in the order of reports.
        slowdown: how many times as long the machine took in NEW; 1 where that is not known.
        shown: the metrics that matter: p50, a tail that was resolved, throughput, success rate and
            those of the gates.
        verdict: the worst of the shown ones.
    """

    key: Key
    pair: Pair
    changes: Mapping[str, Change]
    slowdown: float
    shown: tuple[str, ...]
    verdict: Verdict


@dataclass(frozen=True)
class GateResult:
    """The outcome of one gate.

    Attributes:
        gate: metric and threshold.
        failed: the cases that broke it.
        judged: the cases in which the metric is known.
        unknown: number of cases in which it is not.
    """

    gate: Gate
    failed: tuple[CaseComparison, ...]
    judged: tuple[CaseComparison, ...]
    unknown: int


@dataclass(frozen=True)
class Comparison:
    """Two runs, compared.

    Attributes:
        base: the run before.
        new: the run now.
        cases: those that both have.
        gates: the outcome of each.
        statements: how many verdicts share the level.
        worse: whether something got worse: a gate failed or, without gates, a shown metric did.
    """

    base: Run
    new: Run
    cases: tuple[CaseComparison, ...]
    gates: tuple[GateResult, ...]
    statements: int
    worse: bool


def compare(
    base: Run, new: Run, gates: Sequence[Gate] = (), *, among: int | None = None
) -> Comparison:
    """Compare the cases that two runs share.

    Whether the runs are comparable is not checked here: see
    :func:`~pytest_servebench.analysis.comparability.differences`.

    Args:
        base: the run before.
        new: the run now.
        gates: how much each metric may get worse; without any, every significant change counts.
        among: how many cases share the error in all, if these are only some of them.
    """
    pairs = match(base, new)
    gated = {gate.metric: gate.threshold for gate in gates}
    judged = len(gated) if gates else len(_shown(()))
    statements = max(1, judged * (among or len(pairs)))
    speed = slowdown if same_generator(base, new) else lambda *_: 1.0
    cases = tuple(
        _compare(pair, gated, TAIL / statements, speed(pair.base, pair.new)) for pair in pairs
    )
    results = tuple(_judge(gate, cases) for gate in gates)
    worse = (
        any(result.failed for result in results)
        if gates
        else any(case.verdict == "worse" for case in cases)
    )
    return Comparison(base, new, cases, results, statements, worse)


def why_unknown(gate: Gate, pairs: Iterable[Pair]) -> str:
    """Return in which run a gate's metric is unknown, and why, for a message."""
    for pair in pairs:
        for side, cases in (("BASE", pair.base), ("NEW", pair.new)):
            for case in cases:
                if (reading := METRICS[gate.metric].read(case)).value is None:
                    return f"in {side}: {reading.unknown}"
    if METRICS[gate.metric].given_limits:
        return "the SLOs of both runs must limit single requests, such as p99<50ms, and alike"
    return "in either run"


def _judge(gate: Gate, cases: Sequence[CaseComparison]) -> GateResult:
    judged = tuple(case for case in cases if gate.metric in case.changes)
    failed = tuple(case for case in judged if fails(gate, case.changes[gate.metric]))
    return GateResult(gate, failed, judged, len(cases) - len(judged))


def fails(gate: Gate, change: Change) -> bool:
    """Return whether a change for the worse exceeds the threshold, and noise as well."""
    return (
        change.surely_worse_by > gate.threshold
        and _beyond_doubt(METRICS[change.metric], change.strict) > 0
    )


def gate_verdict(gate: Gate, change: Change) -> VerdictWord:
    """Return a gate's verdict; invalid if the generator's lateness decides it."""
    words = {_gate_verdict(gate, one) for one in change.variants or (change,)}
    return words.pop() if len(words) == 1 else "invalid"


def _gate_verdict(gate: Gate, change: Change) -> VerdictWord:
    if fails(gate, change):
        return "failed"
    good = change.verdict in ("same", "better") or change.worst_by <= gate.threshold
    return "passed" if good else "inconclusive"


# -- one case -------------------------------------------------------------------------------------


def _compare(pair: Pair, gated: Mapping[str, float], tail: float, slower: float) -> CaseComparison:
    late = any(case.summary.without_lag for case in pair.every)
    pairs = [pair, _punctual(pair)] if late else [pair]
    changes = {}
    for name, metric in COMPARED.items():
        assert metric.same is not None
        margin = gated.get(name, metric.same)
        speed = slower if metric.goes_with_the_machine else 1.0
        found = [_change(metric, one, margin, tail, speed) for one in pairs]
        if known := [one for one in found if one is not None]:
            changes[name] = _either_way(known)
    shown = tuple(metric for metric in changes if metric in _shown(pair.every) or metric in gated)
    words = {changes[metric].verdict for metric in shown}
    verdict = next((word for word in VERDICTS if word in words), VERDICTS[1])
    return CaseComparison(pair.key, pair, MappingProxyType(changes), slower, shown, verdict)


def _shown(cases: Collection[CaseResult]) -> tuple[str, ...]:
    """Return the metrics that matter; the tail is the highest percentile that is resolved."""
    found = []
    for *better, last in POINTS.values():
        if not last.of_server:
            resolved = (one for one in better if cases and all(_resolves(c, one) for c in cases))
            found.append(next(resolved, last).name)
    return tuple(found)


def _resolves(case: CaseResult, metric: Metric) -> bool:
    reading = metric.read(case)
    is_open = (
        reading.value is not None and math.isfinite(reading.value) and reading.high == math.inf
    )
    return case.summary.arrivals >= metric.enough and not is_open


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
        variants=tuple(changes),
    )


def _hull(ranges: Sequence[Range]) -> Range:
    return Range(ranges[0].value, min(one.low for one in ranges), max(one.high for one in ranges))


def _change(metric: Metric, pair: Pair, margin: float, tail: float, slower: float) -> Change | None:
    """Return the change of a metric; ``None`` if it is unknown on a side."""
    base, new = (samples(metric, cases, pair) for cases in (pair.base, pair.new))
    if not base or not new:
        return None
    between = ratios.difference if metric.is_share else ratios.ratio
    some_open = any(sample.range.open for sample in (*base, *new))
    alone = between(base, new, 0.05), between(base, new, tail, CAUTION if some_open else 1.0)
    unmoved = _verdict(metric, *alone, margin)
    change, strict = (_whatever_the_speed(one, slower) for one in alone)
    verdict = _verdict(metric, change, strict, margin)
    sampled = [sample.sampled for sample in (*base, *new)]
    if unmoved == "cannot tell" and not any(sampled):
        verdict = "same"  # less than the margin by which they must differ
    average = ratios.arithmetic_mean if metric.is_share else ratios.geometric_mean
    values = [average([sample.range.value for sample in side]) for side in (base, new)]
    if metric.share_of_load:  # it may be compared by its share of the arrivals
        rates = [[metric.read(case).value or 0.0 for case in side]
                 for side in (pair.base, pair.new)]  # fmt: skip
        values = [ratios.geometric_mean(side) for side in rates]
    undecided = verdict == "cannot tell"
    reason = _reason(metric, (*base, *new), slower, verdict != unmoved) if undecided else ""
    return Change(
        metric.name, values[0], values[1], change, strict, all(sampled), verdict, reason, slower
    )


def _whatever_the_speed(change: Range, slower: float) -> Range:
    """Return the interval that covers the change with and without that of the machine."""
    return Range(
        change.value, min(change.low, change.low / slower), max(change.high, change.high / slower)
    )


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


def _reason(metric: Metric, samples: Sequence[Sample], slower: float, machine: bool) -> str:
    if machine:
        word, factor = ("slower", slower) if slower > 1 else ("faster", 1 / slower)
        return f"the machine was {100 * (factor - 1):.0f} % {word} in NEW"
    infinite = [math.isinf(sample.range.value) for sample in samples]
    if all(infinite):
        return "infinite on both sides"
    if any(sample.range.open for sample in samples):
        return "too short a window" if metric.of_server else "too few requests"
    return "requests failed" if any(infinite) else NOISE
