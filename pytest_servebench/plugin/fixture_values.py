"""The fixtures' values; imported when a test first requests one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from pytest_servebench.errors import ServebenchError
from pytest_servebench.model import ServedModel
from pytest_servebench.plugin import benchmark_bridge
from pytest_servebench.plugin.capacity_fixture import SEARCH, FindCapacity
from pytest_servebench.plugin.cells import Cell, cell_of, checked, join, only
from pytest_servebench.plugin.load_fixture import LOAD, PoissonLoad
from pytest_servebench.plugin.state import PROGRESS, fail, session_of
from pytest_servebench.servers.base import RunningServer

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


def model(config: pytest.Config) -> ServedModel:
    """Return the configured model, packaged for the servers of this session."""
    try:
        return _prepared_model(config)
    except ServebenchError as error:
        fail(error)


def _prepared_model(config: pytest.Config) -> ServedModel:
    session = session_of(config)
    package = session.settings.model.partition(":")[0].partition(".")[0]
    with config.stash[PROGRESS].shown("preparing the model", logger=package):
        return session.model()


def running(config: pytest.Config, kind: str) -> Iterator[RunningServer]:
    """Yield the server of a kind while it runs with the model."""
    session = session_of(config)
    progress = config.stash[PROGRESS]
    session.need(kind)
    context = session.servers.running(kind)
    try:
        if not session.known.serves_own_model(kind):
            # Not by the fixture served_model: a user's fixture of that name may be another thing.
            _prepared_model(config)
        waits = session.known.attached(kind)  # for somebody else's
        with progress.shown(
            f"{'waiting for' if waits else 'starting'} {kind}",
            patience=session.settings.server.start_timeout if waits else 0.0,
        ):
            server = context.__enter__()
    except ServebenchError as error:
        fail(error)
    try:
        yield server
    finally:
        with progress.shown(f"stopping {kind}"):
            context.__exit__(None, None, None)


def any_running(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """Yield the server of the kind in the test's parameter."""
    try:
        kind = only(request, "model_server")
    except ServebenchError as error:
        fail(error)
    yield from running(request.config, str(kind))


def value(request: pytest.FixtureRequest, name: str) -> Any:
    """Return the checked rate, buffer size or rows of a test."""
    try:
        return checked(request.node, name, only(request, name))
    except ServebenchError as error:
        fail(error)


def _joined(
    request: pytest.FixtureRequest, values: Mapping[str, object]
) -> tuple[Cell, BenchmarkFixture | None]:
    """Return the cell and the benchmark of a test, which joins the load tests of its session."""
    try:
        join(request.node)
        cell = cell_of(request.node, values)
    except ServebenchError as error:
        fail(error)
    benchmark = benchmark_bridge.fixture_of(request)
    benchmark_bridge.excuse(benchmark)  # after Ctrl-C there is no report, and it may be unused
    return cell, benchmark


def search(request: pytest.FixtureRequest, **values: object) -> Iterator[FindCapacity]:
    """Yield what finds the capacity of a test's server, and end it with the test."""
    find = FindCapacity(request, *_joined(request, values))
    request.node.stash[SEARCH] = find
    yield find
    find.turn.end()


def load(request: pytest.FixtureRequest, **values: object) -> Iterator[PoissonLoad]:
    """Yield the load of a test, and end it with the test; ``values`` are its fixtures'."""
    load = PoissonLoad(request, *_joined(request, values))
    request.node.stash[LOAD] = load
    yield load
    load.turn.end()
