"""What must be seen before any figure: dead servers, invalid, failed and inconclusive cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_servebench.objectives.hints import buffering, hints, search_hints
from pytest_servebench.report.facts import cell_name, test_id, test_labels
from pytest_servebench.report.figures import Standing, standing
from pytest_servebench.runs.results import CapacityResult, CaseResult, ClauseSort, Run, ServerDeath
from pytest_servebench.text.safe import clean, counted, first_few, wrapped
from pytest_servebench.text.tables import Line, Markup, line

_SHOWN: Final = 6  # cases listed per cause; a terminal has no room for hundreds

_RED: Final[Markup] = {"red": True, "bold": True}
_BLOCKS: Final[tuple[tuple[Standing, bool, str, str, Markup], ...]] = (
    ("invalid", False, "INVALID",
     "the measuring device failed; these numbers say nothing about the server", _RED),
    ("failed", True, "FAILED", "", _RED),
    ("invalid", True, "INVALID",
     "the load generator's own lateness decides the SLO; the other figures hold", _RED),
    ("test-failed", True, "test failed",
     "no SLO of this load was broken; the test failed for another reason", _RED),
    ("inconclusive", True, "inconclusive", "the measurement cannot decide the SLO",
     {"yellow": True}),
    ("excused", True, "excused", ", but pytest did not fail the test, as it was expected to fail "
     "or skipped itself", {"yellow": True}),
)  # fmt: skip
_BROKEN: Final[Mapping[ClauseSort, str]] = {
    "slo": "the SLO is broken",
    "gate": "the gate against the baseline failed",
    "answers": "too many answers are wrong",
    "successes": "no request succeeded",
}


@dataclass(frozen=True)
class Block:
    """Cases that need attention for the same reason.

    Attributes:
        standing: of all of them.
        word: for the standing.
        meaning: of the word.
        markup: how a terminal shows it.
        cases: the cases.
    """

    standing: Standing
    word: str
    meaning: str
    markup: Markup
    cases: tuple[CaseResult, ...]


def blocks(cases: Sequence[CaseResult]) -> list[Block]:
    """Return the cases that did not simply pass, the worst first."""
    found = []
    for where, measured, word, meaning, markup in _BLOCKS:
        own = tuple(case for case in cases if standing(case) == where and case.measured == measured)
        if own:
            broken = _broken(own) if where in ("failed", "excused") else ""
            found.append(Block(where, word, broken + meaning, markup, own))
    return found


def _broken(cases: Sequence[CaseResult]) -> str:
    sorts = {one.sort for case in cases for one in case.clauses if one.verdict == "failed"}
    return " or ".join(text for sort, text in _BROKEN.items() if sort in sorts)


_OWN_FAILURES: Final = (
    "pytest failed the test for a reason other than this load",
    "the test had an error in setup or teardown, not in this load",
)


def reasons(case: CaseResult) -> list[str]:
    """Return the reasons for the case's standing, a line each."""
    if standing(case) == "test-failed":
        return [_OWN_FAILURES[case.test_outcome == "error"]]
    if not case.measured:
        return [clean(case.invalid_reason or "no reason is recorded")]
    return [clean(one.message) for one in case.clauses if one.verdict == case.verdict]


def capacity_reasons(one: CapacityResult) -> list[str]:
    """Return the reasons for the standing of a capacity, a line each."""
    if standing(one) == "test-failed":
        return [_OWN_FAILURES[one.test_outcome == "error"]]
    told = [clean(clause.message) for clause in one.clauses if clause.verdict == one.verdict]
    return told or [clean(one.reason)]


def server_troubles(run: Run) -> list[str]:
    """Return what happened to servers and to cases without a result, a sentence each.

    Deaths of one kind for one reason share a sentence.
    """
    alike: dict[tuple[str, str], list[ServerDeath]] = {}
    for death in run.deaths:
        alike.setdefault((death.kind, clean(death.reason)), []).append(death)
    texts = []
    for (_, reason), deaths in alike.items():
        tests = first_few([cell_name(death.test) for death in deaths], _SHOWN)
        logs = first_few([clean(death.log_file) for death in deaths if death.log_file], _SHOWN)
        times = f" {len(deaths)} times" if len(deaths) > 1 else ""
        texts.append(
            f"{clean(deaths[0].implementation)} died{times}: {reason.rstrip('.:')}; found in "
            + tests + (f"; {'logs' if len(deaths) > 1 else 'log'}: {logs}" if logs else "")
        )  # fmt: skip
    if not run.finished:
        texts.append(
            "not finished: the session was interrupted, killed or is still running; this is what "
            "it has measured so far"
        )
    if run.not_measured:
        # Without the number of all: a part of a run's cases may be shown.
        texts.append(f"not measured: {counted(run.not_measured, 'selected case')}")
    return texts


def doubts(run: Run) -> list[str]:
    """Return what other than the server may have made cases look bad, a sentence each."""
    names = _names(run.cases)
    alike: dict[str, list[str]] = {}
    for case in run.cases:
        bad = case.summary.outcomes.get("dropped") or case.verdict != "passed"
        for text in hints(case) if bad else buffering(case):
            alike.setdefault(text, []).append(names[id(case)])
    for one in run.capacities:
        for text in search_hints(one, run.probes):
            alike.setdefault(text, []).append(clean(one.name))
    return [f"{text}: {first_few(where, _SHOWN)}" for text, where in alike.items()]


def _names(cases: Sequence[CaseResult]) -> dict[int, str]:
    """Return the name of each case, with its test if there are several."""
    labels = test_labels(cases)
    cells = {id(case): cell_name(case.name) for case in cases}
    if len(labels) < 2:
        return cells
    return {id(case): f"{labels[test_id(case)]}[{cells[id(case)]}]" for case in cases}


def attention_lines(run: Run, width: int) -> list[Line]:
    """Return what did not simply pass, the worst first; nothing if all passed.

    Cases are grouped by what they have in common: pytest shows each one's own message.
    """
    cases = run.cases
    names = _names(cases)
    # Cases may have been skipped, or the session ended, on purpose.
    markup: Markup = {"red": True, "bold": True} if run.deaths else {"yellow": True}
    lines = [
        line(one, **markup) for text in server_troubles(run) for one in wrapped("", text, width)
    ]
    lines += [
        line(one, yellow=True) for text in doubts(run) for one in wrapped("doubtful: ", text, width)
    ]
    for block in blocks(cases):
        share = f"{len(block.cases)} of {counted(len(cases), 'case')}"
        heading = wrapped("", f"{block.word}: {block.meaning} ({share})", width)
        lines += [line(text, **block.markup) for text in heading]
        alike: dict[str, list[str]] = {}
        for case in block.cases:
            for cause in causes(case):
                alike.setdefault(cause, []).append(names[id(case)])
        for cause, where in alike.items():
            everywhere = len(where) == len(cases) > 1
            which = "all cases" if everywhere else first_few(where, _SHOWN)
            text = f"{cause.rstrip('.')}: {which}"
            lines += [line(one) for one in wrapped("", text, width, indent=2)]
    return lines + _capacity_lines(run, width)


def _capacity_lines(run: Run, width: int) -> list[Line]:
    """Return the capacities that did not simply pass; those without a clause have a note."""
    lines = []
    for one in run.capacities:
        word = standing(one)
        if word != "passed" and (one.clauses or word == "test-failed"):
            markup: Markup = {"yellow": True} if word == "inconclusive" else {"red": True}
            for reason in capacity_reasons(one):
                text = f"{word.replace('-', ' ')}: {cell_name(one.name)}: {reason}"
                lines += [line(part, **markup) for part in wrapped("", text, width, indent=2)]
    return lines


def causes(case: CaseResult) -> list[str]:
    """Return what cases of one verdict may have in common: reasons, or clauses."""
    if not case.measured or standing(case) == "test-failed":
        return reasons(case)
    return [clean(one.clause) for one in case.clauses if one.verdict == case.verdict]
