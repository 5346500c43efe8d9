"""Runs as they could have been measured: a simulated queue gives the records."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pytest_servebench.errors import ServerDiedError
from pytest_servebench.load.arrivals import Poisson
from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.measure.capacity_plan import SearchSettings
from pytest_servebench.objectives.slo import judge, overall, parse_slo
from pytest_servebench.runs.results import CapacityResult, CaseResult, Resources, Run, ServerInfo
from pytest_servebench.stats.estimates import Estimate
from pytest_servebench.stats.summary import summarize
from simulation.capacities import searched
from simulation.cases import calm_generator, with_cost
from simulation.queues import fifo_waits

TENSORFLOW_SERVING = ServerInfo(
    kind="tensorflow_serving",
    title="TensorFlow Serving",
    implementation="savedmodel-server 0.1.0 (TensorFlow 2.21.0)",
    base_url="http://127.0.0.1:8501",
    protocol="TensorFlow Serving REST",
    threads=1,
    workers=1,
    cpus=(0, 1),
    start_seconds=4.21,
    rest_memory=372e6,
    rest_measure="pss",
)
TORCHSERVE = dataclasses.replace(
    TENSORFLOW_SERVING,
    kind="torchserve",
    title="TorchServe",
    implementation="TorchServe 0.12.0 (PyTorch 2.13.0, Java 17.0.9)",
    base_url="http://127.0.0.1:8080",
    protocol="TorchServe REST",
    start_seconds=12.4,
    rest_memory=811e6,
)
SERVICE_MS = {"tensorflow_serving": 6.0, "torchserve": 9.0}


def simulate(
    rate: float,
    duration: float,
    buffer_size: int,
    *,
    service: float,
    workers: int = 10,
    seed: int = 1,
    error_share: float = 0.0,
) -> Records:
    """Return the records of Poisson arrivals at a bounded queue with log-normal service times.

    Args:
        rate: arrivals a second.
        duration: length of the window, seconds.
        buffer_size: requests that wait while all workers are busy.
        service: mean service time at the server, seconds.
        workers: connections.
        seed: of the dice.
        error_share: share of the requests that are answered with an HTTP error.
    """
    dice = np.random.default_rng([seed, round(rate * 1000)])
    scheduled = Poisson().schedule(rate, duration, dice)
    n = len(scheduled)
    lag = (dice.gamma(2.0, 20e3, n) + 15e3).astype(np.int64)
    sigma = 0.25
    need = (dice.lognormal(math.log(service) - sigma**2 / 2, sigma, n) * 1e9).astype(np.int64)
    enqueued = scheduled + lag
    waited = fifo_waits(
        enqueued.astype(np.float64), need.astype(np.float64), 1, buffer_size + workers
    )
    dropped = np.isnan(waited)
    came = enqueued[~dropped]
    done = came + waited[~dropped].astype(np.int64) + need[~dropped]
    # The engine takes a request up as soon as a connection is free; the server works on one alone.
    taken = np.maximum(came, np.concatenate([np.zeros(workers, np.int64), done])[: len(done)])
    never = np.full(n, NEVER, dtype=np.int64)
    dequeued, sent, first_byte, ended = never, never.copy(), never.copy(), enqueued.copy()
    for column, times in (
        (dequeued, taken), (sent, taken + 8_000), (first_byte, done - 5_000), (ended, done)
    ):  # fmt: skip
        column[~dropped] = times
    failed = np.zeros(n, dtype=np.bool_)
    failed[~dropped] = dice.random(len(came)) < error_share
    return Records(
        scheduled, enqueued, dequeued, sent, first_byte, ended,
        np.select([dropped, failed], [Outcome.DROPPED, Outcome.ERROR_STATUS], Outcome.OK).astype(
            np.uint8
        ),
        np.select([dropped, failed], [0, 503], 200).astype(np.int16),
        int(duration * 1e9),
    )  # fmt: skip


@functools.cache
def case(
    server: ServerInfo = TENSORFLOW_SERVING,
    rate: float = 10.0,
    buffer_size: int = 10,
    *,
    duration: float = 15.0,
    service: float | None = None,
    error_share: float = 0.0,
    attached: bool = False,
    seed: int = 1,
    slo: bool = True,
) -> CaseResult:
    """Return one case of a simulated server."""
    seconds = SERVICE_MS.get(server.kind, 4.0) / 1e3 if service is None else service
    records = simulate(
        rate, duration, buffer_size, service=seconds, error_share=error_share, seed=seed
    )
    load = min(1.0, rate * seconds)
    memory = 410e6 if server.kind == "tensorflow_serving" else 905e6
    figures = summarize(records, rate)
    # The time to the first byte would have plots of its own, as those of the latency.
    known = {name: one for name, one in figures.estimates.items() if "ttfb" not in name}
    if attached:
        server = dataclasses.replace(
            server, threads=None, workers=None, cpus=(), start_seconds=None, rest_memory=None,
            rest_measure=None,
        )  # fmt: skip
        resources = Resources(None, None, None, None, 41.0)
    else:
        cpu = 3 + 95 * load
        resources = Resources(
            cpu_mean=cpu, cpu_peak=min(200, 12 + 120 * load),
            memory_mean=memory, memory_peak=memory * 1.04, host_cpu_mean=20 + 50 * load,
            pss_before=0.9 * memory, pss_after=0.92 * memory,
        )  # fmt: skip
        known["cpu"] = Estimate(cpu, 0.9 * cpu, 1.1 * cpu)
    figures = dataclasses.replace(figures, estimates=known)
    if not attached:
        figures = with_cost(figures, cpu)
    check = Poisson().check(records.scheduled, rate, duration)
    name = f"test_serving[{server.kind}-rate{rate:g}-buffer{buffer_size}]"
    made = CaseResult(
        name=name,
        nodeid=f"bench_tests/test_serving.py::{name}",
        server=server,
        rate=rate,
        buffer_size=buffer_size,
        duration=duration,
        workers=10,
        seed=seed,
        model="fashion_mnist",
        weights_sha256="3f2a91c07d4e" + "0" * 52,
        input_source="16 test images of Fashion-MNIST",
        failures={},
        summary=figures,
        resources=resources,
        generator=calm_generator(
            priority="SCHED_FIFO 1", cpu_seconds=0.21, involuntary_switches=12,
            arrivals_plausible=check.plausible, dispersion=check.dispersion, lag1=check.lag1,
        ),
        records=records,
    )  # fmt: skip
    judged = judge(parse_slo("p50<100ms, p99<50ms"), made) if slo else ()
    return dataclasses.replace(made, clauses=judged, verdict=overall(judged))


def run(cases: Sequence[CaseResult]) -> Run:
    return Run(
        name="20250301-101500",
        started="2025-03-01T10:15:00+01:00",
        machine={
            "cpu": "AMD EPYC 7B13", "cores": 2, "memory": 8 * 2**30,
            "system": "Linux 6.1.0", "python": "3.11.7",
        },
        versions={"pytest-servebench": "0.1.0", "pytest": "8.4.0", "numpy": "2.3.1"},
        cases=tuple(cases),
    )  # fmt: skip


def invalid(result: CaseResult) -> CaseResult:
    return dataclasses.replace(
        result,
        verdict="invalid",
        clauses=(),
        invalid_reason="41 of 150 arrivals were more than 5 ms late (worst 31.2 ms): the load "
        "generator did not get the processor in time.",
    )


def default_run() -> Run:
    """Return what the repository's own suite measures: 2 servers, 3 rates, 2 buffers, 15 s."""
    return run(
        [
            case(server, rate, buffer_size)
            for server in (TENSORFLOW_SERVING, TORCHSERVE)
            for rate in (1.0, 5.0, 10.0)
            for buffer_size in (10, 50)
        ]
    )


def overloaded_run(duration: float = 30.0) -> Run:
    """Return rates that reach beyond what either server can do, with errors and an invalid case."""
    cases = [
        case(server, rate, buffer_size, duration=duration,
             error_share=0.02 if rate == 100 and server is TORCHSERVE else 0.0)
        for server in (TENSORFLOW_SERVING, TORCHSERVE)
        for rate in (10.0, 50.0, 100.0, 200.0)
        for buffer_size in (10, 50)
    ]  # fmt: skip
    cases[3] = invalid(cases[3])
    return run(cases)


OTHER = ServerInfo(
    kind="other", title="Other", implementation="other 2.1", base_url="http://127.0.0.1:9",
    protocol="Other REST", threads=4, workers=2, cpus=(0, 1, 2, 5),
)  # fmt: skip


NAMES = {
    "TensorFlow Serving": 3.0, "TorchServe": 6.0, "KServe": 7.0, "MLServer": 8.0, "Triton": 3.0,
    "LitServe": 5.0, "BentoML": 6.0, "Ray Serve": 9.0, "FastAPI": 4.5, "FastAPI, two workers": 4.0,
    "ONNX Runtime": 4.0, "TorchServe, batches of 8": 12.0,
}  # fmt: skip
"""Twelve servers with their mean service times, ms."""


def twelve_run(
    rates: Sequence[float] = (10.0, 50.0, 100.0, 200.0), buffers: Sequence[int] = (50,)
) -> Run:
    """Return what a choice among twelve servers measures."""
    made = []
    for number, (title, milliseconds) in enumerate(NAMES.items()):
        server = dataclasses.replace(
            OTHER, kind=f"server_{number}", title=title, implementation=f"{title} 2.{number}",
            threads=1, workers=1, cpus=(0, 1), start_seconds=2.0 + 1.7 * number,
            rest_memory=120e6 + 61e6 * number, rest_measure="pss",
        )  # fmt: skip
        for rate in rates:
            for size in buffers:
                one = case(server, rate, size, duration=30.0, service=milliseconds / 1e3,
                           seed=number + 1)  # fmt: skip
                memory = 150e6 + 70e6 * number
                used = dataclasses.replace(
                    one.resources, memory_mean=memory, memory_peak=1.1 * memory,
                    pss_before=0.8 * memory, pss_after=0.85 * memory,
                )  # fmt: skip
                made.append(dataclasses.replace(one, resources=used))
    return run(made)


def single_run() -> Run:
    """Return one case alone."""
    return run([case(slo=False)])


def one_rate_run() -> Run:
    """Return two servers at one rate with one buffer size, long enough for p99."""
    return run(
        [case(server, 40.0, 50, duration=60.0) for server in (TENSORFLOW_SERVING, TORCHSERVE)]
    )


def nothing_ok_run() -> Run:
    """Return cases in which every request failed."""
    return run([case(rate=rate, error_share=1.0) for rate in (5.0, 20.0)])


def no_arrivals_run() -> Run:
    """Return a case whose schedule is empty, as a low rate can make it."""
    return run([case(rate=0.001, duration=1.0)])


def attached_run() -> Run:
    """Return servers whose processes cannot be seen."""
    return run(
        [
            case(server, rate, attached=server is TORCHSERVE)
            for server in (TENSORFLOW_SERVING, TORCHSERVE)
            for rate in (5.0, 20.0)
        ]
    )


def all_attached_run() -> Run:
    """Return a run in which no server's processes can be seen."""
    return run([case(rate=rate, attached=True) for rate in (5.0, 20.0)])


def all_invalid_run() -> Run:
    """Return a run that measured nothing."""
    return run([invalid(case(rate=rate)) for rate in (5.0, 20.0)])


def hostile_run() -> Run:
    """Return names and texts that no terminal and no typesetter should be given as they are."""
    nasty = "Srv\n$\\frac{$ \x1b[31m\u202eevil\ud800 模型服务器" + "long " * 40
    server = dataclasses.replace(OTHER, title=nasty, implementation=nasty, protocol=nasty)
    results = [case(server, rate) for rate in (5.0, 20.0)]
    results[0] = dataclasses.replace(
        results[0], name=f"test_{nasty}[x]", nodeid=f"a.py::test_{nasty}[x]", model=nasty,
        input_source=nasty,
    )  # fmt: skip
    results[1] = dataclasses.replace(results[1], verdict="invalid", invalid_reason=nasty)
    return dataclasses.replace(run(results), name=nasty, machine={"cpu": nasty, "cores": "?"})


def capacity_run(*names: str, cases: Sequence[CaseResult] = ()) -> Run:
    """Return searches on simulated queues, by what came of them; see :data:`SEARCHES`."""
    found = [_searched(name) for name in names]
    return dataclasses.replace(
        run(cases),
        capacities=tuple(result for result, _ in found),
        probes=tuple(case for _, probes in found for case in probes),
    )


def _other(name: str) -> ServerInfo:
    return dataclasses.replace(OTHER, kind=name.replace(" ", "_"), title=name.capitalize())


_BRIEF = {"slo": "p90<50ms,success_rate>=99%"}
_DIES = {"error": ServerDiedError}
_RANGE = SearchSettings(lowest=50.0, budget=90.0)
SEARCHES: dict[str, tuple[ServerInfo, float, dict[str, Any]]] = {
    "found": (TENSORFLOW_SERVING, 400.0, {"settings": _RANGE}),
    "slower": (TORCHSERVE, 260.0, {"settings": _RANGE}),
    "buffer 10": (TORCHSERVE, 240.0, {"settings": _RANGE, "buffer_size": 10}),
    "open": (TORCHSERVE, 300.0, {"settings": SearchSettings(budget=40.0), "slo": "p99.9<50ms"}),
    "above": (_other("above"), 2000.0, {"settings": SearchSettings(lowest=50.0, highest=400.0)}),
    "below": (_other("below"), 30.0, {"settings": SearchSettings(lowest=50.0)}),
    "generator": (_other("generator"), 2000.0, {"settings": _RANGE, "fails_from": 500.0}),
    "died": (_other("died"), 400.0, {"settings": _RANGE, "fails_from": 150.0, **_DIES}),
    "died at once": (_other("died at once"), 400.0, {"fails_from": 0.0, **_DIES}),
}  # fmt: skip
"""Outcomes of searches: the server, how many requests it serves a second, what else there is."""


@functools.cache
def _searched(name: str) -> tuple[CapacityResult, tuple[CaseResult, ...]]:
    server, service_rate, more = SEARCHES[name]
    return searched(server, service_rate, seed=len(name), **{**_BRIEF, **more})
