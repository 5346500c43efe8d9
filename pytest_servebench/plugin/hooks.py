"""The hooks of every session, which do next to nothing before there is a load.

What loads need is imported when the first test asks for one: most sessions of a user have none.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_servebench.plugin import benchmark_bridge, options
from pytest_servebench.plugin.own_fixtures import needs_settings
from pytest_servebench.plugin.state import REFUSAL, has_session, session_of


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the command line and its ini twins."""
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the hooks for others."""
    from pytest_servebench.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    config.addinivalue_line(
        "markers",
        "slo(*expressions): what a case must meet, such as 'p99<50ms' or 'success_rate>=99%'",
    )
    config.addinivalue_line(
        "markers",
        "servebench(rates, buffer_sizes, duration, warmup, timeout): a test's own load; select "
        "cases by -m 'servebench(rate=10)'",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each cell."""
    if {"poisson_load", "model_server"} & set(metafunc.fixturenames):
        from pytest_servebench.plugin import load_hooks

        load_hooks.parametrize(metafunc)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Bring in what loads need when the first test asks for it."""
    if needs_settings(item):
        session_of(item.config)  # now: of what is no function, pytest generates no tests
        from pytest_servebench.plugin import load_hooks

        load_hooks.prepare(item)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Say once what all workers of pytest-xdist have refused."""
    if refusal := getattr(node, "workeroutput", {}).get(REFUSAL):
        raise pytest.UsageError(refusal)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Judge a case when its test has ended, record it, and only then let it fail."""
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
        if has_session(item.config):  # it may have come with a fixture that the test asked for
            from pytest_servebench.plugin import conclusion

            conclusion.end_call(item, failed=failed, with_fixture=with_fixture)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Judge a case that a fixture has made, at its end or where another one's setup has failed."""
    if not has_session(item.config):
        return (yield)
    from pytest_servebench.plugin import conclusion

    return (yield from conclusion.around_teardown(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Show no secrets; keep pytest-benchmark from a fixture that is not its own."""
    with benchmark_bridge.others_hidden(item):
        if not has_session(item.config):
            return (yield)
        from pytest_servebench.plugin import conclusion

        return (yield from conclusion.around_report(item, call))


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, Any, Any]:
    """Keep in mind whether the tests came to their own end, or to that of ``--maxfail``."""
    # By the exit status it cannot be told: a second Ctrl-C comes before pytest has set it.
    ended = False
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
