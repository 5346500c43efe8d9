"""Whether the answers were right, if only some of them were checked.

A wrong answer among those that were checked is a ``bad_response``, not a success. What this says
about the unchecked answers is a separate clause: the share of right answers, with Wilson's
interval, must meet what the SLOs ask of the success rate or the error rate.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from pytest_servebench.metrics import ERROR_RATE, SUCCESS_RATE
from pytest_servebench.objectives.slo_grammar import parse_slo
from pytest_servebench.runs.results import CaseResult, ClauseResult, VerdictWord
from pytest_servebench.stats.intervals import wilson_interval
from pytest_servebench.stats.ratios import Range

CLAUSE: Final = "right answers"


def judge_answers(result: CaseResult) -> ClauseResult | None:
    """Return a clause on the unchecked answers; ``None`` if there is no doubt.

    Args:
        result: with its SLOs judged. The bound is the strictest SLO on the success rate or the
            error rate. Without one, the clause fails if every checked answer was wrong, and is
            inconclusive if only some were.
    """
    others = unchecked(result)
    return right_answers(
        checked=result.answers_checked, wrong=result.answers_wrong, others=others,
        required=list(_least_shares(result)), most=result.answers_checked + others,
    )  # fmt: skip


def unchecked(result: CaseResult) -> int:
    """Return how many answers count as successes without having been checked."""
    return result.summary.outcomes.get("ok", 0) - (result.answers_checked - result.answers_wrong)


def right_answers(
    *, checked: int, wrong: int, others: int, required: Sequence[float], most: int
) -> ClauseResult | None:
    """Return a clause on unchecked answers; ``None`` if there is no doubt.

    Args:
        checked: how many were.
        wrong: how many of these were wrong.
        others: how many were not checked, and count as successes.
        required: shares of right answers that SLOs require.
        most: number of answers to check that checks all of every load.
    """
    if not wrong or others <= 0:
        return None
    right = Range.of(wilson_interval(1 - wrong / checked, checked))
    bound = max(required, default=1.0)
    verdict: VerdictWord
    if right.high < bound and (required or wrong == checked):
        verdict, word = "failed", "broken"
    elif right.low >= bound:
        verdict, word = "passed", "met"
    else:
        verdict, word = "inconclusive", "inconclusive"
    message = (
        f"{CLAUSE}: {word}: {wrong:,} of the {checked:,} answers checked are wrong, and "
        f"{others:,} unchecked ones count as successes; {100 * right.low:.3g} to "
        f"{100 * right.high:.3g} % of all answers are right (95 % interval)"
    )
    if required:
        message += f"; the SLO requires {100 * bound:g} %"
    return ClauseResult(
        clause=CLAUSE,
        metric=SUCCESS_RATE.name,
        bound=bound,
        value=right.value,
        low=right.low,
        high=right.high,
        verdict=verdict,
        message=f"{message}. --servebench-check-answers={most} checks all.",
        sort="answers",
    )


def _least_shares(result: CaseResult) -> Iterator[float]:
    """Yield the shares of right answers that the SLOs require."""
    for one in result.clauses:
        if one.sort != "slo" or one.request_class:  # the class of wrong answers is unknown
            continue
        for clause in parse_slo(one.clause):
            if clause.metric == SUCCESS_RATE.name and clause.at_least:
                yield clause.bound
            elif clause.metric == ERROR_RATE.name and not clause.at_least:
                yield 1 - clause.bound
