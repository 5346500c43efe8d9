"""Whether any request succeeded, if no SLO requires it.

A wrong path, a missing key or a redirect is answered fast: without this check, a test in which the
server did no work would be green.
"""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import numpy as np

from pytest_servebench.load.records import Outcome
from pytest_servebench.load.transports.http2.grpc_status import GrpcStatus, is_known
from pytest_servebench.metrics import ERROR_RATE, SUCCESS_RATE
from pytest_servebench.objectives.slo import failure_texts
from pytest_servebench.runs.results import CaseResult, ClauseResult
from pytest_servebench.text.safe import sentence

CLAUSE: Final = "at least one success"

_REDIRECT: Final = "redirects are not followed: request the target itself"
_KEY: Final = 'send its credentials, such as HttpRequest(…, headers=(("Authorization", "…"),))'
_HINTS: Final[Mapping[int, str]] = MappingProxyType(
    {
        **dict.fromkeys((301, 302, 303, 307, 308), _REDIRECT),
        **dict.fromkeys((401, 403), _KEY),
        **dict.fromkeys((404, 405), "are path and method right?"),
        429: "the server limits the request rate",
    }
)
_GRPC_KEY: Final = (
    'send its credentials, such as GrpcRequest(…, metadata=(("authorization", "…"),))'
)
_GRPC_HINTS: Final[Mapping[int, str]] = MappingProxyType(
    {
        GrpcStatus.UNIMPLEMENTED: "are service and method right?",
        GrpcStatus.UNAUTHENTICATED: _GRPC_KEY,
        GrpcStatus.PERMISSION_DENIED: _GRPC_KEY,
        GrpcStatus.RESOURCE_EXHAUSTED: (
            "the server limits requests or their size, or has too few threads"
        ),
    }
)
# An SLO on the success or error rate decides about these; drops depend on the load.
_FAILURES: Final = tuple(
    outcome.label for outcome in Outcome if outcome not in (Outcome.OK, Outcome.DROPPED)
)


def judge_successes(result: CaseResult) -> ClauseResult | None:
    """Return a broken clause if no request succeeded and no SLO covers that; else ``None``.

    Args:
        result: with its SLOs judged.
    """
    return None if _asked(result) else no_success(result)


def no_success(result: CaseResult) -> ClauseResult | None:
    """Return a broken clause if no request succeeded; else ``None``."""
    arrivals, name = result.summary.arrivals, result.request_class
    whose = f" of the class {name}" if name else ""
    if result.summary.outcomes.get(Outcome.OK.label, 0):
        return None
    return ClauseResult(
        clause=CLAUSE,
        metric=SUCCESS_RATE.name,
        bound=1 / max(1, arrivals),
        value=0.0,
        low=None,
        high=None,
        verdict="failed",
        message=(
            f"{CLAUSE}: broken: none of {arrivals:,} requests{whose} succeeded: {_reasons(result)}"
        ),
        sort="successes",
        request_class=name,
    )


def unasked_failures(result: CaseResult) -> str | None:
    """Return a warning if some requests failed and no SLO says how many may."""
    outcomes = result.summary.outcomes
    failed = sum(outcomes.get(label, 0) for label in _FAILURES)
    if any(one.sort == "answers" for one in result.clauses):
        failed -= result.answers_wrong  # which have their own clause
    if not failed or not outcomes.get(Outcome.OK.label, 0) or _asked(result):
        return None
    return (
        f"{failed:,} of {result.summary.arrivals:,} requests failed: {sentence(_reasons(result))} "
        "No SLO says how many may: success_rate>=99% would (@pytest.mark.slo, --servebench-slo)"
    )


def _asked(result: CaseResult) -> bool:
    """Return whether SLOs say of all requests, or of each class, how many may fail."""
    asked = {
        one.request_class
        for one in result.clauses
        if one.metric in (SUCCESS_RATE.name, ERROR_RATE.name) and one.sort == "slo"
    }
    return "" in asked or (bool(result.classes) and asked.issuperset(result.class_names))


def _reasons(result: CaseResult) -> str:
    outcomes = result.summary.outcomes
    texts = failure_texts(result, 3)
    for label in (Outcome.DROPPED.label, Outcome.UNFINISHED.label):
        if number := outcomes.get(label, 0):
            texts.append(f"{number} x {label}")
    return "; ".join([*texts, *_meaning(result)])


def _meaning(result: CaseResult) -> list[str]:
    """Return what the most common error status means, and what to do about it."""
    if result.records is None:
        return []
    statuses = result.records.status[result.records.outcome == Outcome.ERROR_STATUS]
    if not len(statuses):
        return []
    values, numbers = np.unique(statuses, return_counts=True)
    status = int(values[numbers.argmax()])
    if is_known(status):  # no HTTP status is that small, and the reason has its name
        return [_GRPC_HINTS[status]] if status in _GRPC_HINTS else []
    try:
        words = f"{status} is {HTTPStatus(status).phrase}"
    except ValueError:  # not a registered one
        return []
    return [f"{words}: {_HINTS[status]}" if status in _HINTS else words]
