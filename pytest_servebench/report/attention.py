"""What a reader must see before any number: invalid, failed and undecided cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pytest_servebench.report.facts import cell_name
from pytest_servebench.report.figures import with_verdict
from pytest_servebench.report.tables import Line, Markup, line
from pytest_servebench.report.text import clean, counted, wrapped
from pytest_servebench.results import CaseResult, VerdictWord

_SHOWN: Final = 6  # cases of one verdict that are listed; a terminal is no place for hundreds

BLOCKS: Final[tuple[tuple[VerdictWord, str, Markup], ...]] = (
    ("invalid", "INVALID: the measuring device failed; these numbers say nothing about the server",
     {"red": True, "bold": True}),
    ("failed", "FAILED: the SLO is broken", {"red": True, "bold": True}),
    ("inconclusive", "inconclusive: the SLO cannot be decided by what was measured",
     {"yellow": True}),
)  # fmt: skip


def reasons(case: CaseResult) -> list[str]:
    """Return why the case has its verdict, a line each."""
    if case.verdict == "invalid":
        return [clean(case.invalid_reason or "no reason is recorded")]
    return [clean(one.message) for one in case.clauses if one.verdict == case.verdict]


def attention_lines(cases: Sequence[CaseResult], width: int) -> list[Line]:
    """Return the cases that are not simply good, the worst first; nothing where all passed.

    They are told by what they have in common: pytest shows the message of each one by itself.
    """
    lines: list[Line] = []
    for verdict, heading, markup in BLOCKS:
        found = with_verdict(cases, verdict)
        if not found:
            continue
        share = f"{len(found)} of {counted(len(cases), 'case')}"
        lines += [line(text, **markup) for text in wrapped("", f"{heading} ({share})", width)]
        alike: dict[str, list[str]] = {}
        for case in found:
            for cause in causes(case):
                alike.setdefault(cause, []).append(cell_name(case.name))
        for cause, names in alike.items():
            shown = ", ".join(names[:_SHOWN])
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            everywhere = len(names) == len(cases) > 1
            text = f"{cause.rstrip('.')}: " + ("all cases" if everywhere else shown + more)
            lines += [line(one) for one in wrapped("", text, width, indent=2)]
    return lines


def causes(case: CaseResult) -> list[str]:
    """Return what cases of one verdict may have in common: reasons, or the clauses in question."""
    if case.verdict == "invalid":
        return reasons(case)
    return [clean(one.clause) for one in case.clauses if one.verdict == case.verdict]
