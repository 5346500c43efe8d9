"""Notes below the table of a comparison: numbers of verdicts, what they rest on, the answer."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from pytest_servebench.analysis import comparability
from pytest_servebench.analysis.allowable import ALLOWABLE
from pytest_servebench.analysis.changes import VERDICTS, Change
from pytest_servebench.analysis.comparability import Difference
from pytest_servebench.analysis.compare import (
    CaseComparison,
    Comparison,
    gates_of,
    hidden_by_machine,
)
from pytest_servebench.metrics import METRICS
from pytest_servebench.objectives.gates import Gate
from pytest_servebench.report.facts import beside_text, distinct
from pytest_servebench.text.safe import counted, joined

_SPEED_SHOWN: Final = 0.05
_OF_MACHINE: Final = (
    "A change that the machine's speed may explain does not count against the server: measure both "
    "again, one right after the other, with --servebench-repeats, or on an unshared machine."
)


def notes(comparison: Comparison, every: bool = False) -> list[str]:
    """Return the numbers of verdicts, and notes on them."""
    changes = [case.changes[metric] for case in comparison.cases for metric in case.shown]
    counts = Counter(one.verdict for one in changes)
    parts = [f"{counts[word]} {word}" for word in VERDICTS if counts[word]]
    size = f"{counted_cases(comparison)}, {counted(len(changes), 'figure')}"
    found = [f"{size}{' that decide' if every else ''}: {', '.join(parts)}."]
    unsure = any(_excludes_nothing(one) and one.verdict == "cannot tell" for one in changes)
    if unsure and comparison.statements > 1:
        found.append(
            "Each interval is for its figure alone. A verdict of worse or better allows for all "
            f"{comparison.statements} figures at once, so it needs a larger difference."
        )
    elif unsure:
        found.append("Worse or better needs 99 % confidence; the intervals shown are at 95 %.")
    searched = {
        METRICS[one.metric].of_search
        for one in changes
        if one.verdict == "cannot tell" and not of_machine(one)
    }
    if False in searched:
        found.append("Cannot tell: longer or repeated runs (--servebench-repeats) would help.")
    if True in searched:
        found.append("Cannot tell: longer searches (--servebench-capacity-budget) would help.")
    if moved := _speeds(comparison):
        found.append(moved)
    gates = [result.gate for result in comparison.gates]
    told = [speed_note(case, gates) for case in comparison.cases]
    found += dict.fromkeys(filter(None, told))
    found += beside_notes(comparison.cases)
    found += comparability.notes(comparison.base, comparison.new)
    changes_of_all = [one for case in comparison.cases for one in case.changes.values()]
    if every and (without := distinct(one.metric for one in changes_of_all if not one.sampled)):
        found.append(f"No interval: {joined(without)}. A change of 5 % or more counts.")
    return found


def beside_notes(cases: Sequence[CaseComparison]) -> list[str]:
    """Return what other programs used in each run, if it may have slowed its servers down."""
    whole = [case.pair for case in cases if not case.key.request_class]
    sides = {
        "BASE": [one for pair in whole for one in pair.base],
        "NEW": [one for pair in whole for one in pair.new],
    }
    texts = {side: beside_text(found) for side, found in sides.items()}
    return [f"{side}: {text}." for side, text in texts.items() if text]


def of_machine(change: Change) -> bool:
    """Return whether only the allowance for the machine's speed leaves a change undecided."""
    known = change.at_one_speed
    return known is not None and bool(change.reason) and not known.reason


def speed_note(
    case: CaseComparison, gates: Sequence[Gate], metrics: Sequence[str] | None = None
) -> str:
    """Return what to do if the machine's speed leaves a case undecided; otherwise empty.

    Args:
        case: the case.
        gates: on it or on others.
        metrics: those that matter; by default, those that are shown.
    """
    hidden = any(
        hidden_by_machine(gate, case.changes[gate.metric])
        for gate in gates_of(case, gates)
        if gate.metric in case.changes
    )
    shown = case.shown if metrics is None else [one for one in metrics if one in case.changes]
    if hidden or any(of_machine(case.changes[metric]) for metric in shown):
        return _OF_MACHINE
    if not case.of_search or case.slowdown is not None:
        return ""
    return (
        "Capacities may have changed with the machine's own speed, which too few loads of both "
        "searches show: measure again before you blame the server."
    )


def _speeds(comparison: Comparison) -> str:
    """Return how much the machine's own speed changed; empty if too little to matter."""
    factors = [case.slowdown for case in comparison.cases if case.slowdown is not None]
    if not any(abs(math.log(one)) > math.log1p(_SPEED_SHOWN) for one in factors):
        return ""
    ends = " to ".join(distinct(f"{one:.3g}" for one in (min(factors), max(factors))))
    return (
        f"The machine's speed differed: in NEW, the load generator itself needed {ends} times the "
        "CPU time per request. Intervals allow for that. Near a server's limit, latency, drops, "
        "throughput and capacity may change by more."
    )


def _excludes_nothing(change: Change) -> bool:
    neutral = 0.0 if METRICS[change.metric].is_share else 1.0
    return not change.change.low <= neutral <= change.change.high


def conclusion(comparison: Comparison) -> str:
    """Return the answer in one line."""
    cases = sum(case.verdict == "worse" for case in comparison.cases)
    of_all = f"{cases} of {counted_cases(comparison)}"
    if comparison.gates:
        failed = [str(one.gate) for one in comparison.gates if one.failed]
        if failed:
            return f"FAILED: {joined(failed)}"
        unsure = [str(gate) for gate in comparison.undecided]
        parts = ["No gate failed", f"inconclusive: {joined(unsure)}" if unsure else "",
                 f"something got worse in {of_all}" if cases else ""]  # fmt: skip
        return "; ".join(filter(None, parts)) + "."
    return f"WORSE: {of_all}" if cases else "Nothing got worse beyond doubt."


def remedy(comparison: Comparison, refused: Sequence[Difference]) -> str:
    """Return how to compare runs in spite of their differences; empty if that is impossible."""
    words = dict.fromkeys(one.about for one in refused if one.about in ALLOWABLE)
    if not words or not comparison.cases:
        return ""
    return (
        f"To compare the {counted_cases(comparison)} they share anyway, "
        f"give --allow {','.join(words)}"
    )


def counted_cases(comparison: Comparison) -> str:
    """Return the number of cases, and of the classes of requests in them."""
    parts = sum(bool(case.key.request_class) for case in comparison.cases)
    cases = counted(len(comparison.cases) - parts, "case")
    return f"{cases} and {counted(parts, 'part')} by class of requests" if parts else cases
