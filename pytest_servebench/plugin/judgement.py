"""Judge results by SLOs, and decide the outcome of a test."""

from collections.abc import Callable, Collection, Iterable, Sequence

import pytest

from pytest_servebench.errors import (
    InvalidMeasurementError,
    OptionError,
    ServebenchWarning,
    SLOSyntaxError,
)
from pytest_servebench.load.classes import unknown_class
from pytest_servebench.objectives.answers import judge_answers
from pytest_servebench.objectives.gates import Gate
from pytest_servebench.objectives.goodput import slo_clauses, with_goodput
from pytest_servebench.objectives.slo import (
    Clause,
    clause_messages,
    failure_message,
    judge,
    parse_slo,
    with_clauses,
)
from pytest_servebench.objectives.successes import judge_successes, unasked_failures
from pytest_servebench.plugin.own_warnings import warn
from pytest_servebench.plugin.settings import InconclusivePolicy, Settings
from pytest_servebench.plugin.state import session_of
from pytest_servebench.runs.results import CaseResult


class InconclusiveWarning(ServebenchWarning):
    """The measurement is inconclusive for an SLO."""


class FailedRequestsWarning(ServebenchWarning):
    """Some requests failed, and no SLO limits how many may fail."""


class BadIsAskedWarning(ServebenchWarning):
    """An SLO asks for many failures, or few successes."""


class NoLoadWarning(ServebenchWarning):
    """A test requests a load but never sends it."""


def marked_slos(item: pytest.Item) -> tuple[Clause, ...]:
    """Return the clauses of the test's ``slo`` markers.

    Raises:
        SLOSyntaxError: an expression is malformed.
    """
    return tuple(
        clause
        for marker in item.iter_markers("slo")
        for expression in marker.args
        for clause in parse_slo(expression)
    )


def clauses_of(expressions: Iterable[str]) -> list[Clause]:
    """Return the clauses of SLOs that a test checks.

    Raises:
        SLOSyntaxError: an expression is malformed.
    """
    __tracebackhide__ = True
    try:
        return [clause for text in expressions for clause in parse_slo(text)]
    except SLOSyntaxError as error:
        raise error.with_traceback(None) from None  # the message points into the expression


def slos_of(item: pytest.Item) -> tuple[Clause, ...]:
    """Return the clauses of the test's ``slo`` markers and of ``--servebench-slo``."""
    return (*marked_slos(item), *session_of(item.config).settings.slos)


def refuse_unstreamed(clauses: Iterable[Clause], fixture: str, *, streamed: bool) -> None:
    """Refuse clauses on streamed answers if a load, made by ``fixture``, has none.

    Raises:
        OptionError: there is such a clause; the message gives the remedy.
    """
    __tracebackhide__ = True
    if not streamed and (found := [clause for clause in clauses if clause.of_streams]):
        raise OptionError(
            f"{found[0]}: only streamed answers have it, and those of this load are not: give "
            f'{fixture} requests with stream=, such as HttpRequest(..., stream="openai"), or leave '
            "the clause out."
        )


def refuse_unknown_classes(
    asked: Iterable[Clause | Gate], classes: Collection[str], fixture: str
) -> None:
    """Refuse clauses and gates on a class of requests that a load, made by ``fixture``, has not.

    Raises:
        OptionError: there is one; the message names the classes that there are.
    """
    __tracebackhide__ = True
    for one in asked:
        if one.request_class and one.request_class not in classes:
            names = tuple(dict.fromkeys(classes))
            raise OptionError(
                f"{fixture}: {one}: {unknown_class(one.request_class, names)}. Leave it out, or "
                "select the tests that have the class by -k."
            )


def _warn_of_bad(item: pytest.Item, clauses: Iterable[Clause]) -> None:
    """Warn of clauses that only a bad server meets."""
    for one in dict.fromkeys(clauses):
        if one.asks_for_bad:
            warn(item, BadIsAskedWarning(
                f"{one}: only a bad server meets this; if that is not what the test is for, give "
                f"{one.other_way}"
            ))  # fmt: skip


def judged(result: CaseResult, clauses: Iterable[Clause], max_lag: float) -> CaseResult:
    """Return the result with further clauses judged, each only once."""
    known = {clause.clause for clause in result.clauses}
    further = [one for one in clauses if str(one) not in known]
    result = with_goodput(result, further, max_lag)
    return with_clauses(result, judge(further, result))


def judge_case(result: CaseResult, item: pytest.Item, settings: Settings) -> CaseResult:
    """Return the result judged by the test's SLOs and by those of ``--servebench-slo``."""
    clauses = [one for one in slos_of(item) if not one.of_search]
    own = judged(result, clauses, settings.max_lag)
    return with_clauses(own, filter(None, (judge_answers(own), judge_successes(own))))


def spoilt(result: CaseResult) -> str | None:
    """Return why a judged result should be measured again, or ``None`` if it stands.

    A case with a clause that is broken regardless of lateness stands: measuring again would only
    give it a second chance.
    """
    if result.invalid_reason is not None:
        return result.invalid_reason
    if result.verdict == "failed":
        return None
    undecided = [one.message for one in result.clauses if one.verdict == "invalid"]
    return "; ".join(undecided) or None


def apply(
    results: Sequence[CaseResult],
    item: pytest.Item,
    policy: Callable[[CaseResult], InconclusivePolicy],
) -> None:
    """Fail, warn or skip the test, according to the verdicts and the user's policy.

    Args:
        results: of the test's loads.
        item: the test.
        policy: returns what to do with an inconclusive case.

    Raises:
        InvalidMeasurementError: the load generator was too late to judge a clause.
    """
    __tracebackhide__ = True
    if failed := [one for one in results if one.verdict == "failed"]:
        pytest.fail(_messages(failed), pytrace=False)
    if invalid := [one for one in results if one.verdict == "invalid"]:
        raise InvalidMeasurementError(_messages(invalid))
    for result in results:
        _warn_of_bad(item, slo_clauses(result))
        if (lost := unasked_failures(result)) is not None:
            warn(item, FailedRequestsWarning(lost))
    undecided = [(one, policy(one)) for one in results if one.verdict == "inconclusive"]
    if failed := [one for one, fate in undecided if fate == "fail"]:
        pytest.fail(_messages(failed), pytrace=False)
    for result, fate in undecided:
        if fate == "warn":
            told = [one for one in result.clauses if one.verdict == "inconclusive"]
            warn(item, InconclusiveWarning("\n".join(clause_messages(result, told))))
    if skipped := [one for one, fate in undecided if fate == "skip"]:
        pytest.skip(_messages(skipped))


def _messages(results: Iterable[CaseResult]) -> str:
    return "\n".join(failure_message(one, one.clauses) for one in results)
