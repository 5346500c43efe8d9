"""The fixtures that tests ask for by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

import pytest

from pytest_servebench import benchmark_bridge, judgement
from pytest_servebench.case_runner import Case, run_case
from pytest_servebench.cases import marked_seconds
from pytest_servebench.errors import OptionError, ServebenchError
from pytest_servebench.model import ServedModel
from pytest_servebench.progress import Progress
from pytest_servebench.results import CaseResult
from pytest_servebench.servers.base import RunningServer
from pytest_servebench.session import ServebenchSession

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


SESSION = pytest.StashKey[ServebenchSession]()
PROGRESS = pytest.StashKey[Progress]()


def session_of(config: pytest.Config) -> ServebenchSession:
    """Return the plugin's state of this pytest session."""
    return config.stash[SESSION]


def _fail(error: ServebenchError) -> NoReturn:
    """Fail with the message alone: it says what to do, and our own stack does not help."""
    pytest.fail(f"{type(error).__name__}: {error}", pytrace=False)


@pytest.fixture(scope="session")
def served_model(pytestconfig: pytest.Config) -> ServedModel:
    """The model that ``servebench_model`` names, packaged for the servers of this session."""
    with pytestconfig.stash[PROGRESS].shown("preparing the model"):
        try:
            return session_of(pytestconfig).model()
        except ServebenchError as error:
            _fail(error)


def _running(config: pytest.Config, kind: str) -> Iterator[RunningServer]:
    progress = config.stash[PROGRESS]
    context = session_of(config).running(kind)
    with progress.shown(f"starting {kind}"):
        try:
            server = context.__enter__()
        except ServebenchError as error:
            _fail(error)
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


class LoadedCase:
    """What a load brought: its figures, and a way to demand more of them.

    Attributes:
        result: everything that was measured; see :class:`~pytest_servebench.results.CaseResult`.
    """

    def __init__(self, result: CaseResult) -> None:
        """Hold a result that is not judged yet."""
        self.result = result

    def check(self, *expressions: str) -> None:
        """Judge SLOs at once, such as ``"p99<50ms"``; the test fails where one is broken.

        Raises:
            SLOSyntaxError: an expression cannot be read.
        """
        __tracebackhide__ = True
        self.result, message = judgement.judge_expressions(self.result, expressions)
        if message:
            pytest.fail(message, pytrace=False)

    def __getattr__(self, name: str) -> object:
        """Give the figures by their names: ``case.summary``, ``case.resources``, …"""
        return getattr(self.result, name)


class PoissonLoad:
    """Sends open-loop Poisson load to a server: ``result = poisson_load(server)``."""

    def __init__(
        self,
        request: pytest.FixtureRequest,
        rate: float,
        buffer_size: int,
        benchmark: BenchmarkFixture,
    ) -> None:
        """Belong to one test."""
        self._item: pytest.Item = request.node
        self.benchmark = benchmark
        self.rate = rate
        self.buffer_size = buffer_size
        self.case: LoadedCase | None = None

    def __call__(self, server: RunningServer) -> LoadedCase:
        """Load ``server`` for this test's duration and return what came out.

        The test's SLOs (of its marker and of ``--servebench-slo``) are judged when the test ends.

        Raises:
            InvalidMeasurementError: the generator failed, so that the numbers say nothing.
        """
        __tracebackhide__ = True
        if self.case is not None:
            pytest.fail("poisson_load was called twice: one test is one case.", pytrace=False)
        config = self._item.config
        session = session_of(config)
        settings = session.settings
        duration = marked_seconds(self._item, "duration", settings.duration)
        case = Case(
            name=self._item.name,
            nodeid=self._item.nodeid,
            rate=self.rate,
            buffer_size=self.buffer_size,
            duration=duration,
            workers=settings.worker_threads,
            warmup=marked_seconds(self._item, "warmup", settings.warmup),
            timeout=marked_seconds(self._item, "timeout", settings.timeout),
            drain=settings.drain,
            seed=settings.seed,
            priority=settings.priority,
            max_lag=settings.max_lag,
        )
        progress = config.stash[PROGRESS]
        try:
            with progress.load() as show:
                result = run_case(case, server, session.describe(server), session.model(), show)
        except ServebenchError as error:
            _fail(error)
        result = session.save_records(result)
        self.case = LoadedCase(result)
        records = result.records
        assert records is not None
        config.hook.pytest_servebench_case_finished(config=config, result=result)
        benchmark_bridge.record(self._item, self.benchmark, records.latency()[records.ok].tolist())
        if result.invalid_reason:
            self.case.result = dataclasses.replace(result, verdict="invalid")
            judgement.raise_invalid(self.case.result)
        return self.case


@pytest.fixture
def poisson_load(
    request: pytest.FixtureRequest,
    rate: float,
    buffer_size: int,
    benchmark: BenchmarkFixture,
) -> PoissonLoad:
    """Open-loop Poisson load at this case's rate and buffer size: ``poisson_load(server)``."""
    if hasattr(request.config, "workerinput"):
        _fail(
            OptionError(
                "-n: servers that are loaded at the same time make each other's numbers wrong; "
                "run load tests without -n, or with -n 0."
            )
        )
    load = PoissonLoad(request, rate, buffer_size, benchmark)
    request.node.stash[LOAD] = load
    return load


LOAD = pytest.StashKey[PoissonLoad]()
