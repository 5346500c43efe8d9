"""What becomes of loads: judged and recorded when their test has ended, and then the test's fate.

A test may run more than once, as plugins that repeat failed tests have it: the last attempt is the
one that counts.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any

import pytest

from pytest_servebench.metrics import standing_in
from pytest_servebench.plugin import benchmark_bridge, judgement
from pytest_servebench.plugin.cases import is_load
from pytest_servebench.plugin.harmless_reports import make_harmless
from pytest_servebench.plugin.judgement import NoLoadWarning
from pytest_servebench.plugin.load_fixture import LOAD
from pytest_servebench.plugin.own_warnings import warn
from pytest_servebench.plugin.saving import keep
from pytest_servebench.plugin.session import ServebenchSession
from pytest_servebench.plugin.state import session_of
from pytest_servebench.runs.results import CaseResult, TestOutcome
from pytest_servebench.text.safe import clean

_PROPERTIES = "servebench."


def begin_attempt(item: pytest.Item) -> None:
    """Forget the loads of an earlier attempt; their results stay until this attempt has some."""
    item.stash[LOAD] = None
    session_of(item.config).recorded.outdate(item.nodeid)


def settle(item: pytest.Item) -> list[CaseResult]:
    """Judge and record the loads that a test has made since it was last asked for.

    Returns:
        the results whose verdicts the test must bear.
    """
    load = item.stash.get(LOAD, None)
    if load is None or load.settled == len(load.cases):
        return []
    fresh = load.cases[load.settled :]
    state = session_of(item.config)
    for case in fresh:
        case.result = load.judged(case.result)
        entry = state.recorded.add(case.result)
        if case is load.cases[0]:
            benchmark_bridge.forget(item.config, item.nodeid, but=load.benchmark)
            benchmark_bridge.attach(load.benchmark, entry, valid=case.result.measured)
    load.settled = len(load.cases)
    keep(state)
    item.user_properties[:] = [
        *_without_ours(item.user_properties),
        *(pair for one in state.recorded.of(item.nodeid) for pair in _properties(one)),
    ]
    return [case.result for case in fresh if case.result.measured]


def running(item: pytest.Item) -> bool:
    """Tell whether a load is being made in some thread."""
    load = item.stash.get(LOAD, None)
    return load is not None and load.turn.taken


def end_call(item: pytest.Item, *, failed: bool, with_fixture: bool) -> None:
    """Conclude the load of a test whose function has ended.

    Args:
        item: the test.
        failed: whether it has failed already, so that the load cannot let it fail.
        with_fixture: whether the load was made in a thread of a fixture, which may wait for it at
            its own end; others are stopped.
    """
    __tracebackhide__ = True
    try:
        if failed:
            settle(item)
    finally:
        if not with_fixture and running(item) and (load := item.stash[LOAD]) is not None:
            load.turn.end()
        session_of(item.config).note_deaths(item.nodeid)
    if not failed:
        decide(item)


def around_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Conclude a load that a fixture has made, and have the last attempt alone count."""
    settle(item)
    try:
        outcome = yield
    except BaseException:
        settle(item)
        raise
    finally:
        end_attempt(item)
    decide(item)
    tell_unused(item)
    return outcome


def around_report(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Show no secrets; keep pytest-benchmark from warning of its fixture.

    Before pytest tells of a setup that has failed, record a load that was made in it.
    """
    if call.when == "setup" and call.excinfo is not None:
        settle(item)
    report = yield
    load = item.stash.get(LOAD, None)
    if load is not None:
        benchmark_bridge.excuse(load.benchmark)
        if report.when == "call":
            load.passed = report.passed
    make_harmless(report, loaded=is_load(item))
    return report


def decide(item: pytest.Item) -> None:
    """Let the test fail, warn or be skipped as its loads deserve.

    To be called when a phase of the test has ended, and nothing has gone wrong in it.
    """
    __tracebackhide__ = True
    results = settle(item)
    load = item.stash.get(LOAD, None)
    if load is not None and load.turn.refusal is not None:
        refusal, load.turn.refusal = load.turn.refusal, None
        pytest.fail(refusal, pytrace=False)
    judgement.apply(results, item, session_of(item.config).policy)


def tell_unused(item: pytest.Item) -> None:
    """Warn of a test that has passed and, though it asks for a load, has made none."""
    load = item.stash.get(LOAD, None)
    if load is not None and load.passed and not load.cases:
        warn(item, NoLoadWarning("poisson_load made no load: nothing was measured. Call it, or "
                                 "leave it out of the test's arguments."))  # fmt: skip


def end_attempt(item: pytest.Item) -> None:
    """Forget the results of an earlier attempt if this one, which counts, has made no load."""
    if session_of(item.config).recorded.forget_outdated(item.nodeid):
        benchmark_bridge.forget(item.config, item.nodeid, but=None)
        keep(session_of(item.config))
        item.user_properties[:] = _without_ours(item.user_properties)


class Outcomes:
    """A plugin of one session: keeps with each result what pytest makes of its test."""

    def __init__(self, state: ServebenchSession) -> None:
        """Belong to a session, which the hook is not told."""
        self._state = state
        self._repeated: set[str] = set()  # node ids whose present attempt does not count

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of a phase's report, before JUnit XML has it."""
        outcome_counts = report.passed or report.failed or report.skipped
        if not outcome_counts or (report.when == "setup" and report.passed):
            self._repeated.add(report.nodeid)  # until its call is told, which may never be
        elif report.when != "teardown":
            self._repeated.discard(report.nodeid)
        if report.nodeid in self._repeated:
            report.user_properties = _without_ours(report.user_properties)
            return
        known = self._state.recorded.of(report.nodeid)
        for result in known:
            outcome = outcome_of(report, result.test_outcome)
            self._state.recorded.note_outcome(result, outcome)
        if known != self._state.recorded.of(report.nodeid):
            keep(self._state)


def outcome_of(report: pytest.TestReport, before: TestOutcome | None) -> TestOutcome | None:
    """Return what pytest makes of a test, by the report of a phase and what was known before.

    Reports of attempts that do not count, which other plugins call ``rerun`` or the like, say
    nothing.
    """
    expected = hasattr(report, "wasxfail")
    if report.when == "teardown":
        return "error" if report.failed and before != "failed" else before
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if report.skipped:
        return "xfailed" if expected else "skipped"
    if report.passed and report.when == "call":
        return "xpassed" if expected else "passed"
    return before


def _without_ours(properties: Iterable[tuple[str, object]]) -> list[tuple[str, object]]:
    return [pair for pair in properties if not pair[0].startswith(_PROPERTIES)]


def _properties(result: CaseResult) -> Iterator[tuple[str, object]]:
    """Yield the figures that JUnit XML shows, under the label of a case that has one."""
    prefix = f"{_PROPERTIES}{result.label}." if result.label else _PROPERTIES
    yield f"{prefix}verdict", result.verdict
    yield f"{prefix}implementation", clean(result.server.implementation)
    for metric in standing_in("junit"):
        yield f"{prefix}{metric.name}", result.summary.estimates[metric.name].value
