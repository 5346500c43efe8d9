"""Comparisons for other programs: JSON, github-action-benchmark and Bencher's BMF."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pytest_servebench.analysis.changes import Change
from pytest_servebench.analysis.comparability import Difference, notes
from pytest_servebench.analysis.compare import CaseComparison, Comparison, fails, gates_of
from pytest_servebench.metrics import METRICS
from pytest_servebench.report.comparison import (
    change_text,
    interval_text,
    labels,
    verdict_text,
)
from pytest_servebench.report.comparison_notes import conclusion
from pytest_servebench.report.comparison_text import Compared
from pytest_servebench.report.figures import interval
from pytest_servebench.runs.results import Run
from pytest_servebench.stats.ratios import Range
from pytest_servebench.text.json_text import to_json
from pytest_servebench.text.numbers import MISSING
from pytest_servebench.text.quantity import Kind, quantity
from pytest_servebench.text.safe import clean

_UNITS: Final[Mapping[Kind, tuple[str, float]]] = {
    "time": ("ms", 1e3),
    "throughput": ("req/s", 1.0),
    "share": ("%", 100.0),
    "cpu": ("%", 1.0),
    "memory": ("MB", 1e-6),
    "tokens": ("tokens", 1.0),
    "token_rate": ("tokens/s", 1.0),
}
_MEASURES: Final[Mapping[Kind, str]] = {
    "time": "ms", "throughput": "per_second", "share": "percent", "cpu": "percent",
    "memory": "mb", "tokens": "tokens", "token_rate": "tokens_per_second",
}  # fmt: skip


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def as_json(found: Compared) -> str:
    """Return everything; ``null`` stands for infinite or unknown."""
    blocks = [_block(one.comparison, one.allowed, one.refused) for one in found.blocks]
    return to_json({"exit_code": found.status, "comparisons": blocks}) + "\n"


def _block(
    comparison: Comparison, allowed: Sequence[Difference], refused: Sequence[Difference]
) -> dict[str, Any]:
    gates = [result.gate for result in comparison.gates]
    return {
        "base": _run(comparison.base),
        "new": _run(comparison.new),
        "conclusion": "cannot be compared" if refused else conclusion(comparison),
        "refused": [{"about": one.about, "text": one.text} for one in refused],
        "allowed": [{"about": one.about, "text": one.text} for one in allowed],
        "notes": list(notes(comparison.base, comparison.new)),
        "gates": [
            {
                "metric": result.gate.metric,
                "class": result.gate.request_class,
                "threshold": result.gate.threshold,
                "failed": [case.key.test for case in result.failed],
                "inconclusive": [case.key.test for case in result.inconclusive],
                "hidden_by_machine": [case.key.test for case in result.hidden_by_machine],
                "judged": len(result.judged),
            }
            for result in comparison.gates
        ],
        "cases": [
            {
                "test": case.key.test,
                "class": case.key.request_class,
                "server": case.key.kind,
                "model": case.key.model,
                "rate": None if case.of_search else case.key.rate,
                **case.key.sizes._asdict(),
                "verdict": case.verdict,
                "machine_slowdown": case.slowdown,
                "metrics": {
                    metric: {
                        "base": _number(change.base),
                        "new": _number(change.new),
                        "change": "difference" if METRICS[metric].is_share else "ratio",
                        "value": _number(change.change.value),
                        **(_ends(change.change) if change.sampled else _ends(None)),
                        "verdict": change.verdict,
                        "reason": change.reason,
                        "machine": _number(change.by_machine),
                        "percentile_base": change.percentile and _number(change.percentile),
                        "beyond_base": change.beyond,
                        "failed": any(
                            gate.metric == metric and fails(gate, change)
                            for gate in gates_of(case, gates)
                        ),
                    }
                    for metric, change in case.changes.items()
                },
            }
            for case in comparison.cases
        ],
    }


def _run(run: Run) -> dict[str, Any]:
    return {"name": run.name, "started": run.started, "machine": dict(run.machine)}


def _ends(found: Range | None) -> dict[str, float | None]:
    if found is None:
        return {"low": None, "high": None}
    return {"low": _number(found.low), "high": _number(found.high)}


def as_github_action_benchmark(found: Compared) -> str:
    """Return the new values as ``customSmallerIsBetter`` of github-action-benchmark.

    Throughput is left out and success becomes failure, as smaller must be better.
    Infinite values are left out, as JSON has none.
    """
    items = []
    for name, case, change in _each(found.comparisons):
        metric, value = METRICS[change.metric], change.new
        shown = metric.written
        unit, factor = _UNITS[metric.kind]
        ends = _interval_of_new(case, metric.name)
        if metric.larger_is_better:
            if not metric.complement:
                continue
            shown, value, ends = metric.complement, 1 - value, ends and (1 - ends[1], 1 - ends[0])
        if not math.isfinite(value):
            continue
        item: dict[str, Any] = {
            "name": f"{name}: {shown}",
            "unit": unit,
            "value": _rounded(factor * value),
        }
        if ends is not None and math.isfinite(ends[1]):
            item["range"] = f"{_rounded(factor * ends[0])} to {_rounded(factor * ends[1])}"
        item["extra"] = _extra(change)
        items.append(item)
    return to_json(items) + "\n"


def as_bmf(found: Compared) -> str:
    """Return the new values in Bencher's Metric Format; units are in the measures' names.

    Infinite values are left out, as JSON has none.
    """
    measures: dict[str, dict[str, dict[str, float]]] = {}
    for name, case, change in _each(found.comparisons):
        if not math.isfinite(change.new):
            continue
        kind = METRICS[change.metric].kind
        factor = _UNITS[kind][1]
        entry = {"value": _rounded(factor * change.new)}
        ends = _interval_of_new(case, change.metric) or ()
        for key, end in zip(("lower_value", "upper_value"), ends, strict=False):
            if math.isfinite(end):
                entry[key] = _rounded(factor * end)
        measures.setdefault(name, {})[f"{change.metric}_{_MEASURES[kind]}"] = entry
    return to_json(measures) + "\n"


def _each(comparisons: Sequence[Comparison]) -> list[tuple[str, CaseComparison, Change]]:
    several = len(comparisons) > 1
    return [
        (f"{clean(one.new.name)}: {name}" if several else name, case, change)
        for one in comparisons
        for name, case in zip(labels(one.cases), one.cases, strict=True)
        for change in case.changes.values()
    ]


def _interval_of_new(case: CaseComparison, metric: str) -> tuple[float, float] | None:
    """Return the interval of the new value; for repeats, one that covers all of theirs."""
    found = [interval(one.summary.estimates.get(metric)) for one in case.pair.new]
    known = [ends for ends in found if ends is not None]
    return (min(k[0] for k in known), max(k[1] for k in known)) if known else None


def _extra(change: Change) -> str:
    metric, found = METRICS[change.metric], interval_text(change)
    new, base = (quantity(metric.kind, value) for value in (change.new, change.base))
    text = f"{metric.written} {new}, base {base}: {change_text(change.metric, change.change.value)}"
    ends = "" if found == MISSING else f" (95 % interval {found})"
    return f"{text}{ends}, {verdict_text(change, ())}"


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
