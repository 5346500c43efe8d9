"""The hooks that only sessions with load tests need; ``state.session_of`` registers them.

Hooks that pytest calls too early for that are in ``hooks``, and delegate to this module and to
``conclusion``.
"""

import sys
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from typing import Any

import pytest

from pytest_servebench.errors import OptionError, ServebenchError, described
from pytest_servebench.plugin import (
    benchmark_bridge,
    capacity_judgement,
    cases,
    closing_lines,
    conclusion,
    unused,
)
from pytest_servebench.plugin.cells import NO_WORKERS
from pytest_servebench.plugin.option_reading import read_option
from pytest_servebench.plugin.own_fixtures import fixtures_of, needs_settings, wrapper_of
from pytest_servebench.plugin.progress import Progress
from pytest_servebench.plugin.revival import revive
from pytest_servebench.plugin.saving import end_run
from pytest_servebench.plugin.session import ServebenchSession
from pytest_servebench.plugin.state import PROGRESS, REFUSAL, SESSION, fail, session_of
from pytest_servebench.runs.node_ids import function_of
from pytest_servebench.text.json_text import plain


def pytest_configure(config: pytest.Config) -> None:
    """Create the state of this session; pytest calls this when these hooks are registered."""
    state = config.stash[SESSION] = ServebenchSession(config)
    config.pluginmanager.register(conclusion.Outcomes(state), "servebench-outcomes")
    config.stash[PROGRESS] = Progress(config)


def _exact(config: pytest.Config) -> bool:
    try:
        return bool(read_option(config, "exact-keywords"))
    except OptionError:
        return True  # reported later if there are load tests


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Parametrize a test over its cells."""
    state = session_of(metafunc.config)
    if state.wrong_options:
        return  # reported after collection, if any such test is to run
    try:
        cases.parametrize(metafunc, state.settings)
    except ServebenchError as error:
        # Raised here, pytest would show it as an error of the module, with a traceback.
        nodeid = metafunc.definition.nodeid
        state.wrong_markers[nodeid] = f"{nodeid}: {error}"


def prepare(item: pytest.Item) -> None:
    """Add the timer that replays latencies, and the marker for ``-m``, to each case."""
    if cases.is_load(item):
        benchmark_bridge.prepare_item(item)
        cases.mark(item)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Remember which cases were deselected."""
    for item in items:
        session_of(item.config).deselected.extend(cases.loads([item]))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, Any, Any]:
    """Make ``-k rate10`` exact; spread repeats, after pytest has grouped tests by server."""
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
    """Refuse invalid options and markers before anything starts."""
    config = session.config
    state = session_of(config)
    loads = cases.loads(session.items)
    if loads:
        state.deselected.clear()  # listed only if no case at all is selected
    state.needed_kinds = frozenset(cases.kinds_of(session.items))
    # Without a rate, a test with a wrong marker may be what -k did not select.
    functions = {function_of(item.nodeid) for item in session.items or state.deselected}
    wrong = [text for test, text in state.wrong_markers.items() if test in functions]
    wrong += unused.wrong_uses(loads)
    wrong += (wrong_slos := cases.wrong_slos(loads))
    if not wrong_slos and not state.wrong_options:
        wrong += capacity_judgement.wrong_limits(loads)
    if any(map(needs_settings, session.items)) or (not session.items and state.deselected):
        wrong = [*(state.wrong_options or state.wrong_kinds()), *wrong]
    if _only_lists(config):
        state.not_told = wrong  # not an error: the session only lists tests
        return
    if (loads or wrong) and hasattr(config, "workerinput"):
        # Raised here, it would look like a crash of the pytest-xdist worker: the controller does.
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
    """Say how ``-k`` was understood, and whether pytest-benchmark is missing."""
    loads, lines = cases.loads(items), []
    given = config.option.keyword
    exact = cases.exact_keywords(given)
    if loads and exact != given and _exact(config) and config.get_verbosity() >= 0:
        lines.append(
            f"servebench: -k {given!r} means {exact!r} for load tests "
            "(turn this off by --servebench-exact-keywords=false)"
        )
    if loads:
        lines += [f"servebench: {text}" for text in unused.unused_options(config, loads)]
    if not all(map(benchmark_bridge.is_on, loads)) and not _only_lists(config):
        lines.append(
            "servebench: load tests cannot use pytest-benchmark's fixture here: they are missing "
            "from its table and files, but everything else works"
        )
    return lines


def _only_lists(config: pytest.Config) -> bool:
    """Return whether the session only lists tests or fixtures, and runs none."""
    option = config.option
    return bool(option.collectonly or option.showfixtures or option.show_fixtures_per_test)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Restart a server that died in an earlier case."""
    conclusion.begin_attempt(item)
    session_of(item.config).note_deaths(item.nodeid)
    kinds = set(cases.kinds_of([item]))
    if kinds and (own := wrapper_of(item, "served_model")):
        fail(OptionError(f"{own} overrides the fixture 'served_model', but servers get their model "
                         "only by servebench_model=module:callable: set the model there, and "
                         "rename the fixture."))  # fmt: skip
    for kind in kinds:
        revive(item, kind)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_benchmark_group_stats(
    config: pytest.Config, benchmarks: list[dict[str, Any]]
) -> Generator[None, Any, Any]:
    """Show loads in test order in the table."""
    if lines := session_of(config).lines:
        benchmark_bridge.put_in_order(benchmarks, list(lines))
    return (yield)


# The first result counts, and pytest-benchmark always has one.
@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_benchmark_scale_unit(
    config: pytest.Config, unit: str, benchmarks: Any, best: Any, worst: Any, sort: str
) -> Any:
    """Choose the table's unit by latency even if the table is sorted by something else."""
    if sort != benchmark_bridge.ORDER:
        return None
    return config.hook.pytest_benchmark_scale_unit(
        config=config, unit=unit, benchmarks=benchmarks, best=best, worst=worst, sort="median"
    )


@pytest.hookimpl(optionalhook=True, trylast=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add the run to pytest-benchmark's data; called once per file."""
    state = session_of(config)
    if state.recorded:
        output_json["servebench"] = state.report()
        # Its encoder writes NaN, which is not JSON, and fails on keys that are not strings.
        output_json.update(plain(output_json))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Save the run, even if it was interrupted."""
    state = session_of(session.config)
    found = True
    try:
        found = end_run(state, session.config.stash[PROGRESS])
    except KeyboardInterrupt as error:
        # A second Ctrl-C, or a late one: the supervisors stop the servers when this process exits.
        state.troubles.append(f"interrupted while saving the run: {described(error)}")
        session.exitstatus = pytest.ExitCode.INTERRUPTED
    if not found and session.exitstatus == pytest.ExitCode.OK:
        # A job that uses this run as a baseline must not continue as if it had been saved.
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if (status := state.orderly_end.status) is not None:
        session.exitstatus = status


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """Show the run's tables and the paths of its files."""
    closing_lines.write(terminalreporter, config, exitstatus)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Clear the live line."""
    session_of(config).orderly_end.uninstall()
    config.stash[PROGRESS].close()
    sys.stdout.flush()
