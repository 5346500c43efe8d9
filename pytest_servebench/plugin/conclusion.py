"""Judge and record loads when their test ends, and decide the outcome of the test.

Plugins that rerun failed tests may run a test more than once: only the last attempt counts.
"""

from collections.abc import Generator, Iterable, Iterator
from typing import Any

import pytest

from pytest_servebench.metrics import standing_in
from pytest_servebench.plugin import benchmark_bridge, capacity_judgement, judgement
from pytest_servebench.plugin.capacity_fixture import SEARCH, FindCapacity
from pytest_servebench.plugin.capacity_judgement import FoundCapacity
from pytest_servebench.plugin.cases import is_load
from pytest_servebench.plugin.harmless_reports import make_harmless
from pytest_servebench.plugin.judgement import NoLoadWarning
from pytest_servebench.plugin.load_fixture import LOAD, PoissonLoad
from pytest_servebench.plugin.own_warnings import warn
from pytest_servebench.plugin.saving import keep
from pytest_servebench.plugin.session import ServebenchSession
from pytest_servebench.plugin.state import session_of
from pytest_servebench.plugin.turns import Turn
from pytest_servebench.runs.results import CapacityResult, CaseResult, TestOutcome
from pytest_servebench.text.safe import clean

_PROPERTIES = "servebench."


def begin_attempt(item: pytest.Item) -> None:
    """Forget the loads of an earlier attempt; their results stay until this one has results."""
    item.stash[LOAD] = None
    item.stash[SEARCH] = None
    session_of(item.config).recorded.outdate(item.nodeid)


def settle(item: pytest.Item) -> tuple[list[CaseResult], list[FoundCapacity]]:
    """Judge and record the loads and searches of a test since the last call.

    Returns:
        the results of loads whose verdicts count for the test, and what searches found.
    """
    state = session_of(item.config)
    load, find = item.stash.get(LOAD, None), item.stash.get(SEARCH, None)
    cases = load.cases[load.settled :] if load is not None else []
    found = find.found[find.settled :] if find is not None else []
    for case in cases:
        assert load is not None
        case.result = load.judged(case.result)
        entry = state.recorded.add(case.result)
        if case is load.cases[0]:
            benchmark_bridge.forget(item.config, item.nodeid, but=load.benchmark)
            benchmark_bridge.attach(load.benchmark, entry, valid=case.result.measured)
    for one in found:
        assert find is not None
        one.result = capacity_judgement.judged(item, one.result)
        state.recorded.add_capacity(one.result)
        benchmark_bridge.forget(item.config, item.nodeid, but=find.benchmark)
    if load is not None:
        load.settled = len(load.cases)
    if find is not None:
        find.settled = len(find.found)
    if cases or found:
        keep(state)
        _tell_junit(item)
    return [case.result for case in cases if case.result.measured], found


def _senders(item: pytest.Item) -> list[PoissonLoad | FindCapacity]:
    """Return what sends load in a test: its loads, its searches."""
    known = (item.stash.get(LOAD, None), item.stash.get(SEARCH, None))
    return [one for one in known if one is not None]


def _turns(item: pytest.Item) -> list[Turn]:
    """Return whose turn it is in a test."""
    return [one.turn for one in _senders(item)]


def running(item: pytest.Item) -> bool:
    """Return whether a load is running in some thread."""
    return any(turn.taken for turn in _turns(item))


def end_call(item: pytest.Item, *, failed: bool, with_fixture: bool) -> None:
    """Judge the loads of a test whose function has ended.

    Args:
        item: the test.
        failed: whether it has failed already, so the loads need not fail it.
        with_fixture: whether a load runs in a thread of a fixture, which may wait for it in its
            teardown; other loads are stopped.
    """
    __tracebackhide__ = True
    try:
        if failed:
            settle(item)
    finally:
        for turn in _turns(item):
            if turn.taken and not with_fixture:
                turn.end()
            if failed:
                turn.refusal = None  # else a refused or stopped load would fail the teardown, too
        session_of(item.config).note_deaths(item.nodeid)
    if not failed:
        decide(item)


def around_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Judge loads sent by fixtures, and make only the last attempt count."""
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
    miss_loads(item)
    return outcome


def around_report(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Redact secrets; keep pytest-benchmark from warning about its fixture.

    If setup has failed, record the loads sent in it before pytest reports it.
    """
    if call.when == "setup" and call.excinfo is not None:
        settle(item)
    report = yield
    for sender in _senders(item):
        benchmark_bridge.excuse(sender.benchmark)
        if report.when == "call":
            sender.passed = report.passed
    make_harmless(report, loaded=is_load(item))
    return report


def decide(item: pytest.Item) -> None:
    """Fail, warn or skip the test, according to its loads.

    Call this when a phase of the test has ended without an error.
    """
    __tracebackhide__ = True
    results, found = settle(item)
    for turn in _turns(item):
        if turn.refusal is not None:
            refusal, turn.refusal = turn.refusal, None
            pytest.fail(refusal, pytrace=False)
    judgement.apply(results, item, session_of(item.config).policy)
    if found:  # other tests do not mind wrong settings
        capacity_judgement.apply(found, item)


def tell_unused(item: pytest.Item) -> None:
    """Warn if a test has passed and requested a load or a search, but made none."""
    load, find = item.stash.get(LOAD, None), item.stash.get(SEARCH, None)
    unused = ["poisson_load"] if load is not None and load.passed and not load.cases else []
    unused += ["find_capacity"] if find is not None and find.passed and not find.found else []
    for name in unused:
        warn(item, NoLoadWarning(f"{name} was never called: nothing was measured. Call it, or "
                                 "remove it from the test's arguments."))  # fmt: skip


def miss_loads(item: pytest.Item) -> None:
    """Fail a test that has passed without a load or search that the baseline has of it."""
    __tracebackhide__ = True
    state = session_of(item.config)
    load, find = item.stash.get(LOAD, None), item.stash.get(SEARCH, None)
    if state.baseline is None:
        return
    missing = []
    if load is not None and load.passed:
        sent = state.recorded.cases_of(item.nodeid)
        missing.append(state.baseline.not_sent(item.nodeid, sent))
    if find is not None and find.passed:
        found = state.recorded.capacities_of(item.nodeid)
        missing.append(state.baseline.not_searched(item.nodeid, found))
    if any(missing):
        pytest.fail("\n".join(filter(None, missing)), pytrace=False)


def tell_unloaded(item: pytest.Item) -> None:
    """Warn if a test that has an SLO has passed without a load: the SLO judged nothing."""
    if not _senders(item):
        warn(item, NoLoadWarning("the test has an SLO, but sent no load: nothing was judged. "
                                 "Call poisson_load in it, or remove the marker slo."))  # fmt: skip


def end_attempt(item: pytest.Item) -> None:
    """Forget the results of an earlier attempt if this one sent no load."""
    if session_of(item.config).recorded.forget_outdated(item.nodeid):
        benchmark_bridge.forget(item.config, item.nodeid, but=None)
        keep(session_of(item.config))
        item.user_properties[:] = _without_ours(item.user_properties)


class Outcomes:
    """A plugin of one session that records the outcome of each result's test."""

    def __init__(self, state: ServebenchSession) -> None:
        self._state = state
        self._repeated: set[str] = set()  # node ids whose current attempt does not count

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Process the report of a phase before JUnit XML does."""
        outcome_counts = report.passed or report.failed or report.skipped
        if not outcome_counts or (report.when == "setup" and report.passed):
            self._repeated.add(report.nodeid)  # until its call is reported, which may never happen
        elif report.when != "teardown":
            self._repeated.discard(report.nodeid)
        if report.nodeid in self._repeated:
            report.user_properties = _without_ours(report.user_properties)
            return
        if self._state.recorded.note_outcome(
            report.nodeid, lambda before: outcome_of(report, before)
        ):
            keep(self._state)


def outcome_of(report: pytest.TestReport, before: TestOutcome | None) -> TestOutcome | None:
    """Return a test's outcome, given the report of a phase and the outcome so far.

    Attempts that do not count, whose outcome other plugins call ``rerun`` or the like, are ignored.
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


def _tell_junit(item: pytest.Item) -> None:
    """Set the figures of the test's cases and searches for JUnit XML; those of probes are left."""
    recorded = session_of(item.config).recorded
    item.user_properties[:] = [
        *_without_ours(item.user_properties),
        *(pair for one in recorded.cases_of(item.nodeid) for pair in _properties(one)),
        *(pair for one in recorded.capacities_of(item.nodeid) for pair in _found_properties(one)),
    ]


def _found_properties(found: CapacityResult) -> Iterator[tuple[str, object]]:
    """Yield a capacity for JUnit XML, like :func:`_properties`."""
    label = f"{found.label}." if found.label else ""
    prefix = f"{_PROPERTIES}capacity.{label}"  # a load of the test may have the same label
    yield f"{prefix}verdict", found.verdict
    yield f"{prefix}implementation", clean(found.server.implementation)
    yield f"{prefix}state", found.state
    for name, value in (("value", found.value), ("low", found.low), ("high", found.high)):
        if value is not None:
            yield f"{prefix}{name}", value


def _without_ours(properties: Iterable[tuple[str, object]]) -> list[tuple[str, object]]:
    return [pair for pair in properties if not pair[0].startswith(_PROPERTIES)]


def _properties(result: CaseResult) -> Iterator[tuple[str, object]]:
    """Yield the figures for JUnit XML, with the case's label if it has one."""
    prefix = f"{_PROPERTIES}{result.label}." if result.label else _PROPERTIES
    yield f"{prefix}verdict", result.verdict
    yield f"{prefix}implementation", clean(result.server.implementation)
    for metric in (*standing_in("junit"), *standing_in("junit", streamed=True)):
        if (known := result.summary.estimates.get(metric.name)) is not None:
            yield f"{prefix}{metric.name}", known.value
