"""The hooks of every session, which do next to nothing without load tests.

Everything else is imported when a test first requests a load: most sessions have none.
"""

from collections.abc import Generator
from typing import Any

import pytest

from pytest_servebench.plugin import benchmark_bridge, options
from pytest_servebench.plugin.own_fixtures import needs_settings
from pytest_servebench.plugin.state import REFUSAL, has_session, session_of


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options and their ini keys."""
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register our hook specifications."""
    from pytest_servebench.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    config.addinivalue_line(
        "markers",
        "slo(*expressions): SLOs of a test, such as 'p99<50ms' or 'success_rate>=99%'",
    )
    config.addinivalue_line(
        "markers",
        "servebench(rates, buffer_sizes, rows, duration, warmup, timeout, arrivals, "
        "capacity_budget, capacity_precision, capacity_range): load of a test; select cases by "
        "-m 'servebench(rate=10)'",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize a test over its cells."""
    if {"poisson_load", "find_capacity", "model_server"} & set(metafunc.fixturenames):
        from pytest_servebench.plugin import load_hooks

        load_hooks.parametrize(metafunc)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Import the rest when a test first needs it."""
    if needs_settings(item):
        session_of(item.config)  # now: pytest generates tests only from functions
        from pytest_servebench.plugin import load_hooks

        load_hooks.prepare(item)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Report once what all pytest-xdist workers refused."""
    if refusal := getattr(node, "workeroutput", {}).get(REFUSAL):
        raise pytest.UsageError(refusal)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Judge and record the cases of a test that has ended, and only then fail it."""
    __tracebackhide__ = True
    with_fixture = failed = False
    if has_session(item.config):
        from pytest_servebench.plugin import conclusion

        with_fixture = conclusion.running(item)
    try:
        return (yield)
    except BaseException:
        failed = True
        raise
    finally:
        if has_session(item.config):  # the test may have requested the first fixture that needs it
            from pytest_servebench.plugin import conclusion

            conclusion.end_call(item, failed=failed, with_fixture=with_fixture)
        if not failed and any(mark.name == "slo" for mark in item.own_markers):
            from pytest_servebench.plugin import conclusion

            conclusion.tell_unloaded(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Judge cases measured by fixtures, also if the setup of another fixture failed."""
    if not has_session(item.config):
        return (yield)
    from pytest_servebench.plugin import conclusion

    return (yield from conclusion.around_teardown(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Redact secrets; hide a user's fixture ``benchmark`` from pytest-benchmark."""
    with benchmark_bridge.others_hidden(item):
        if not has_session(item.config):
            return (yield)
        from pytest_servebench.plugin import conclusion

        return (yield from conclusion.around_report(item, call))


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, Any, Any]:
    """Record whether the session ended normally, by ``--maxfail``, or with its collection."""
    # The exit status does not say so: a second Ctrl-C may come before pytest has set it, and it is
    # the same if a module could not be collected, after which pytest runs no test.
    ended = bool(session.testsfailed) and not session.config.option.continue_on_collection_errors
    try:
        result = yield
        ended = True
    except session.Failed:
        ended = True
        raise
    finally:
        if has_session(session.config):
            session_of(session.config).finished = ended
    return result
