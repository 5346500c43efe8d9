"""The fixtures that tests ask for by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_servebench.errors import ServebenchError
from pytest_servebench.model import ServedModel
from pytest_servebench.plugin import benchmark_bridge
from pytest_servebench.plugin.cells import cell_of, checked, join, only
from pytest_servebench.plugin.load_fixture import LOAD, PoissonLoad
from pytest_servebench.plugin.state import PROGRESS, fail, session_of
from pytest_servebench.servers.base import RunningServer


@pytest.fixture(scope="session")
def served_model(pytestconfig: pytest.Config) -> ServedModel:
    """The model that ``servebench_model`` names, packaged for the servers of this session."""
    try:
        return _prepared_model(pytestconfig)
    except ServebenchError as error:
        fail(error)


def _prepared_model(config: pytest.Config) -> ServedModel:
    session = session_of(config)
    package = session.settings.model.partition(":")[0].partition(".")[0]
    with config.stash[PROGRESS].shown("preparing the model", logger=package):
        return session.model()


def _running(config: pytest.Config, kind: str) -> Iterator[RunningServer]:
    progress = config.stash[PROGRESS]
    session = session_of(config)
    session.need(kind)
    context = session.servers.running(kind)
    try:
        # Not by the fixture: one of its name may be the user's own, and something else.
        _prepared_model(config)
        with progress.shown(f"starting {kind}"):
            server = context.__enter__()
    except ServebenchError as error:
        fail(error)
    try:
        yield server
    finally:
        with progress.shown(f"stopping {kind}"):
            context.__exit__(None, None, None)


@pytest.fixture(scope="session")
def tensorflow_serving(pytestconfig: pytest.Config) -> Iterator[RunningServer]:
    """A running TensorFlow Serving (or the embedded server in its place) with the model."""
    yield from _running(pytestconfig, "tensorflow_serving")


@pytest.fixture(scope="session")
def torchserve(pytestconfig: pytest.Config) -> Iterator[RunningServer]:
    """A running TorchServe with the model."""
    yield from _running(pytestconfig, "torchserve")


@pytest.fixture(scope="session")
def model_server(
    request: pytest.FixtureRequest,
    pytestconfig: pytest.Config,
) -> Iterator[RunningServer]:
    """Each of the chosen servers in turn, with the model."""
    try:
        kind = only(request, "model_server")
    except ServebenchError as error:
        fail(error)
    yield from _running(pytestconfig, str(kind))


def _value(request: pytest.FixtureRequest, name: str) -> float | int:
    try:
        return checked(request.node, name, only(request, name))
    except ServebenchError as error:
        fail(error)


@pytest.fixture
def rate(request: pytest.FixtureRequest) -> float:
    """Offered arrivals a second: one of ``--servebench-rates``."""
    return float(_value(request, "rate"))


@pytest.fixture
def buffer_size(request: pytest.FixtureRequest) -> int:
    """Requests that may wait while all workers are busy: one of ``--servebench-buffer-sizes``."""
    return int(_value(request, "buffer_size"))


@pytest.fixture
def repeat(request: pytest.FixtureRequest) -> int:
    """Number of this run of the case, from 1 to ``--servebench-repeats``."""
    return int(getattr(request, "param", 1))


@pytest.fixture
def poisson_load(
    request: pytest.FixtureRequest,
    rate: float,
    buffer_size: int,
    repeat: int,
) -> Iterator[PoissonLoad]:
    """Open-loop Poisson load at this case's rate and buffer size: ``poisson_load(server)``."""
    try:
        join(request.node)
        cell = cell_of(request.node, rate, buffer_size, repeat)
    except ServebenchError as error:
        fail(error)
    benchmark = benchmark_bridge.fixture_of(request)
    benchmark_bridge.excuse(benchmark)  # where Ctrl-C leaves no report, it may end unused
    load = PoissonLoad(request, cell.rate, cell.buffer_size, cell.repeat, benchmark)
    request.node.stash[LOAD] = load
    yield load
    load.turn.end()
