"""The hooks that only sessions with loads need; ``state.session_of`` registers them.

Those that must stand where other plugins expect them, or that may be under way when the first load
turns up, are in ``hooks`` and hand over to what is here and in ``conclusion``.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from typing import Any

import pytest

from pytest_servebench.errors import OptionError, ServebenchError, described
from pytest_servebench.plugin import benchmark_bridge, cases, closing_lines, conclusion
from pytest_servebench.plugin.cells import NO_WORKERS
from pytest_servebench.plugin.option_reading import read_option
from pytest_servebench.plugin.own_fixtures import fixtures_of, wrapper_of
from pytest_servebench.plugin.progress import Progress
from pytest_servebench.plugin.revival import revive
from pytest_servebench.plugin.saving import end_run
from pytest_servebench.plugin.session import ServebenchSession
from pytest_servebench.plugin.state import PROGRESS, REFUSAL, SESSION, fail, session_of
from pytest_servebench.text.json_text import plain


def pytest_configure(config: pytest.Config) -> None:
    """Keep the state of this session; pytest calls this when these hooks are registered."""
    state = config.stash[SESSION] = ServebenchSession(config)
    config.pluginmanager.register(conclusion.Outcomes(state), "servebench-outcomes")
    config.stash[PROGRESS] = Progress(config)


def _exact(config: pytest.Config) -> bool:
    try:
        return bool(read_option(config, "exact-keywords"))
    except OptionError:
        return True  # and is told of where there are loads


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Make one test of each cell."""
    state = session_of(metafunc.config)
    if state.wrong_options:
        return  # told when all is collected, if any such test is to run
    try:
        cases.parametrize(metafunc, state.settings)
    except ServebenchError as error:
        # Raised from here, pytest would show it as an error of the module, with its own stack.
        state.wrong_markers.append(f"{metafunc.definition.nodeid}: {error}")


def prepare(item: pytest.Item) -> None:
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
        config.workeroutput[REFUSAL] = "\n".join(wrong) or NO_WORKERS  # type: ignore[attr-defined]
        session.items.clear()
        return
    if wrong:
        raise pytest.UsageError("\n".join(wrong))
    if not loads:
        return
    for item in loads:
        state.expect(item)
    benchmarks = [item for item in session.items if "benchmark" in fixtures_of(item)]
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
    session_of(config).orderly_end.uninstall()
    config.stash[PROGRESS].close()
    sys.stdout.flush()
