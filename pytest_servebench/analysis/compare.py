"""What got worse between two runs, and what is undecided.

**Changes** of the metrics are those of :mod:`pytest_servebench.analysis.changes`.

**Verdicts.** A comparison makes dozens of statements at once, and one in twenty 95 % intervals
misses the true value. *worse* and *better* therefore use a stricter level: 1 % for all statements
together, divided equally among them (Bonferroni). Holm's procedure would detect a little more, but
one case's verdict would then depend on the others, and the interval that decides could not be
shown. *same*: the whole 95 % interval lies within the margin.

On identical pairs of simulated queues (M/M/1, M/D/1 and M/G/1 at loads from 0.3 to 0.8, 1,000
requests), whose intervals hold the truth less often than they promise, gates such as ``p99:10%``
and ``p50:5%`` then give false alarms in fewer than 1 % of the pairs, and in about 1 % of the runs
of twelve such cases: see ``tests/test_compare.py``.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pytest_servebench.analysis.changes import VERDICTS, Change, Verdict, changes_of
from pytest_servebench.analysis.machine_effects import STEADY, Machine
from pytest_servebench.analysis.machine_speed import (
    machine_of_loads,
    machine_of_searches,
    same_generator,
)
from pytest_servebench.analysis.pairs import Key, Pair, match
from pytest_servebench.analysis.request_shifts import Repeats, records_of, request_shifts
from pytest_servebench.metrics import METRICS, POINTS, Metric, standing_in
from pytest_servebench.objectives.gates import Gate
from pytest_servebench.runs.results import CaseResult, Run, VerdictWord
from pytest_servebench.text.safe import clean, joined

TAIL: Final = 0.01
"""Probability that any of all statements is wrong by chance, in either direction."""


@dataclass(frozen=True)
class CaseComparison:
    """One case on both sides, or the requests of one class of it.

    Attributes:
        key: what both share.
        pair: the cases.
        changes: metric to its change, in the order of reports.
        slowdown: how many times as long the machine took in NEW; ``None`` where that is not known.
        shown: the metrics that matter: p50, a tail that was resolved, throughput, success rate and
            those of the gates.
        verdict: the worst of the shown ones.
    """

    key: Key
    pair: Pair
    changes: Mapping[str, Change]
    slowdown: float | None
    shown: tuple[str, ...]
    verdict: Verdict

    @property
    def of_search(self) -> bool:
        """Return whether it is a capacity, not a load at one rate."""
        return self.pair.searches is not None


@dataclass(frozen=True)
class GateResult:
    """The outcome of one gate.

    Attributes:
        gate: metric and threshold.
        failed: the cases that broke it.
        judged: the cases in which the metric is known.
        undecided: the cases in which it is not; also those of which only one side has the gate's
            class of requests.
    """

    gate: Gate
    failed: tuple[CaseComparison, ...]
    judged: tuple[CaseComparison, ...]
    undecided: tuple[CaseComparison, ...]

    @property
    def unknown(self) -> int:
        """Return the number of cases in which the metric is unknown."""
        return len(self.undecided)

    @property
    def inconclusive(self) -> tuple[CaseComparison, ...]:
        """Return the cases that show neither that the gate is kept nor that it is broken."""
        metric = self.gate.metric
        return tuple(
            case for case in self.judged
            if gate_verdict(self.gate, case.changes[metric]) not in ("passed", "failed")
        )  # fmt: skip

    @property
    def hidden_by_machine(self) -> tuple[CaseComparison, ...]:
        """Return the inconclusive cases that would break it at one speed of the machine."""
        metric = self.gate.metric
        return tuple(
            case for case in self.judged if hidden_by_machine(self.gate, case.changes[metric])
        )

    @property
    def verdict(self) -> VerdictWord:
        """Return the worst of its cases' verdicts; inconclusive without any."""
        if self.failed:
            return "failed"
        return "passed" if self.judged and not self.inconclusive else "inconclusive"


@dataclass(frozen=True)
class Comparison:
    """Two runs, compared.

    Attributes:
        base: the run before.
        new: the run now.
        cases: those that both have, each followed by its classes of requests.
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

    @property
    def undecided(self) -> tuple[Gate, ...]:
        """Return the gates that are inconclusive."""
        return tuple(one.gate for one in self.gates if one.verdict == "inconclusive")


def compare(
    base: Run,
    new: Run,
    gates: Sequence[Gate] = (),
    *,
    among: int | None = None,
    directories: tuple[Path | None, Path | None] = (None, None),
) -> Comparison:
    """Compare the cases that two runs share.

    Whether the runs are comparable is not checked here: see
    :func:`~pytest_servebench.analysis.comparability.differences`.

    Args:
        base: the run before.
        new: the run now.
        gates: how much each metric may get worse; without gates, every significant change counts.
        among: how many cases share the error probability, if these are only some of them.
        directories: of both runs, with their records, unless these are in memory. Without records
            latencies are compared by the runs' own intervals, which show less.
    """
    whole = match(base, new)
    parts = {pair.key: (pair, *pair.parts()) for pair in whole}
    pairs = [one for each in parts.values() for one in each]
    most = max((len(_shown(pair.every)) for pair in pairs), default=1)
    of_all = len(gates) * len(whole) if gates else most * len(pairs)
    statements = max(1, len(gates) * among if gates and among else of_all)
    alike = same_generator(base, new)
    cases = []
    for each in parts.values():
        every = records_of(each[0], directories)
        machine = _machine(each[0], every) if alike else None  # by the work for all requests
        for pair in each:
            records = every if pair is each[0] else records_of(pair, directories)
            gated = {
                gate.metric: gate.threshold
                for gate in gates
                if gate.request_class == pair.key.request_class
            }
            speed = machine or STEADY
            faster = records[0] if speed.slower > 1 else records[1]
            changes = changes_of(
                pair, request_shifts(*records, every), gated, TAIL / statements, speed, faster
            )
            slower = None if machine is None else machine.slower
            cases.append(_compare(pair, changes, gated, slower))
    results = tuple(_judge(gate, cases) for gate in gates)
    worse = (
        any(result.failed for result in results)
        if gates
        else any(case.verdict == "worse" for case in cases)
    )
    return Comparison(base, new, tuple(cases), results, statements, worse)


def _machine(pair: Pair, records: tuple[Repeats, Repeats]) -> Machine | None:
    if searches := pair.searches:
        return machine_of_searches(*searches)
    return machine_of_loads(pair, records)


def why_unknown(gate: Gate, pairs: Iterable[Pair]) -> str:
    """Return in which run a gate's metric is unknown, and why, for a message."""
    metric = METRICS[gate.metric]
    pairs = list(pairs)
    about = [pair for pair in pairs if _is_about(gate, pair)]
    if not about:
        return _why_none(gate, pairs)
    for pair in about:
        for side, cases in (("BASE", pair.base), ("NEW", pair.new)):
            for case in cases:
                if (reading := metric.read(case)).value is None:
                    if case.origin is not None:
                        return f"in {side}: {case.origin} does not record what it needs"
                    return f"in {side}: {reading.unknown}"
    if metric.of_window and any(case.origin for pair in about for case in pair.every):
        return "between tools, since each ends its window at another time"
    if metric.given_limits:
        return "unless the SLOs of both runs limit single requests, such as p99<50ms, and alike"
    return "in either run"


def _why_none(gate: Gate, pairs: Iterable[Pair]) -> str:
    """Return why a gate is about none of these pairs."""
    if name := gate.request_class:
        names = dict.fromkeys(pair.key.request_class for pair in pairs)
        shared = joined(map(clean, filter(None, names))) or "none"
        return f"because no class {clean(name)!r} of requests is in both; classes in both: {shared}"
    return f"where only {'loads' if METRICS[gate.metric].of_search else 'capacities'} were measured"


def _judge(gate: Gate, cases: Sequence[CaseComparison]) -> GateResult:
    about = [case for case in cases if _is_about(gate, case.pair)]
    judged = tuple(case for case in about if gate.metric in case.changes)
    failed = tuple(case for case in judged if fails(gate, case.changes[gate.metric]))
    undecided = [case for case in about if gate.metric not in case.changes]
    undecided += [case for case in cases if _has_partly(case.pair, gate.request_class)]
    return GateResult(gate, failed, judged, tuple(undecided))


def _has_partly(pair: Pair, request_class: str) -> bool:
    """Return whether only some of a pair's cases have a class of requests."""
    return len({request_class in case.class_names for case in pair.every}) > 1


def _is_about(gate: Gate, pair: Pair) -> bool:
    """Return whether a gate is about such a pair: of loads, of searches, or of one class."""
    return (
        METRICS[gate.metric].of_search is (pair.searches is not None)
        and gate.request_class == pair.key.request_class
    )


def gates_of(case: CaseComparison, gates: Iterable[Gate]) -> list[Gate]:
    """Return the gates on the requests that a comparison is about: all, or those of a class."""
    return [one for one in gates if one.request_class == case.key.request_class]


def fails(gate: Gate, change: Change) -> bool:
    """Return whether a change for the worse exceeds the threshold, and noise as well."""
    return change.surely_worse_by > gate.threshold and change.surely_worse


def hidden_by_machine(gate: Gate, change: Change) -> bool:
    """Return whether only the allowance for the machine's speed keeps a gate from failing."""
    known = change.at_one_speed
    return known is not None and fails(gate, known) and not fails(gate, change)


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


def _compare(
    pair: Pair, changes: Mapping[str, Change], gated: Collection[str], slower: float | None
) -> CaseComparison:
    always = (*_shown(pair.every), *gated, *(one for one in changes if METRICS[one].of_search))
    shown = tuple(metric for metric in changes if metric in always)
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
    streamed = standing_in("table", streamed=True)
    if not all(case.arrivals_told for case in cases):
        streamed += standing_in("unscheduled", streamed=True)
    found += [one.name for one in streamed if all(_resolves(case, one) for case in cases)]
    return tuple(found)


def _resolves(case: CaseResult, metric: Metric) -> bool:
    reading = metric.read(case)
    if reading.value is None and metric.of_streams:
        return False
    is_open = (
        reading.value is not None and math.isfinite(reading.value) and reading.high == math.inf
    )
    return case.summary.arrivals >= metric.enough and not is_open
