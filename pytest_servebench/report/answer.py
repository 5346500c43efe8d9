"""The run's question, and its answer in a few sentences, the same in terminal and page.

Which server for which load; or, if there is only one, up to which rate it meets its SLOs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

from pytest_servebench.analysis.evaluation import Compared, Evaluation
from pytest_servebench.metrics import METRICS, STREAMED_POINTS, has_streams, standing_in
from pytest_servebench.objectives.successes import CLAUSE as SUCCESS
from pytest_servebench.report.figures import percentile
from pytest_servebench.report.sessions import rate_text
from pytest_servebench.report.variants import cell_tests
from pytest_servebench.runs.node_ids import cell_id
from pytest_servebench.runs.results import CaseResult, ServerDeath
from pytest_servebench.runs.titles import server_titles
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.text.numbers import plain
from pytest_servebench.text.quantity import quantity
from pytest_servebench.text.safe import abridged, clean, counted, first_few, joined

_EVIDENCE: Final = [one.name for metrics in STREAMED_POINTS.values() for one in metrics]
_LONGEST_TITLE: Final = 60  # characters
_MOST_NAMES: Final = 4  # of servers that tie
_RUNNERS_UP: Final = 2  # places after the first that are named


def question(cases: Sequence[CaseResult]) -> str:
    """Return what a run of these cases can answer."""
    titles = list(server_titles(cases).values())
    if len(titles) != 1:
        return "Which server for which load?"
    title = abridged(titles[0], _LONGEST_TITLE)
    if not any(case.clauses for case in cases):
        return f"How fast does {title} answer?"
    several = len({case.rate for case in cases}) > 1
    return f"{'Up to which rate does' if several else 'Does'} {title} meet its SLOs?"


def answer(
    cases: Sequence[CaseResult], evaluation: Evaluation, deaths: Sequence[ServerDeath] = ()
) -> list[str]:
    """Return a sentence for the lowest rate and one for the highest; for one server, on its SLOs.

    There are more if servers died or have no cell in common.

    Args:
        cases: of the run, those under load.
        evaluation: of these cases.
        deaths: servers that died while tests needed them.
    """
    texts = _measured(cases, evaluation)
    return [*texts, _died(cases, deaths)] if deaths else texts


def _measured(cases: Sequence[CaseResult], evaluation: Evaluation) -> list[str]:
    valid = [case for case in cases if case.measured]
    if not cases:
        return ["Nothing was measured."]
    if not valid:
        servers = "the servers" if len(server_titles(cases)) > 1 else "the server"
        return [f"No measurement is valid, so nothing can be said about {servers}."]
    rates = sorted({point.rate for point in evaluation.points})
    if not rates:
        kinds = list(server_titles(valid))
        if len(kinds) == 1:
            return list(_one(kinds[0], cases))
        return [
            "No two servers have a valid measurement in the same cell (test, parameters, rate and "
            "sizes), so none can be preferred.",
            *(" ".join(_one(kind, cases)) for kind in kinds),
        ]
    tell = _choice if len(evaluation.servers) == 2 else _order
    return [tell(rate, evaluation, valid) for rate in dict.fromkeys((rates[0], rates[-1]))]


def _died(cases: Sequence[CaseResult], deaths: Sequence[ServerDeath]) -> str:
    """Return which servers died and how often, which may be why they have no figures."""
    titles = server_titles(cases)
    names = {one.kind: titles.get(one.kind) or clean(one.implementation) for one in deaths}
    numbers = Counter(one.kind for one in deaths)
    texts = [
        f"{names[kind]} died {'once' if number == 1 else f'{number} times'}"
        for kind, number in numbers.items()
    ]
    return f"{'But ' if cases else ''}{joined(texts)} under test, which no figure here reflects."


# -- more than two servers ------------------------------------------------------------------------


def _order(rate: float, evaluation: Evaluation, valid: Sequence[CaseResult]) -> str:
    """Return which servers were beaten least at a rate, with the first one's figures."""
    here = [point for point in evaluation.points if point.rate == rate]
    names = evaluation.servers
    ranks = [rank for rank in evaluation.ranking(rate) if rank.among]
    alike, unknown = _undecided(here)
    text = f"At {rate_text(rate, valid)}"
    if not any(point.pairs for point in here):
        number = len({kind for point in here for kind in point.values})
        text += f", no measured difference between the {number} servers exceeds noise."
        alike = []
    else:
        groups: dict[tuple[int, int], list[str]] = {}
        for rank in ranks:
            groups.setdefault((rank.unbeaten, rank.among), []).append(rank.kind)
        (most, among), first = next(iter(groups.items()))
        told = [
            f"{_named(first, names)} {'were' if len(first) > 1 else 'was'} unbeaten in {most} of "
            f"{among} comparisons{_figures(first[0], here, valid, names)}"
            f"{_broken(first[0], rate, valid)}"
        ]
        rest = list(groups.items())[1:]
        told += [
            f"{'then ' if not place else ''}{_named(kinds, names)} ({count} of {number})"
            for place, ((count, number), kinds) in enumerate(rest[:_RUNNERS_UP])
        ]
        left = sum(len(kinds) for _, kinds in rest[_RUNNERS_UP:])
        told += [f"and {left} more"] if left else []
        text += f", {'; '.join(told)}."
    if alike:
        text += f" No difference beyond noise in {joined(alike)}."
    return text + (f" Not enough was measured to compare {joined(unknown)}." if unknown else "")


def _named(kinds: Sequence[str], names: Mapping[str, str]) -> str:
    words = [names[kind] for kind in kinds]
    return joined(words) if len(words) <= _MOST_NAMES else first_few(words, _MOST_NAMES)


def _figures(
    kind: str, here: Sequence[Compared], valid: Sequence[CaseResult], names: Mapping[str, str]
) -> str:
    """Return a server's value of the first metric in which servers differ, and the worst one.

    Empty if servers only differ in metrics that are unknown for this one.
    """
    some = [point for point in here if point.pairs and point.values.get(kind) is not None]
    if not some:
        return ""
    point = min(some, key=lambda one: (kind not in one.unbeaten, _EVIDENCE.index(one.metric)))
    metric = METRICS[point.metric]
    sign = -1 if metric.larger_is_better else 1
    known = {one: value for one, value in point.values.items() if value is not None}
    worst = max(known, key=lambda one: sign * known[one])
    where = _place(point, here, valid)
    noun = f"{metric.point.statistic if metric.point else ''} {metric.title}".strip()
    text = f": {where}{noun} {_value(point, kind, valid)} for {names[kind]}"
    if worst == kind:
        return text
    return f"{text}, up to {quantity(metric.kind, known[worst])} for {names[worst]}"


# -- two servers ----------------------------------------------------------------------------------


def _choice(rate: float, evaluation: Evaluation, valid: Sequence[CaseResult]) -> str:
    here = [point for point in evaluation.points if point.rate == rate]
    names = {
        kind: name for kind, name in evaluation.servers.items()
        if any(kind in point.values for point in here)
    }  # fmt: skip
    totals = {kind: sum(point.winner == kind for point in here) for kind in names}
    most = max(totals.values())
    ahead = [kind for kind in names if totals[kind] == most]
    comparisons = counted(len(here), "comparison")
    alike, unknown = _undecided(here)
    start = f"At {rate_text(rate, valid)}"
    if most == 0:
        start += f", no measured difference between {joined(names.values())} exceeds noise."
        alike = []
    elif len(ahead) > 1:
        won = joined(f"{names[kind]} in {_won(kind, here)}" for kind in ahead)
        start += (
            f", {joined(names[kind] for kind in ahead)} tie: each did better "
            f"in {most} of {comparisons}, {won}."
        )
    else:
        best = ahead[0]
        rest = joined(
            f"{names[kind]} in " + (f"{won} ({_won(kind, here)})" if won else "none")
            for kind, won in totals.items()
            if kind != best
        )
        start += (
            f", {names[best]} did better in {most} of {comparisons} ({_won(best, here)}), {rest}: "
            f"{_evidence(best, here, valid, names)}{_broken(best, rate, valid)}."
        )
    if alike:
        start += f" No difference beyond noise in {joined(alike)}."
    return start + (f" Not enough was measured to compare {joined(unknown)}." if unknown else "")


def _won(kind: str, here: Sequence[Compared]) -> str:
    won = (_short(point.metric) for point in here if point.winner == kind)
    return joined(dict.fromkeys(won))


def _undecided(here: Sequence[Compared]) -> tuple[list[str], list[str]]:
    """Return the metrics in which no server did better: within noise, and without figures."""
    alike: list[str] = []
    unknown: list[str] = []
    for metric in dict.fromkeys(point.metric for point in here):
        rows = [point for point in here if point.metric == metric]
        if any(row.winner or row.pairs for row in rows):
            continue
        decidable = any(not row.too_few and len(row.known) > 1 for row in rows)
        (alike if decidable else unknown).append(_short(metric))
    return alike, unknown


def _short(name: str) -> str:
    metric = METRICS[name]
    return (metric.point and metric.point.short) or metric.title


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
    where = _place(point, here, valid)
    metric = METRICS[point.metric]
    noun = f"{metric.point.statistic if metric.point else ''} {metric.title}".strip()
    return f"{where}{noun} {_value(point, best, valid)} against {joined(texts)}"


def _place(point: Compared, here: Sequence[Compared], valid: Sequence[CaseResult]) -> str:
    """Return in which of several cells the comparison was made; empty if there is only one."""
    cells = {one.cell for one in here}
    if len(cells) == 1:
        return ""
    test = cell_tests([case for case in valid if cell_id(case) in cells])[point.cell]
    return f"{f'in {test} ' if test else ''}with {point.sizes}, "


def _value(
    point: Compared, kind: str, valid: Sequence[CaseResult], named: str = "95 % interval "
) -> str:
    value = point.values.get(kind)
    if value is None:
        return "not known"
    unit = METRICS[point.metric].kind
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
    unit = METRICS[metric].kind
    high = math.inf if estimate.high is None else estimate.high
    return f" ({named}{quantity(unit, estimate.low)} to {quantity(unit, high)})"


def _broken(best: str, rate: float, valid: Sequence[CaseResult]) -> str:
    mine = [case for case in valid if case.server.kind == best and case.rate == rate]
    failed = [case for case in mine if case.verdict == "failed"]
    if not failed:
        return ""
    return f"; but it broke its SLO in {len(failed)} of {counted(len(mine), 'case')}"


# -- one server -----------------------------------------------------------------------------------


def _one(kind: str, cases: Sequence[CaseResult]) -> tuple[str, str]:
    """Return up to which rate a server met its SLOs, and its latencies at the highest rate."""
    every = [case for case in cases if case.server.kind == kind]
    mine = [case for case in every if case.measured]
    titles = server_titles(cases)
    title = titles[kind]
    rates = sorted({case.rate for case in mine})
    highest = [case for case in mine if case.rate == rates[-1]]
    number = f" ({counted(len(highest), 'case')})" if len(highest) > 1 else ""
    measured = (
        f"At {rate_text(rates[-1], mine)}{', the highest rate' if len(rates) > 1 else ''}{number}: "
    )
    shown = standing_in("overview")
    if has_streams(highest):
        shown += standing_in("overview", streamed=True)
    known = groupby(shown, key=lambda one: _latencies(highest, one.name))
    texts = (f"{joined([one.written for one in alike])} {text}" for text, alike in known)
    second = f"{measured}{', '.join(texts)}."
    judged = [case for case in mine if case.clauses]
    if not judged:
        alone = "alone, " if len(titles) == 1 else ""
        return f"{title} was measured {alone}without an SLO.", second
    return f"{title} {_kept(judged, sorted({case.rate for case in every}))}.", second


def _kept(cases: Sequence[CaseResult], rates: Sequence[float]) -> str:
    """Return at which of all ``rates`` SLOs were met, broken and undecided."""
    worst = {
        rate: next((w for w in ("failed", "invalid", "inconclusive") if w in words), "passed")
        for rate in rates
        if (words := {case.verdict for case in cases if case.rate == rate})
    }
    parts = []
    if kept := [rate for rate in worst if worst[rate] == "passed"]:
        parts.append(f"met every SLO {_at(kept, rates, cases)}")
    for word, verb in (("failed", "broke"), ("inconclusive", "could not be judged on")):
        places: dict[str, set[float]] = {}
        found = [(case.rate, one) for case in cases for one in case.clauses
                 if worst[case.rate] == word == one.verdict]  # fmt: skip
        for rate, one in found:
            places.setdefault(clean(one.clause), set()).add(rate)
        alike: dict[str, list[str]] = {}
        for clause, there in places.items():
            alike.setdefault(_at(sorted(there), rates, cases), []).append(clause)
        for where, clauses in alike.items():
            what = "had no success" if clauses == [SUCCESS] else f"{verb} {joined(clauses)}"
            parts.append(f"{where} it {what}" if parts else f"{what} {where}")
    return "; ".join(parts) or "could not be judged: the generator's own lateness decides its SLOs"


def _at(some: Sequence[float], rates: Sequence[float], cases: Sequence[CaseResult]) -> str:
    """Return where ``some`` of all ``rates`` of some cases are; both ascend."""
    first, last = (rate_text(rate, cases) for rate in (some[0], some[-1]))
    if len(some) == 1:
        return f"at {first}"
    if some == rates:
        return f"at all rates up to {last}"
    start = rates.index(some[0])
    if some == rates[start : start + len(some)]:
        if not start:
            return f"up to {last}"
        if some[-1] == rates[-1]:
            return f"from {first} on"
        return f"from {plain(some[0])} to {last}"
    return f"at {joined([*map(plain, some[:-1]), last])}"


def _latencies(cases: Sequence[CaseResult], name: str) -> str:
    """Return a percentile of one case with its interval, or from the lowest to the highest."""
    known = [percentile(case.summary, name) for case in cases]
    values = [one.value for one in known if one.value is not None and one.resolved]
    if not values:
        few = any(one.value is not None for one in known)
        return "cannot be estimated from so few requests" if few else "not known"
    low, high = min(values), max(values)
    if math.isinf(low):
        return "infinite, as too many requests failed"
    if len(cases) == 1:
        estimate = cases[0].summary.estimates.get(name)
        return quantity("time", low) + _ends(name, estimate, "95 % interval ")
    left = len(cases) - len(values)
    untold = f" (unknown, or too few independent requests, in {left})" if left else ""
    return f"{_span(low, high)}{untold}"


def _span(low: float, high: float) -> str:
    first, last = quantity("time", low), quantity("time", high)
    if math.isinf(high):
        return f"{first} to infinite, as too many requests failed"
    return first if first == last else f"{first} to {last}"
