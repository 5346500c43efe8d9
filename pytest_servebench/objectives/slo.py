"""Service-level objectives: judging a case's figures by their intervals.

The language is in :mod:`pytest_servebench.objectives.slo_grammar`. A clause is *passed* if the
whole 95 % interval of the measured value meets it, *failed* if none of it does, and *inconclusive*
otherwise.

* A percentile whose interval is open because too few requests were that slow may still be judged by
  a bound far above: it has a ceiling (:mod:`pytest_servebench.stats.episodes`), which then is the
  upper end of the clause's interval.
* ``max``, ``cpu`` and ``memory`` describe this run, and are judged by their values;
  ``cpu_per_request`` is a cost of the server, and judged by its interval.
* ``success_rate>=100%`` and ``error_rate<=0`` cannot be proved with any number of requests: they
  are judged as statements about this run.
* ``throughput>=95%`` compares the successes inside the window with the arrivals that the schedule
  really had: the luck of the schedule (10 arrivals/s for 15 s are 150 give or take 24) does not
  count for or against the server.

Every clause is judged twice: with the latencies as measured, from the schedule, and with all that
the generator's own lag may have added subtracted from each. If both verdicts agree, lateness did
not matter; if not, this clause, and only this one, is *invalid*.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Final

from pytest_servebench.metrics import METRICS, Metric
from pytest_servebench.objectives.goodput import hidden_limits
from pytest_servebench.objectives.hints import hints
from pytest_servebench.objectives.limits import Limit
from pytest_servebench.objectives.slo_grammar import Clause, parse_slo
from pytest_servebench.runs.results import CaseResult, ClauseResult, VerdictWord
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.stats.intervals import wilson_interval
from pytest_servebench.stats.ratios import Range
from pytest_servebench.text.quantity import Kind, quantity, trimmed
from pytest_servebench.values.reading import Reading

__all__ = ["Clause", "failure_message", "judge", "overall", "parse_slo"]

_Z2: Final = 3.841  # square of the normal distribution's two-sided 95 % quantile
_FAR: Final = 100  # no advice to run more than this many times as long


def judge(clauses: Sequence[Clause], result: CaseResult) -> tuple[ClauseResult, ...]:
    """Return the verdict on each clause, in their order."""
    hidden = "goodput" not in result.summary.estimates and hidden_limits(result, clauses)
    return tuple(
        _unknown_goodput(clause, hidden[0])
        if hidden and METRICS[clause.metric].given_limits
        else _judge_one(clause, result)
        for clause in clauses
    )


def overall(clause_results: Sequence[ClauseResult]) -> VerdictWord:
    """Return the verdict on a case; passed without clauses.

    A clause that failed regardless of lateness fails the case, whatever the other clauses say.
    """
    words = {one.verdict for one in clause_results}
    order: tuple[VerdictWord, ...] = ("failed", "invalid", "inconclusive")
    return next((word for word in order if word in words), "passed")


def with_clauses(result: CaseResult, further: Iterable[ClauseResult]) -> CaseResult:
    """Return a case with further clauses, and the verdict on all of them."""
    clauses = (*result.clauses, *further)
    return dataclasses.replace(result, clauses=clauses, verdict=overall(clauses))


def clause_messages(result: CaseResult, clauses: Sequence[ClauseResult]) -> list[str]:
    """Return the messages of a case's clauses, with the label of the case if it has one."""
    of = f"{result.label}: " if result.label else ""
    return [f"{of}{one.message}" for one in clauses]


def failure_message(result: CaseResult, clause_results: Sequence[ClauseResult]) -> str:
    """Return a message of several lines with every clause, the broken ones first.

    pytest's short summary shows only the first line, after the test's id.
    """
    order: dict[VerdictWord, str] = {
        "failed": "broken",
        "invalid": "invalid",
        "inconclusive": "inconclusive",
        "passed": "met",
    }
    counts = [
        f"{number} {word}"
        for verdict, word in order.items()
        if (number := sum(one.verdict == verdict for one in clause_results))
    ]
    summary = result.summary
    lost = [f"{number} {word}" for word, number in summary.outcomes.items() if number]
    ranked = sorted(clause_results, key=lambda one: list(order).index(one.verdict))
    return "\n".join(
        [
            *clause_messages(result, ranked),
            f"{result.name}: {', '.join(counts) or 'no clauses'}",
            f"  {result.server.implementation} at {result.rate:g} {result.unit}s/s for "
            f"{result.duration:g} s, {result.sizes}: {summary.arrivals} requests "
            f"({', '.join(lost) or 'none'})",
            *(f"  {text}" for text in failure_texts(result)),
            *(f"  {text}" for text in hints(result)),
        ]
    )


def failure_texts(result: CaseResult, most: int = 5) -> list[str]:
    """Return the most common reasons why requests failed, a line each."""
    ranked = sorted(result.failures.items(), key=lambda one: -one[1])
    lines = [f"{number} x {reason}" for reason, number in ranked[:most]]
    return [*lines, f"and {len(ranked) - most} other reasons"] if len(ranked) > most else lines


# -- one clause -----------------------------------------------------------------------------------


def _judge_one(clause: Clause, result: CaseResult) -> ClauseResult:
    if clause.request_class:
        result = result.of_class(clause.request_class)
    found = _judge_figures(clause, result)
    if not result.summary.without_lag:
        return found
    unlagged = result.without_lag()
    punctual = _judge_figures(clause, unlagged)
    if punctual.verdict == found.verdict:
        return found
    return dataclasses.replace(
        found,
        verdict="invalid",
        message=f"{clause}: {lateness_decides(result)}: "
        f"{_known(clause, _measure(clause, result), result)} as measured ({found.verdict}), "
        f"{_known(clause, _measure(clause, unlagged), unlagged)} without its lag "
        f"({punctual.verdict}); the bound {quantity(clause.kind, found.bound)}",
    )


def _unknown_goodput(clause: Clause, limit: Limit) -> ClauseResult:
    """Return the verdict on a goodput of requests that may have kept a limit or not."""
    message = f"{clause}: inconclusive: it is unknown which requests kept {limit.clause}"
    return ClauseResult(
        str(clause), clause.metric, clause.bound, None, None, None, "inconclusive", message,
        request_class=clause.request_class,
    )  # fmt: skip


def lateness_decides(result: CaseResult) -> str:
    """Return the message for a clause that depends on the generator's lateness, with its lag."""
    lag = result.summary.generator_lag
    worst = quantity("time", lag.max or 0.0)
    return f"invalid: the load generator's own lateness (up to {worst}) decides it"


def _judge_figures(clause: Clause, result: CaseResult) -> ClauseResult:
    measured = _measure(clause, result)
    bound = clause.bound * result.summary.achieved_rate if clause.relative else clause.bound
    verdict = _verdict(clause, bound, measured)
    return ClauseResult(
        clause=str(clause),
        metric=clause.metric,
        bound=bound,
        value=_finite(measured.value),
        low=_finite(measured.low),
        high=_finite(measured.high),
        verdict=verdict,
        request_class=clause.request_class,
        message=f"{clause}: {_words(clause, bound, measured, verdict, result)}",
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _measure(clause: Clause, result: CaseResult) -> Reading:
    metric, summary = METRICS[clause.metric], result.summary
    if clause.relative:
        return _share_of_load(metric, result)
    reading = metric.read(result)
    if metric.of_run:
        return dataclasses.replace(reading, low=None, high=None)
    if reading.high == math.inf:
        reading = dataclasses.replace(reading, high=reading.ceiling)
    if reading.value is None and metric.outcomes and summary.arrivals:  # no estimate of the share
        counted = sum(summary.outcomes.get(word, 0) for word in metric.outcomes)
        return _reading(wilson_interval(counted / summary.arrivals, summary.arrivals))
    return reading


def _share_of_load(metric: Metric, result: CaseResult) -> Reading:
    summary = result.summary
    if summary.arrivals == 0:
        return Reading(None, unknown="no request arrived in the window")
    share = summary.estimates.get(metric.share_of_load)
    if share is None or None in (share.value, share.low, share.high):
        kept = min(1.0, summary.throughput / summary.achieved_rate)
        share = wilson_interval(kept, summary.arrivals)
    return _reading(share, summary.achieved_rate)


def _reading(share: Estimate, scale: float = 1.0) -> Reading:
    found = Range.of(share).through(lambda value: value * scale)
    return Reading(found.value, found.low, found.high)


def _verdict(clause: Clause, bound: float, measured: Reading) -> VerdictWord:
    if measured.value is None:
        return "inconclusive"
    if measured.low is None or measured.high is None or clause.of_run:
        return "passed" if clause.met_by(measured.value, bound) else "failed"
    ends = (clause.met_by(measured.low, bound), clause.met_by(measured.high, bound))
    if ends == (True, True):
        return "passed"
    return "failed" if ends == (False, False) else "inconclusive"


# -- words ----------------------------------------------------------------------------------------


def _words(
    clause: Clause, bound: float, measured: Reading, verdict: VerdictWord, result: CaseResult
) -> str:
    if measured.value is None:
        return f"inconclusive: {measured.unknown}"
    known = _known(clause, measured, result)
    against = f"the bound {quantity(clause.kind, bound)}"
    if clause.relative:
        against += f" ({100 * clause.bound:g} % of the schedule's arrivals)"
    gap = abs(measured.value - bound)
    distance = f"by {_gap(clause.kind, gap)}{_relative(gap, bound)}"
    if verdict == "failed":
        if math.isinf(measured.value):
            failed = result.summary.arrivals - result.summary.outcomes.get("ok", 0)
            return (
                f"broken: {known}: {failed} of {result.summary.arrivals} requests failed, "
                f"which counts as infinitely slow; {against}"
            )
        return f"broken: {known} misses {against} {distance}"
    if verdict == "passed":
        return f"met: {known} meets {against} {distance}"
    return f"inconclusive: {known}; {against}: {_why(clause, bound, measured, result)}"


def _gap(kind: Kind, gap: float) -> str:
    # The difference between two percentages is in percentage points.
    if kind in ("share", "cpu"):
        return f"{quantity(kind, gap).removesuffix(' %')} points"
    return quantity(kind, gap)


def _relative(gap: float, bound: float) -> str:
    if bound == 0 or math.isinf(gap):
        return ""
    if gap > 10 * bound:
        times = min(gap / bound, 1e9)
        return f" ({'over ' if times == 1e9 else ''}{trimmed(times)} times the bound)"
    return f" ({trimmed(100 * gap / bound)} %)"


def _known(clause: Clause, measured: Reading, result: CaseResult) -> str:
    assert measured.value is not None
    value = quantity(clause.kind, measured.value)
    if METRICS[clause.metric].of_server and measured.low is None:
        return value
    number = result.summary.arrivals
    requests = f"{number} request{'' if number == 1 else 's'}"
    if measured.low is None or measured.high is None:
        return f"{value} ({requests})"
    if math.isinf(measured.low):
        return f"{value} ({requests})"
    ends = f"{quantity(clause.kind, measured.low)} to {quantity(clause.kind, measured.high)}"
    return f"{value} (95 % interval {ends}; {requests})"


def _why(clause: Clause, bound: float, measured: Reading, result: CaseResult) -> str:
    """Return why the clause is undecided, and what would decide it."""
    number, metric = result.summary.arrivals, METRICS[clause.metric]
    needed = metric.enough
    assert measured.value is not None
    assert measured.low is not None
    assert measured.high is not None
    if number < needed and math.isinf(measured.high):
        return (
            f"{number} requests are too few for {metric.written}, which needs {needed}: "
            f"{_seconds(needed / result.request_rate)} at {_rate(result)}"
        )
    if (clause.kind == "share" or clause.relative) and clause.met_by(measured.value, bound):
        # Wilson's interval of a share of k/k = 1 ends at n / (n + z^2).
        room = 1 - clause.bound if clause.at_least else clause.bound
        least = math.ceil(_Z2 * (1 - room) / room) if room > 1e-9 else 0
        if number < least:
            return (
                f"{number} requests are too few to prove it; {least} without a miss would: "
                f"{_seconds(least / result.request_rate)} at {_rate(result)}"
            )
    text = "the interval contains the bound"
    reach = measured.high if bound > measured.value else measured.low
    gap, width = abs(bound - measured.value), abs(reach - measured.value)
    # Intervals shrink with the square root of the run's length.
    ratio = width / gap if gap > 0 and math.isfinite(width) else math.inf
    times = ratio * ratio
    if times <= _FAR:
        longer = math.ceil(10 * max(times, 1.1)) / 10
        return f"{text}; about {_seconds(longer * result.duration)} instead of " \
            f"{_seconds(result.duration)} would settle it"  # fmt: skip
    if math.isinf(measured.value):
        failed = number - result.summary.outcomes.get("ok", 0)
        return f"{text}; {failed} of {number} requests failed, which counts as infinitely slow"
    if math.isinf(width):
        why = (
            "the window is too short for an interval" if metric.of_server
            else "successive latencies are so correlated that it takes a longer run"
        )  # fmt: skip
        return f"{text}; {why}"
    return f"{text}, and the value is too close to it for a longer run to settle it"


def _rate(result: CaseResult) -> str:
    of_class = " of this class" if result.request_class else ""
    return f"{trimmed(result.request_rate)}/s{of_class}"


def _seconds(value: float) -> str:
    return f"{trimmed(value) if value < 100 else round(value)} s"
