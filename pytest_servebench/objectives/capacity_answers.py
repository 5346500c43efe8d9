"""Whether the requests of a search for a capacity were answered, and correctly.

A search counts the requests that break a limit. It cannot see that nothing succeeds at any rate, of
all requests or of a class that has a limit, nor that unchecked answers count as successes although
the checked ones are wrong.
"""

from collections.abc import Iterator, Sequence

from pytest_servebench.load.records import Outcome
from pytest_servebench.metrics import METRICS
from pytest_servebench.objectives.answers import right_answers, unchecked
from pytest_servebench.objectives.slo_grammar import Clause, parse_slo
from pytest_servebench.objectives.successes import no_success
from pytest_servebench.runs.results import CapacityResult, CaseResult, ClauseResult


def judge_probes(result: CapacityResult, probes: Sequence[CaseResult]) -> tuple[ClauseResult, ...]:
    """Return clauses on the answers of a search's loads; none if they are as they should be.

    Args:
        result: what it found.
        probes: its loads, with their records.
    """
    measured = [one for one in probes if one.measured]
    return tuple(_clauses(result, measured)) if measured else ()


def _clauses(result: CapacityResult, probes: Sequence[CaseResult]) -> Iterator[ClauseResult]:
    slowest = min(probes, key=lambda one: one.rate)
    limited = {clause.request_class: None for clause in _limits(result)}
    nothing = [_no_success(probes), *(_no_success(_of_class(probes, name)) for name in limited)]
    if found := next(filter(None, nothing), None):
        yield found
        return
    # An overloaded server may answer wrongly: that matters only if it counts towards its capacity.
    top = result.value or result.low or slowest.rate
    kept = [one for one in probes if one.rate <= top]
    clause = right_answers(
        checked=sum(one.answers_checked for one in kept),
        wrong=sum(one.answers_wrong for one in kept),
        others=sum(map(unchecked, kept)),
        required=list(_required(result)),
        most=max((one.answers_checked + unchecked(one) for one in kept), default=0),
    )
    if clause is not None and clause.verdict != "passed":
        yield clause


def _of_class(probes: Sequence[CaseResult], name: str) -> list[CaseResult]:
    """Return the parts of the loads that are about a class, where a request of it came."""
    parts = [one.of_class(name) for one in probes if name in one.class_names]
    return [one for one in parts if one.summary.arrivals]


def _no_success(probes: Sequence[CaseResult]) -> ClauseResult | None:
    """Return a broken clause, that of the lowest rate, if no request of any load succeeded."""
    if any(no_success(one) is None for one in probes):
        return None
    return no_success(min(probes, key=lambda one: one.rate)) if probes else None


def _limits(result: CapacityResult) -> Iterator[Clause]:
    return (clause for limit in result.limits for clause in parse_slo(limit.clause))


def _required(result: CapacityResult) -> Iterator[float]:
    """Yield the shares of right answers that those limits require that wrong answers break."""
    for limit in result.limits:
        (clause,) = parse_slo(limit.clause)
        if clause.request_class:  # the class of wrong answers is unknown
            continue
        outcomes = METRICS[clause.metric].outcomes
        # At least so many of these outcomes, or at most so many; times have none.
        if not outcomes or (Outcome.BAD_RESPONSE.label in outcomes) is not clause.at_least:
            yield 1 - limit.allowed
