"""The comparison of two runs, for a terminal of 100 columns and as Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from pytest_servebench.analysis.changes import NOISE, Change
from pytest_servebench.analysis.comparability import Difference
from pytest_servebench.analysis.compare import (
    CaseComparison,
    Comparison,
    GateResult,
    fails,
    gates_of,
    hidden_by_machine,
)
from pytest_servebench.analysis.machine_effects import machine_text
from pytest_servebench.analysis.pairs import key_text
from pytest_servebench.metrics import METRICS
from pytest_servebench.objectives.gates import Gate
from pytest_servebench.report.comparison_notes import conclusion, notes, of_machine
from pytest_servebench.report.facts import date_text, distinct
from pytest_servebench.report.markdown import escaped, table_head, table_row
from pytest_servebench.runs.results import Run
from pytest_servebench.text.numbers import INFINITE, MISSING
from pytest_servebench.text.quantity import quantity
from pytest_servebench.text.safe import clean, clip, counted, joined, wrapped
from pytest_servebench.text.tables import (
    PLAIN,
    Cell,
    Column,
    Line,
    Markup,
    heading_lines,
    lay_out,
    line,
    row_line,
)

_COLUMNS: Final = (
    Column("", right=False),
    Column("base"),
    Column("new"),
    Column("change"),
    Column("95 % interval"),
    Column("verdict", right=False, shrinks=13),
)
_MARKUP: Final[Mapping[str, Markup]] = {
    "worse": {"red": True, "bold": True},
    "better": {"green": True},
    "cannot tell": {"light": True},
}
_SIGNS: Final = {"worse": "❌", "better": "✅", "same": "", "cannot tell": "❔"}


# -- words ----------------------------------------------------------------------------------------


def percent_change(ratio: float) -> str:
    """Return a ratio as a change, such as ``+16 %``; as a factor from ten on."""
    if math.isnan(ratio):
        return MISSING
    if math.isinf(ratio):
        return INFINITE
    if ratio >= 10:
        return f"×{ratio:.3g}" if ratio < 1e4 else f"×{ratio:.0e}"
    return _signed(100 * (ratio - 1), 1 if abs(ratio - 1) < 0.0995 else 0) + " %"


def point_change(difference: float) -> str:
    """Return a difference of shares in percentage points, such as ``-0.25 pp``."""
    if math.isnan(difference):
        return MISSING
    return _signed(100 * difference, 2 if abs(difference) < 0.00995 else 1) + " pp"


def _signed(value: float, decimals: int) -> str:
    text = f"{value:+.{decimals}f}"
    return "0" if float(text) == 0 else text


def change_text(metric: str, value: float) -> str:
    """Return a change for people."""
    return point_change(value) if METRICS[metric].is_share else percent_change(value)


def interval_text(change: Change) -> str:
    """Return the 95 % interval of a change; memory and unknown values have none."""
    low, high = change.change.low, change.change.high
    if not change.sampled or math.isinf(low) or (low <= 0 and math.isinf(high)):
        return MISSING
    return f"{change_text(change.metric, low)} to {change_text(change.metric, high)}"


def beyond_text(change: Change) -> str:
    """Return the share of NEW's requests that exceeded BASE's percentile, with its own.

    Empty where the requests were not compared.
    """
    permille = METRICS[change.metric].permille
    if change.beyond is None or change.percentile is None or permille is None:
        return ""
    return (
        f"{quantity('share', change.beyond)} of its requests exceeded "
        f"{quantity('time', change.percentile)}, {100 - permille / 10:g} % in BASE"
    )


def worse_text(metric: str, amount: float) -> str:
    """Return a change for the worse, from how much worse it is, such as ``-10 %``."""
    if not math.isfinite(amount):
        return INFINITE
    signed = -amount if METRICS[metric].larger_is_better else amount
    return change_text(metric, signed if METRICS[metric].is_share else 1 + signed)


def labels(cases: Sequence[CaseComparison]) -> list[str]:
    """Return the display name of each case: the test's id, with its file if needed."""
    short = [clean(case.key.test.rpartition("::")[2] if "[" not in case.key.test
                   else case.key.test.partition("[")[0].rpartition("::")[2]
                   + "[" + case.key.test.partition("[")[2]) for case in cases]  # fmt: skip
    return short if len(set(short)) == len(short) else [key_text(case.key) for case in cases]


def run_text(run: Run) -> str:
    """Return a run's name, date and servers."""
    programs = distinct(clean(one.server.implementation) for one in run.results)
    parts = (clean(run.name), date_text(run.started), "; ".join(programs))  # "uvicorn 1, onnx 2; …"
    return ", ".join(part for part in parts if part)


def verdict_text(change: Change, gates: Sequence[Gate], *, brief: bool = False) -> str:
    """Return a verdict with its explanation.

    Args:
        change: what it is about.
        gates: those that may fail by it.
        brief: whether notes say what the machine's speed may have done.
    """
    broken = [str(gate) for gate in gates if gate.metric == change.metric and fails(gate, change)]
    told = f": {change.told}" if change.told else ""
    if broken:
        return f"WORSE, fails {joined(broken)}{told}"
    if change.verdict == "cannot tell" and change.reason not in ("", NOISE):
        if brief and of_machine(change):
            return "cannot tell: the machine's speed"
        return f"cannot tell: {change.reason}"
    return ("WORSE" if change.verdict == "worse" else change.verdict) + told


def undecided_text(gate: Gate, change: Change) -> str:
    """Return why a gate is inconclusive."""
    if hidden_by_machine(gate, change):
        return machine_text(change.machine)
    return change.reason or NOISE


def gate_text(result: GateResult, names: Mapping[int, str]) -> str:
    """Return the outcome of a gate, and the smallest change it could have detected."""
    metric, number = result.gate.metric, len(result.judged)
    if not number:
        return "not judged: no case has this metric in both runs"
    unknown = f"; unknown in {counted(result.unknown, 'more case')}" if result.unknown else ""
    if result.failed:
        worst, text = _worst(result.failed, metric, names if number > 1 else {})
        text = "; ".join(filter(None, (text, beyond_text(worst))))
        return f"FAILED in {len(result.failed)} of {counted(number, 'case')}: {text}{unknown}"
    changes = [case.changes[metric] for case in result.judged]
    # Neither ends nor a percentile that is finite again depend on noise.
    decided = [one.told or (one.verdict == "better" and not one.change.value) for one in changes]
    seen = [one.detectable for one, known in zip(changes, decided, strict=True) if not known]
    blind = sum(not math.isfinite(one) or one >= 1e3 for one in seen)
    finite = [one for one in seen if math.isfinite(one) and one < 1e3]
    text = "passed"
    if unsure := len(result.inconclusive):
        text = "inconclusive" + (f" in {unsure} of {counted(number, 'case')}" if number > 1 else "")
        if result.hidden_by_machine:
            worst, told = _worst(result.hidden_by_machine, metric, names if number > 1 else {})
            text += f": {told}; {undecided_text(result.gate, worst)}"
    if finite:
        ends = distinct(worse_text(metric, one) for one in (min(finite), max(finite)))
        text += f"; noise would hide a change of less than {' to '.join(ends)}"
    if blind:
        text += f"; {blind} of {counted(number, 'case')} cannot tell: too few requests"
    return text + unknown


def _worst(
    cases: Sequence[CaseComparison], metric: str, names: Mapping[int, str]
) -> tuple[Change, str]:
    """Return the change for the worst of some cases, and it in words, with the name that it has."""
    worst = max(cases, key=lambda case: case.changes[metric].worse_by)
    change, kind = worst.changes[metric], METRICS[metric].kind
    values = change.told or f"{quantity(kind, change.base)} to {quantity(kind, change.new)}"
    where = f" in {names[id(worst)]}" if names else ""
    return change, f"{change_text(metric, change.change.value)}{where} ({values})"


# -- a terminal -----------------------------------------------------------------------------------


def comparison_lines(
    comparison: Comparison,
    allowed: Sequence[Difference] = (),
    *,
    width: int = 100,
    every: bool = False,
) -> list[Line]:
    """Return the comparison as lines of coloured parts.

    Args:
        comparison: what was found.
        allowed: differences between the runs that were allowed.
        width: columns of the terminal.
        every: whether to show all metrics.
    """
    lines = [
        line(text)
        for name, run in (("BASE", comparison.base), ("NEW", comparison.new))
        for text in wrapped(f"{name:<6}", run_text(run), width)
    ]
    lines += [
        line(text, yellow=True)
        for one in allowed
        for text in wrapped("allowed: ", f"{one.about}: {one.text}", width)
    ]
    lines += [line(""), *_table(comparison, width, every), line("")]
    names = _names(comparison)
    label = max((len(str(result.gate)) for result in comparison.gates), default=0) + 2
    for result in comparison.gates:
        color: Markup = {"red": True, "bold": True} if result.failed else PLAIN
        lines += [
            line(text, **color)
            for text in wrapped(f"{result.gate!s:<{label}}", gate_text(result, names), width)
        ]
    return lines + [line(text) for note in notes(comparison, every) for text in
                    wrapped("", note, width)]  # fmt: skip


def _names(comparison: Comparison) -> dict[int, str]:
    return {
        id(case): name
        for case, name in zip(comparison.cases, labels(comparison.cases), strict=True)
    }


def _metrics(case: CaseComparison, every: bool) -> Sequence[str]:
    return list(case.changes) if every else case.shown


def _table(comparison: Comparison, width: int, every: bool) -> list[Line]:
    gates = [result.gate for result in comparison.gates]
    rows = [
        [
            _row(case.changes[metric], gates_of(case, gates), brief=True)
            for metric in _metrics(case, every)
        ]
        for case in comparison.cases
    ]
    layout = lay_out(_COLUMNS, [row for block in rows for row in block], width)
    lines = heading_lines(_COLUMNS, layout)
    for case, name, block in zip(comparison.cases, labels(comparison.cases), rows, strict=True):
        shown = clip(name, width - len(_repeats(case)))
        lines.append(((shown, {"bold": True}), (_repeats(case), {"light": True})))
        lines += [row_line(_COLUMNS, row, layout) for row in block]
    return lines


def _repeats(case: CaseComparison) -> str:
    numbers = (len(case.pair.base), len(case.pair.new))
    if max(numbers) == 1:
        return ""
    texts = distinct(map(str, numbers))
    return f"  {' and '.join(texts)} repeats"


def _row(change: Change, gates: Sequence[Gate], *, brief: bool = False) -> list[Cell]:
    metric, markup = METRICS[change.metric], _MARKUP.get(change.verdict, PLAIN)
    return [
        Cell(f"  {metric.written}"),
        Cell(quantity(metric.kind, change.base)),
        Cell(quantity(metric.kind, change.new)),
        Cell(change_text(change.metric, change.change.value)),
        Cell(interval_text(change), {"light": True}),
        Cell(verdict_text(change, gates, brief=brief), markup),
    ]


# -- Markdown -------------------------------------------------------------------------------------


def comparison_markdown(
    comparison: Comparison, allowed: Sequence[Difference] = (), *, every: bool = False
) -> str:
    """Return the comparison for a CI job's summary; arguments as of :func:`comparison_lines`."""
    sure = "cannot tell" if comparison.undecided else "better"
    sign = _SIGNS["worse" if comparison.worse else sure]
    lines = [f"### {sign} {escaped(conclusion(comparison))}", ""]
    for name, run in (("BASE", comparison.base), ("NEW", comparison.new)):
        lines.append(f"* {name}: {escaped(run_text(run))}")
    lines += [f"* ⚠️ allowed: {one.about}: {escaped(one.text)}" for one in allowed]
    names = _names(comparison)
    for result in comparison.gates:
        mark = _SIGNS[{"failed": "worse", "passed": "better"}.get(result.verdict, "cannot tell")]
        lines.append(f"* {mark} `{result.gate}` {escaped(gate_text(result, names))}")
    lines.append("")
    headings = ("case", "metric", *(column.heading for column in _COLUMNS[1:]))
    lines += table_head(headings, (False, False, *(column.right for column in _COLUMNS[1:])))
    gates = [result.gate for result in comparison.gates]
    for case in comparison.cases:
        name = names[id(case)]
        for metric in _metrics(case, every):
            change = case.changes[metric]
            cells = [cell.text.strip() for cell in _row(change, gates_of(case, gates))]
            cells[-1] = f"{_SIGNS[change.verdict]} {cells[-1]}".strip()
            lines.append(table_row([name, *cells]))
            name = ""
    return "\n".join([*lines, "", *(escaped(note) + "  " for note in notes(comparison, every)), ""])
