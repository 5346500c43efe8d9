"""The fixtures that tests ask for by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_servebench import benchmark_bridge
from pytest_servebench.errors import ServebenchError
from pytest_servebench.load_fixture import LOAD, PoissonLoad
from pytest_servebench.model import ServedModel
from pytest_servebench.servers.base import RunningServer
from pytest_servebench.state import PROGRESS, fail, session_of


@pytest.fixture(scope="session")
def served_model(pytestconfig: pytest.Config) -> ServedModel:
    """The model that ``servebench_model`` names, packaged for the servers of this session."""
    session = session_of(pytestconfig)
    try:
        package = session.settings.model.partition(":")[0].partition(".")[0]
        with pytestconfig.stash[PROGRESS].shown("preparing the model", logger=package):
            return session.model()
    except ServebenchError as error:
        fail(error)


def _running(config: pytest.Config, kind: str) -> Iterator[RunningServer]:
    progress = config.stash[PROGRESS]
    context = session_of(config).servers.running(kind)
    with progress.shown(f"starting {kind}"):
        try:
            server = context.__enter__()
        except ServebenchError as error:
            fail(error)
    try:
        yield server
    finally:
        with progress.shown(f"stopping {kind}"):
            context.__exit__(None, None, None)


@pytest.fixture(scope="session")
def tensorflow_serving(
    pytestconfig: pytest.Config,
    served_model: ServedModel,  # noqa: ARG001 - prepared first
) -> Iterator[RunningServer]:
    """A running TensorFlow Serving (or the embedded server in its place) with the model."""
    yield from _running(pytestconfig, "tensorflow_serving")


@pytest.fixture(scope="session")
def torchserve(
    pytestconfig: pytest.Config,
    served_model: ServedModel,  # noqa: ARG001 - prepared first
) -> Iterator[RunningServer]:
    """A running TorchServe with the model."""
    yield from _running(pytestconfig, "torchserve")


@pytest.fixture(scope="session")
def model_server(
    request: pytest.FixtureRequest,
    pytestconfig: pytest.Config,
    served_model: ServedModel,  # noqa: ARG001 - prepared first
) -> Iterator[RunningServer]:
    """Each of the chosen servers in turn, with the model."""
    yield from _running(pytestconfig, request.param)


@pytest.fixture
def rate(request: pytest.FixtureRequest) -> float:
    """Offered arrivals a second: one of ``--servebench-rates``."""
    return float(request.param)


@pytest.fixture
def buffer_size(request: pytest.FixtureRequest) -> int:
    """Requests that may wait while all workers are busy: one of ``--servebench-buffer-sizes``."""
    return int(request.param)


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
) -> PoissonLoad:
    """Open-loop Poisson load at this case's rate and buffer size: ``poisson_load(server)``."""
    load = PoissonLoad(request, rate, buffer_size, repeat, benchmark_bridge.fixture_of(request))
    request.node.stash[LOAD] = load
    return load
