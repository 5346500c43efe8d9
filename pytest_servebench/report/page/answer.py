"""The run's question, answered in a sentence or two: which server for which load, how surely."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from pytest_servebench.evaluation import Evaluation, cell_id
from pytest_servebench.recommendation import Compared, cell_names
from pytest_servebench.report.facts import distinct, server_titles
from pytest_servebench.report.figures import percentile
from pytest_servebench.report.numbers import plain
from pytest_servebench.report.text import clean, counted, joined
from pytest_servebench.results import CaseResult, Estimate
from pytest_servebench.slo import quantity
from pytest_servebench.slo_grammar import METRICS

_EVIDENCE: Final = ("p50", "p99", "p95", "throughput", "success_rate", "cpu", "memory")
_NOUNS: Final[Mapping[str, str]] = {
    "success_rate": "success rate", "cpu": "mean CPU", "memory": "peak memory",
}  # fmt: skip


def answer(cases: Sequence[CaseResult], evaluation: Evaluation) -> list[str]:
    """Return one or two sentences; more where several servers have no cell in common."""
    valid = [case for case in cases if case.verdict != "invalid"]
    if not cases:
        return ["Nothing was measured."]
    if not valid:
        return ["No measurement is valid: nothing can be said about the servers."]
    rates = sorted({point.rate for point in evaluation.points})
    if not rates:
        kinds = list(server_titles(valid))
        if len(kinds) == 1:
            return list(_one(kinds[0], valid))
        return [
            "No two servers have a valid measurement in the same cell, so that none can be "
            "preferred.",
            *(" ".join(_one(kind, valid)) for kind in kinds),
        ]
    return [_choice(rate, evaluation, valid) for rate in dict.fromkeys((rates[0], rates[-1]))]


# -- several servers ------------------------------------------------------------------------------


def _choice(rate: float, evaluation: Evaluation, valid: Sequence[CaseResult]) -> str:
    here = [point for point in evaluation.points if point.rate == rate]
    kinds = [kind for kind in evaluation.servers if any(kind in point.values for point in here)]
    names = {kind: clean(evaluation.servers[kind]) for kind in kinds}
    totals = {kind: sum(point.winner == kind for point in here) for kind in kinds}
    most = max(totals.values())
    ahead = [kind for kind in kinds if totals[kind] == most]
    start = f"At {_rate(rate)}"
    if most == 0:
        return (
            f"{start}, nothing that was measured separates {joined(names.values())} beyond noise."
        )
    if len(ahead) > 1:
        return (
            f"{start}, no choice between {joined(names[kind] for kind in ahead)} follows: each did "
            f"better in {counted(most, 'comparison')} of {len(here)}."
        )
    best = ahead[0]
    others = [kind for kind in kinds if kind != best]
    score = ", ".join(str(totals[kind]) for kind in others)
    return (
        f"{start}, {names[best]} did better than {joined(names[kind] for kind in others)} "
        f"({counted(most, 'point')} to {score}): {_evidence(best, here, valid, names)}"
        f"{_broken(best, rate, valid)}."
    )


def _evidence(
    best: str, here: Sequence[Compared], valid: Sequence[CaseResult], names: Mapping[str, str]
) -> str:
    """Return the first of the metrics that matter in which the server did better."""
    mine = [point for point in here if point.winner == best]
    point = min(mine, key=lambda one: _EVIDENCE.index(one.metric))
    others = [kind for kind in point.values if kind != best]
    texts = [
        _value(point, kind, valid, "") + (f" of {names[kind]}" if len(others) > 1 else "")
        for kind in others
    ]
    cells = cell_names(here)
    test, place = cells[point.cell]
    where = f"{f'in {clean(test)} ' if test else ''}with {clean(place)}, " if len(cells) > 1 else ""
    noun = _NOUNS.get(point.metric, point.metric)
    return f"{where}{noun} {_value(point, best, valid)} against {joined(texts)}"


def _value(
    point: Compared, kind: str, valid: Sequence[CaseResult], named: str = "95 % interval "
) -> str:
    value = point.values.get(kind)
    if value is None:
        return "not known"
    unit = METRICS[point.metric]
    found = [
        case for case in valid
        if case.server.kind == kind and cell_id(case) == point.cell
    ]  # fmt: skip
    text = quantity(unit, value)
    if len(found) != 1:
        return text + (f" (median of {counted(len(found), 'repeat')})" if found else "")
    return text + _ends(point.metric, found[0].summary.estimates.get(point.metric), named)


def _ends(metric: str, estimate: Estimate | None, named: str) -> str:
    if estimate is None or estimate.low is None:
        return ""
    unit = METRICS[metric]
    high = math.inf if estimate.high is None else estimate.high
    return f" ({named}{quantity(unit, estimate.low)} to {quantity(unit, high)})"


def _broken(best: str, rate: float, valid: Sequence[CaseResult]) -> str:
    mine = [case for case in valid if case.server.kind == best and case.rate == rate]
    failed = [case for case in mine if case.verdict == "failed"]
    if not failed:
        return ""
    return f"; but it broke its SLO in {len(failed)} of {counted(len(mine), 'case')}"


# -- one server -----------------------------------------------------------------------------------


def _one(kind: str, valid: Sequence[CaseResult]) -> tuple[str, str]:
    """Return how far one server kept its SLOs, and its latencies at the highest rate."""
    mine = [case for case in valid if case.server.kind == kind]
    titles = server_titles(valid)
    title = titles[kind]
    rates = sorted({case.rate for case in mine})
    highest = [case for case in mine if case.rate == rates[-1]]
    number = f" ({counted(len(highest), 'case')})" if len(highest) > 1 else ""
    measured = f"At {_rate(rates[-1])}{', the highest rate' if len(rates) > 1 else ''}{number}: "
    texts = [f"{name} {_latencies(highest, name)}" for name in ("p50", "p99")]
    second = f"{measured}{', '.join(texts)}."
    if not any(case.clauses for case in mine):
        alone = "alone, " if len(titles) == 1 else ""
        return f"{title} was measured {alone}without an SLO.", second
    kept = [rate for rate in rates if all(c.verdict == "passed" for c in mine if c.rate == rate)]
    reach = 0
    while reach < len(rates) and rates[reach] in kept:
        reach += 1
    if reach == len(rates):
        until = "at" if len(rates) == 1 else "at all rates up to"
        return f"{title} kept every SLO {until} {_rate(rates[-1])}.", second
    first = rates[reach]
    there = [case for case in mine if case.rate == first]
    failed = distinct(
        clean(one.clause) for case in there for one in case.clauses if one.verdict == "failed"
    )
    undecided = distinct(
        clean(one.clause) for case in there for one in case.clauses if one.verdict == "inconclusive"
    )
    what = f"broke {joined(failed)}" if failed else f"could not be judged on {joined(undecided)}"
    if not reach:
        return f"{title} {what} at {_rate(first)}.", second
    kept_until = f"kept every SLO up to {_rate(rates[reach - 1])}"
    return f"{title} {kept_until}; at {_rate(first)} it {what}.", second


def _latencies(cases: Sequence[CaseResult], name: str) -> str:
    """Return a percentile of one case with its interval, or from the lowest to the highest."""
    known = [percentile(case.summary, name) for case in cases]
    values = [one.value for one in known if one.value is not None and one.resolved]
    if not values:
        few = any(one.value is not None for one in known)
        return "cannot be told from so few requests" if few else "not known"
    low, high = min(values), max(values)
    if math.isinf(low):
        return "infinite, as too many requests failed"
    if len(cases) == 1:
        estimate = cases[0].summary.estimates.get(name)
        return quantity("latency", low) + _ends(name, estimate, "95 % interval ")
    left = len(cases) - len(values)
    untold = f" (not known, or too few independent requests to tell, in {left})" if left else ""
    return f"{_span(low, high)}{untold}"


def _span(low: float, high: float) -> str:
    first, last = quantity("latency", low), quantity("latency", high)
    if math.isinf(high):
        return f"{first} to infinite, as too many requests failed"
    return first if first == last else f"{first} to {last}"


def _rate(rate: float) -> str:
    return f"{plain(rate)} request{'' if rate == 1 else 's'}/s"
