"""A case is measured by whatever runner makes its load."""

import time
from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.runner import LoadResult
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.store import RecordStore
from pytest_servebench.load.target import Target
from pytest_servebench.measure.case_runner import Case, run_case
from pytest_servebench.measure.traffic import of_requests
from pytest_servebench.protocols.base import HttpRequest
from pytest_servebench.runs.results import ServerInfo
from pytest_servebench.servers.base import RunningServer
from simulation.cases import calm_generator, records

SPEC = LoadSpec(
    target=Target("127.0.0.1", 1), requests=(b"a",), rate=20.0, duration=2.0, buffer_size=3,
    workers=4, seed=5, warmup=0.25, timeout=6.0, drain=7.0,
)  # fmt: skip
INFO = ServerInfo("fake", "Fake", "fake 1", "http://127.0.0.1:1", "REST", 1, 1, ())


class Server:
    def pids(self) -> list[int]:
        return []

    def check_alive(self) -> None: ...


def test_a_case_is_measured_by_the_runner_that_it_is_given() -> None:
    asked = []
    arrivals: npt.NDArray[np.float64] = np.arange(40, dtype=np.float64) * 0.05

    def run(spec: LoadSpec, watch: Callable[[RecordStore], None]) -> LoadResult:
        asked.append(spec)
        return LoadResult(
            records=records(arrivals, np.full(40, 0.003), spec.duration),
            payloads=np.zeros(40, np.uint32), answers={0: b"", 1: b""}, heads={},
            failures={}, pauses=np.zeros(1), start=time.monotonic_ns(), generator=calm_generator(),
        )  # fmt: skip

    case = Case("test_it", "test_file.py::test_it", SPEC, max_lag=0.01)
    server, traffic = cast(RunningServer, Server()), of_requests([HttpRequest("GET", "/")])
    result = run_case(case, server, INFO, traffic, lambda _: None, run)
    assert asked == [SPEC]
    assert (result.summary.arrivals, result.summary.outcomes["ok"]) == (40, 40)
    assert (result.rate, result.buffer_size, result.duration) == (20.0, 3, 2.0)
    assert (result.workers, result.seed, result.answers_checked) == (4, 5, 2)
    assert result.workload is not None
    assert (result.workload.timeout, result.workload.warmup) == (6.0, 0.25)
    assert (result.workload.drain, result.workload.keep_alive) == (7.0, True)
    assert (result.workload.streams, result.streams) == (1, 1)
