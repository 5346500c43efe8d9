"""The fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_servebench.model import ServedModel
    from pytest_servebench.plugin.capacity_fixture import FindCapacity
    from pytest_servebench.plugin.load_fixture import PoissonLoad
    from pytest_servebench.servers.base import RunningServer


@pytest.fixture(scope="session")
def served_model(pytestconfig: pytest.Config) -> ServedModel:
    """The model set by ``servebench_model``, packaged for the servers of this session."""
    from pytest_servebench.plugin import fixture_values

    return fixture_values.model(pytestconfig)


@pytest.fixture(scope="session")
def tensorflow_serving(pytestconfig: pytest.Config) -> Iterator[RunningServer]:
    """A running TensorFlow Serving (or its embedded replacement) that serves the model."""
    from pytest_servebench.plugin import fixture_values

    yield from fixture_values.running(pytestconfig, "tensorflow_serving")


@pytest.fixture(scope="session")
def torchserve(pytestconfig: pytest.Config) -> Iterator[RunningServer]:
    """A running TorchServe that serves the model."""
    from pytest_servebench.plugin import fixture_values

    yield from fixture_values.running(pytestconfig, "torchserve")


@pytest.fixture(scope="session")
def model_server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """A running server with the model; the test runs once for each of ``--servebench-servers``."""
    from pytest_servebench.plugin import fixture_values

    yield from fixture_values.any_running(request)


@pytest.fixture
def rate(request: pytest.FixtureRequest) -> float:
    """Offered load in requests per second: one of ``--servebench-rates``."""
    from pytest_servebench.plugin import fixture_values

    return float(fixture_values.value(request, "rate"))


@pytest.fixture
def buffer_size(request: pytest.FixtureRequest) -> int:
    """Requests that may queue while all workers are busy: one of ``--servebench-buffer-sizes``."""
    from pytest_servebench.plugin import fixture_values

    return int(fixture_values.value(request, "buffer_size"))


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> int:
    """Samples of the model in each request: one of ``--servebench-rows``."""
    from pytest_servebench.plugin import fixture_values

    return int(fixture_values.value(request, "rows"))


@pytest.fixture
def repeat(request: pytest.FixtureRequest) -> int:
    """Number of this run of the case, from 1 to ``--servebench-repeats``."""
    return int(getattr(request, "param", 1))


@pytest.fixture
def poisson_load(
    request: pytest.FixtureRequest, rate: float, buffer_size: int, rows: int, repeat: int
) -> Iterator[PoissonLoad]:
    """Open-loop Poisson load at this case's rate and buffer size: ``poisson_load(server)``."""
    from pytest_servebench.plugin import fixture_values

    yield from fixture_values.load(
        request, rate=rate, buffer_size=buffer_size, rows=rows, repeat=repeat
    )


@pytest.fixture
def find_capacity(
    request: pytest.FixtureRequest, buffer_size: int, rows: int, repeat: int
) -> Iterator[FindCapacity]:
    """Finds the highest rate at which a server keeps the SLO: ``find_capacity(model_server)``."""
    from pytest_servebench.plugin import fixture_values

    yield from fixture_values.search(request, buffer_size=buffer_size, rows=rows, repeat=repeat)
