"""The pytest plugin: hooks, each of which hands over to the module that knows."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from typing import Any

import pytest

from pytest_servebench.errors import OptionError, ServebenchError, described

# Before anything else is imported from the package, so that asserts in it are rewritten too.
from pytest_servebench.plugin import benchmark_bridge, cases, closing_lines, conclusion, options
from pytest_servebench.plugin.cells import NO_WORKERS
from pytest_servebench.plugin.harmless_reports import make_harmless
from pytest_servebench.plugin.load_fixture import LOAD
from pytest_servebench.plugin.option_reading import read_option
from pytest_servebench.plugin.own_fixtures import wrapper_of
from pytest_servebench.plugin.progress import Progress
from pytest_servebench.plugin.revival import revive
from pytest_servebench.plugin.saving import end_run
from pytest_servebench.plugin.session import ServebenchSession
from pytest_servebench.plugin.state import PROGRESS, SESSION, fail, session_of
from pytest_servebench.text.json_text import plain

_REFUSAL = "servebench_refusal"  # of a worker of pytest-xdist, sent to its controller


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the command line and its ini twins."""
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the hooks for others."""
    from pytest_servebench.plugin import hookspecs  # noqa: PLC0415 - needed by this hook alone

    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep the state of this session, and register the markers."""
    config.addinivalue_line(
        "markers",
        "slo(*expressions): what a case must meet, such as 'p99<50ms' or 'success_rate>=99%'",
    )
    config.addinivalue_line(
        "markers",
        "servebench(rates, buffer_sizes, duration, warmup, timeout): a test's own load; select "
        "cases by -m 'servebench(rate=10)'",
    )
    state = config.stash[SESSION] = ServebenchSession(config)
    config.pluginmanager.register(conclusion.Outcomes(state), "servebench-outcomes")
    config.stash[PROGRESS] = Progress(config)


def _exact(config: pytest.Config) -> bool:
    try:
        return bool(read_option(config, "exact-keywords"))
    except OptionError:
        return True  # and is told of where there are loads


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each cell."""
    if not {"poisson_load", "model_server"} & set(metafunc.fixturenames):
        return
    state = session_of(metafunc.config)
    if state.wrong_options:
        return  # told when all is collected, if any such test is to run
    try:
        cases.parametrize(metafunc, state.settings)
    except ServebenchError as error:
        # Raised from here, pytest would show it as an error of the module, with its own stack.
        state.wrong_markers.append(f"{metafunc.definition.nodeid}: {error}")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give each case the timer that replays its latencies, and the marker that selects it."""
    if cases.is_load(item):
        benchmark_bridge.prepare_item(item)
        cases.mark(item)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Keep in mind which cases there would have been."""
    for item in items:
        session_of(item.config).deselected.extend(cases.loads([item]))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, Any, Any]:
    """Make ``-k rate10`` exact; spread repeats, after pytest has put a server's tests together."""
    exact = cases.exact_selection(config, items) if _exact(config) else nullcontext()
    with exact, benchmark_bridge.counted_as_benchmarks(cases.loads(items)):
        outcome = yield
    state = session_of(config)
    if not cases.loads(items) or state.wrong_options:
        return outcome
    settings = state.settings
    if settings.repeats > 1 or settings.interleave:
        items[:] = cases.in_order(items, interleave=settings.interleave)
    return outcome


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse, before anything starts, what cannot be judged, saved or trusted."""
    config = session.config
    state = session_of(config)
    loads = cases.loads(session.items)
    if loads:
        state.deselected.clear()  # only who selects no case at all is told which there are
    state.needed_kinds = frozenset(cases.kinds_of(session.items))
    wrong = [*state.wrong_markers, *cases.wrong_slos(loads)]
    if cases.served(session.items) or (not session.items and state.deselected):
        wrong = [*(state.wrong_options or state.wrong_kinds()), *wrong]
    if _only_lists(config):
        state.not_told = wrong  # such a session is for seeing what there is
        return
    if (loads or wrong) and hasattr(config, "workerinput"):
        # An error here would seem to be a crash of pytest-xdist's worker: its controller raises it.
        config.workeroutput[_REFUSAL] = "\n".join(wrong) or NO_WORKERS  # type: ignore[attr-defined]
        session.items.clear()
        return
    if wrong:
        raise pytest.UsageError("\n".join(wrong))
    if not loads:
        return
    for item in loads:
        state.expect(item)
    benchmarks = [item for item in session.items if "benchmark" in cases.fixtures_of(item)]
    if len(benchmarks) == len(loads) and all(map(benchmark_bridge.is_on, loads)):
        benchmark_bridge.narrow_table(config)
    try:
        state.read_baseline()
        state.directory()
    except ServebenchError as error:
        raise pytest.UsageError(str(error)) from None
    state.orderly_end.install()


def pytest_report_collectionfinish(
    config: pytest.Config, items: Sequence[pytest.Item]
) -> list[str]:
    """Say once what ``-k`` means for loads, and what they do without."""
    loads, lines = cases.loads(items), []
    given = config.option.keyword
    exact = cases.exact_keywords(given)
    if loads and exact != given and _exact(config) and config.get_verbosity() >= 0:
        lines.append(
            f"servebench: -k {given!r} taken as {exact!r} for load tests "
            "(--servebench-exact-keywords=false to turn off)"
        )
    if not all(map(benchmark_bridge.is_on, loads)) and not _only_lists(config):
        lines.append(
            "servebench: load tests do not get pytest-benchmark's fixture here: its own table and "
            "files are without them, all else is as always"
        )
    return lines


def _only_lists(config: pytest.Config) -> bool:
    """Tell whether no test is to run: the session lists tests, or the fixtures that they use."""
    option = config.option
    return bool(option.collectonly or option.showfixtures or option.show_fixtures_per_test)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Say once what all workers of pytest-xdist have refused."""
    if refusal := getattr(node, "workeroutput", {}).get(_REFUSAL):
        raise pytest.UsageError(refusal)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start a server anew that a case before this one has lost."""
    conclusion.begin_attempt(item)
    session_of(item.config).note_deaths(item.nodeid)
    kinds = set(cases.kinds_of([item]))
    if kinds and (own := wrapper_of(item, "served_model")):
        fail(OptionError(f"{own} hides the fixture 'served_model', and servers get their model by "
                         "servebench_model=module:callable alone: give the model there, and the "
                         "fixture another name."))  # fmt: skip
    for kind in kinds:
        revive(item, kind)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Judge a case when its test has ended, record it, and only then let it fail."""
    of_fixture = conclusion.running(item)  # which may wait for it when it ends
    try:
        outcome = yield
    except BaseException:
        conclusion.settle(item)
        raise
    finally:
        if not of_fixture:
            conclusion.end_load(item)
        session_of(item.config).note_deaths(item.nodeid)
    conclusion.decide(item)
    return outcome


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Judge a case that a fixture has made, at its end or where another one's setup has failed.

    Have the last attempt alone count.
    """
    conclusion.settle(item)
    try:
        outcome = yield
    except BaseException:
        conclusion.settle(item)
        raise
    finally:
        conclusion.end_attempt(item)
    conclusion.decide(item)
    conclusion.tell_unused(item)
    return outcome


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Show no secrets; keep pytest-benchmark from warning of its fixture.

    Before pytest tells of a setup that has failed, record a load that was made in it.
    """
    if call.when == "setup" and call.excinfo is not None:
        conclusion.settle(item)
    with benchmark_bridge.others_hidden(item):
        report = yield
    load = item.stash.get(LOAD, None)
    if load is not None:
        benchmark_bridge.excuse(load.benchmark)
        if report.when == "call":
            load.passed = report.passed
    make_harmless(report, loaded=cases.is_load(item))
    return report


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_benchmark_group_stats(
    config: pytest.Config, benchmarks: list[dict[str, Any]]
) -> Generator[None, Any, Any]:
    """Have the table show loads in the order of their tests."""
    if lines := session_of(config).lines:
        benchmark_bridge.put_in_order(benchmarks, list(lines))
    return (yield)


# The first answer is taken, and pytest-benchmark always has one.
@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_benchmark_scale_unit(
    config: pytest.Config, unit: str, benchmarks: Any, best: Any, worst: Any, sort: str
) -> Any:
    """Choose the table's unit by a latency, where the table is sorted by something else."""
    if sort != benchmark_bridge.ORDER:
        return None
    return config.hook.pytest_benchmark_scale_unit(
        config=config, unit=unit, benchmarks=benchmarks, best=best, worst=worst, sort="median"
    )


@pytest.hookimpl(optionalhook=True, trylast=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Put the run beside pytest-benchmark's own data; called twice where two files are written."""
    state = session_of(config)
    if state.results:
        output_json["servebench"] = state.report()
        # Its own encoder writes NaN, which is no JSON, and fails on keys that are no texts.
        output_json.update(plain(output_json))


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, Any, Any]:
    """Keep in mind whether the tests came to their own end, or to that of ``--maxfail``."""
    # By the exit status it cannot be told: a second Ctrl-C comes before pytest has set it.
    state = session_of(session.config)
    try:
        result = yield
    except session.Failed:
        state.finished = True
        raise
    state.finished = True
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Save the run, also one that was interrupted."""
    state = session_of(session.config)
    found = True
    try:
        found = end_run(state, session.config.stash[PROGRESS])
    except KeyboardInterrupt as error:
        # The second one, or one that came late: what is done is done, and the servers' supervisors
        # see to these when this process ends.
        state.troubles.append(f"interrupted while it was saved: {described(error)}")
        session.exitstatus = pytest.ExitCode.INTERRUPTED
    if not found and session.exitstatus == pytest.ExitCode.OK:
        # A job that holds later runs to this one must not go on as if it were there.
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if (status := state.orderly_end.status) is not None:
        session.exitstatus = status


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show the run's tables and where its files are."""
    closing_lines.write(terminalreporter, config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave no half-written live line behind."""
    if SESSION in config.stash:
        config.stash[SESSION].orderly_end.uninstall()
    if PROGRESS in config.stash:
        config.stash[PROGRESS].close()
    sys.stdout.flush()
