"""Records and results of simulated servers, whose truth is known."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.device import Generator
from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.runs.results import CaseResult, Resources, ServerInfo
from pytest_servebench.stats.summary import summarize

Floats = npt.NDArray[np.float64]

SEEN = Resources(55.0, 90.0, 400e6, 520e6, 40.0)
UNSEEN = Resources(None, None, None, None, None)


def waits(arrivals: Floats, services: Floats) -> Floats:
    """Return the waits in a G/G/1 queue, seconds, by Lindley's recursion, written as a maximum.

    Done of request n is the largest of arrival k + all services from k to n.
    """
    worked = np.cumsum(services)
    before = np.concatenate([[0.0], worked[:-1]])
    result: Floats = np.maximum.accumulate(arrivals - before) + before - arrivals
    return result


def records(
    arrivals: Floats,
    latency: Floats,
    window: float,
    failed: npt.NDArray[np.bool_] | None = None,
    outcome: Outcome = Outcome.HTTP_ERROR,
) -> Records:
    """Return the records of requests with these arrivals and latencies, in seconds."""
    scheduled = (arrivals * 1e9).astype(np.int64)
    done = scheduled + np.round(latency * 1e9).astype(np.int64)
    outcomes = np.full(len(scheduled), Outcome.OK, dtype=np.uint8)
    if failed is not None:
        outcomes[failed] = outcome
    status = np.full(len(scheduled), 200, dtype=np.int16)
    return Records(
        scheduled, scheduled, scheduled, scheduled, done, done, outcomes, status, int(window * 1e9)
    )


def mm1_records(rate: float, service_rate: float, number: float, seed: int) -> Records:
    """Return the records of an M/M/1 queue in its steady state, about ``number`` of them."""
    dice = np.random.default_rng(seed)
    window, settle = number / rate, 200 / service_rate / (1 - rate / service_rate)
    size = int((window + settle) * rate * 1.2 + 60)
    arrivals = np.cumsum(dice.exponential(1 / rate, size))
    services = dice.exponential(1 / service_rate, size)
    latency = waits(arrivals, services) + services
    chosen = (arrivals >= settle) & (arrivals < settle + window)
    return records(arrivals[chosen] - settle, latency[chosen], window)


def case(
    rows: Records,
    rate: float = 10.0,
    *,
    kind: str = "torchserve",
    title: str = "TorchServe",
    implementation: str = "TorchServe 0.12.0",
    buffer_size: int = 50,
    resources: Resources = SEEN,
    invalid_reason: str | None = None,
) -> CaseResult:
    """Return a case with these records."""
    name = f"test_load[{kind}-rate{rate:g}-buffer{buffer_size}]"
    return CaseResult(
        name=name,
        nodeid=f"test_it.py::{name}",
        server=ServerInfo(kind, title, implementation, "http://127.0.0.1:1", "REST", 1, 1, (0,)),
        rate=rate,
        buffer_size=buffer_size,
        duration=rows.window / 1e9,
        workers=10,
        seed=0,
        model="adder",
        weights_sha256="0" * 64,
        input_source="random numbers",
        failures={},
        summary=summarize(rows, rate),
        resources=resources,
        generator=calm_generator(cpu_seconds=1e-4 * len(rows), received_bytes=100 * len(rows)),
        verdict="invalid" if invalid_reason else "passed",
        invalid_reason=invalid_reason,
    )


def calm_generator(**changes: Any) -> Generator:
    """Return a measuring device to which nothing happened but ``changes``."""
    calm = Generator(
        pacing="timerfd", priority="normal", event_loop="uvloop", cpu_seconds=0.1, cpu_share=0.01,
        waited_seconds=0.002, involuntary_switches=1, throttled_seconds=0.0, suspended_seconds=0.0,
        stops=0, longest_pause=0.0004, steal=0.0, cpu_pressure=0.1, memory_pressure=0.0,
        io_pressure=0.0, lag_idle_p99=6e-5, lag_busy_p99=7e-5, unaccounted=0, resent=0,
        arrivals="poisson", arrivals_plausible=True, dispersion=1.0, lag1=0.0, reconnections=0,
        received_bytes=0,
    )  # fmt: skip
    return dataclasses.replace(calm, **changes)


def steady(latency: Floats, rate: float = 10.0, failed: int = 0) -> Records:
    """Return the records of requests that arrive evenly, ``failed`` of them in between fail."""
    n = len(latency)
    lost = (np.arange(n) * failed) % n < failed
    arrivals = np.asarray((np.arange(n) + 0.5) / rate, dtype=np.float64)
    return records(arrivals, latency, n / rate, lost)
