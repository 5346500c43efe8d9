"""The caption of a figure: what its marks mean, what was measured, and with what."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from pytest_servebench.analysis.precision import is_percentile
from pytest_servebench.objectives.goodput import slo_clauses
from pytest_servebench.objectives.limits import of_each_request
from pytest_servebench.report.capacity_chart import CapacityPanel, never_broken
from pytest_servebench.report.facts import (
    date_text,
    distinct,
    fairness_texts,
    machine_text,
    server_text,
    servers,
    traffic_text,
)
from pytest_servebench.report.panels import CPU, GOODPUT, MEMORY, PSS, Panel
from pytest_servebench.runs.results import CaseResult, Run
from pytest_servebench.runs.titles import server_titles
from pytest_servebench.text.numbers import DIGEST_LENGTH, plain
from pytest_servebench.text.quantity import trimmed
from pytest_servebench.text.safe import clean, first_few, joined

_MOST_NAMES: Final = 4
_MOST_COUNTS: Final = 8


def subtitle(cases: Sequence[CaseResult]) -> str:
    """Return the model and the programs that served it, with their versions."""
    models = distinct(clean(case.model) for case in cases)
    titles = server_titles(cases)
    implementations = [
        server_text(titles[kind], server, protocol=False) for kind, server in servers(cases).items()
    ]
    return f"{' / '.join(models)} on {', '.join(implementations)}"


def marks(cases: Sequence[CaseResult], panels: Sequence[Panel], curves: int) -> str:
    """Return the meaning of the marks that are present."""
    valid = [case for case in cases if case.measured]
    sampled = [name for panel, name in ((CPU, "CPU"), (MEMORY, "memory")) if panel in panels]
    notes = []
    if valid and not {MEMORY, PSS}.issuperset(panels):
        notes.append("Bars: 95 % intervals.")
    if valid and sampled:
        what = joined(sampled)
        notes.append(
            f"{what[:1].upper()}{what[1:]}: markers at the mean, dashes at the highest sample."
        )
    if curves > 1:
        notes.append("Curves stand side by side at each rate, so that equal ones can all be seen.")
    shown = [panel for panel in panels if is_percentile(panel.metric)]
    points = [point for panel in shown for case in valid if (point := panel.point(case))]
    if any(one.value == math.inf for one in points):
        notes.append(
            "A failed request ranks as infinitely slow; ▲ at the top edge: so many failed that the "
            "percentile itself is infinite."
        )
    if not all(one.resolved for one in points):
        notes.append(
            "Hollow: too few independent requests for this percentile; the true value may be far "
            "higher."
        )
    broken = [
        clause for case in valid for clause in case.clauses
        if clause.verdict == "failed" and any(panel.is_about(clause) for panel in panels)
    ]  # fmt: skip
    if broken:
        kinds = sorted({"the gate" if one.is_gate else "the SLO" for one in broken})
        notes.append(f"Outlined: {' or '.join(kinds)} is broken.")
    if GOODPUT in panels and (texts := _limits(valid)):
        notes.append(f"Goodput: successes per second that kept {texts}.")
    unseen = [case for case in valid if case.resources.cpu_mean is None]
    if unseen and sampled:
        notes.append(
            f"CPU and memory are not visible: {', '.join(server_titles(unseen).values())}."
        )
    return " ".join(notes)


def _limits(cases: Iterable[CaseResult]) -> str:
    """Return the limits of requests that count towards the goodput."""
    sets = distinct(
        joined(clean(str(one.clause)) for one in of_each_request(slo_clauses(case)))
        for case in cases
    )
    return ", or by case ".join(sets)


def capacity_marks(panels: Sequence[CapacityPanel]) -> str:
    """Return the meaning of the marks that are present in the panels of capacities."""
    found = panels[0].found if panels else ()
    known = [(panel, mark) for panel in panels for one in panel.found for mark in one.marks]
    notes = []
    if any(one.closed for one in found):
        notes.append("Bands: 95 % intervals of the capacities, with a line at the estimate.")
    if any(one.band is not None and not one.closed for one in found):
        notes.append(
            "A pale band: the search ended without an interval, but what lies beyond is ruled out."
        )
    if any(one.band is None and one.middle is not None for one in found):
        notes.append(
            "A dashed line without band: too few requests broke the limit for an interval."
        )
    if known:
        notes.append(
            "Each mark is a probe. It kept or broke the limit if its own interval lies on one side "
            "of the bound, and is undecided otherwise; the capacity rests on all probes together, "
            "without the seconds in which each settles."
        )
    if known and any(one.result.slowdowns for one in found):
        notes.append(
            "The machine's speed varied: each mark is at the speed of its probe, the capacity at "
            "the median speed."
        )
    if any(mark.point.low is not None for _, mark in known):
        notes.append("Bars: 95 % intervals of single probes, where both ends are known.")
    beyond = {rate for panel in panels for rate in panel.beyond}
    if beyond:
        ends = " to ".join(dict.fromkeys(trimmed(rate) for rate in (min(beyond), max(beyond))))
        notes.append(f"Left out because far above every capacity: probes at {ends}/s.")
    if any(mark.point.value == math.inf for _, mark in known):
        notes.append("▲ at the top edge: so many failed that the percentile itself is infinite.")
    if any(mark.point.value == 0 for _, mark in known):
        notes.append("At the lower edge: no request broke the limit.")
    if known and (texts := never_broken([one.result for one in found])):
        notes.append(f"No request broke {' or '.join(texts)}.")
    return " ".join(notes)


def measured(run: Run) -> list[str]:
    """Return paragraphs: numbers of requests, load, servers, machine, and what was left out."""
    digests = distinct(clean(case.weights_sha256)[:DIGEST_LENGTH] for case in run.cases)
    weights = f"Weights sha256 {' / '.join(digests)}. " if digests else ""
    paragraphs = [
        f"{_counts(run.cases)} Load: {traffic_text(run.cases)}. "
        f"{weights}Servers: {'; '.join(fairness_texts(run))}. "
        f"Machine: {machine_text(run.machine)}. {_origin(run)}."
    ]
    invalid = [case for case in run.cases if not case.measured]
    if invalid:
        paragraphs.append(f"Left out because the measurement is invalid: {case_names(invalid)}.")
    return paragraphs


def _origin(run: Run) -> str:
    """Return where the figures come from: the run, its date and the program that measured."""
    parts = [f"Run {clean(run.name)}", date_text(run.started)]
    if version := run.versions.get("pytest-servebench"):
        parts.append(f"pytest-servebench {clean(version)}")
    return ", ".join(part for part in parts if part)


def case_names(cases: Iterable[CaseResult]) -> str:
    """Return the names of the first few cases, and how many more there are."""
    return first_few([clean(case.name) for case in cases], _MOST_NAMES)


def _counts(cases: Sequence[CaseResult]) -> str:
    numbers: dict[float, set[int]] = {}
    for case in cases:
        if case.measured:
            numbers.setdefault(case.rate, set()).add(case.summary.arrivals)
    every = [number for known in numbers.values() for number in known]
    if not every:
        return "n = 0."
    if len(numbers) > _MOST_COUNTS:
        return f"n = {min(every)} to {max(every)} requests per case."
    shown = trimmed if any(case.probe for case in cases) else plain
    parts = [
        f"{'-'.join(str(end) for end in sorted({min(known), max(known)}))} at {shown(rate)}/s"
        for rate, known in sorted(numbers.items())
    ]
    return f"n = {', '.join(parts)} (requests per case)."
