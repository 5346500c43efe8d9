"""Records and results of simulated servers, whose truth is known."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.device import Generator
from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.measure.cpu_interval import per_request
from pytest_servebench.runs.results import CaseResult, Resources, ServerInfo
from pytest_servebench.stats.estimates import Estimate, Summary
from pytest_servebench.stats.summary import summarize
from simulation.queues import Law, services, waits

Floats = npt.NDArray[np.float64]

SEEN = Resources(55.0, 90.0, 400e6, 520e6, 40.0)
UNSEEN = Resources(None, None, None, None, None)


def records(
    arrivals: Floats,
    latency: Floats,
    window: float,
    failed: npt.NDArray[np.bool_] | None = None,
    outcome: Outcome = Outcome.ERROR_STATUS,
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


def queue(
    law: Law,
    load: float,
    number: float,
    seed: int | Sequence[int] | np.random.Generator,
    *,
    service: float = 1.0,
    slower: float = 1.0,
    arrivals: int | None = None,
) -> Records:
    """Return the records of about ``number`` requests to a queue in its steady state.

    Args:
        law: of the services; arrivals are Poisson, and there is one server.
        load: share of the time for which the server is busy, before ``slower``.
        number: of requests.
        seed: of what is drawn.
        service: mean service time, seconds.
        slower: factor on the service times.
        arrivals: seed of the arrivals, so that runs can share them.
    """
    dice = np.random.default_rng(seed)
    rate = load / service
    window, settle = number / rate, service * max(400.0, 60 / (1 - load) ** 2)
    size = int(1.1 * (window + settle) * rate + 6 * math.sqrt(number)) + 60
    gaps = dice if arrivals is None else np.random.default_rng(arrivals)
    times = np.cumsum(gaps.exponential(1 / rate, size))
    served = services(law, size, dice) * service * slower
    latency = waits(times, served) + served
    chosen = (times >= settle) & (times < settle + window)
    return records(times[chosen] - settle, latency[chosen], window)


def mm1_records(rate: float, service_rate: float, number: float, seed: int) -> Records:
    """Return the records of an M/M/1 queue in its steady state, about ``number`` of them."""
    return queue("M/M/1", rate / service_rate, number, seed, service=1 / service_rate)


def failures(share: float, burst: int, number: int, seed: int) -> Records:
    """Return the records of requests of which a share fails, on average ``burst`` in a row.

    Whether a request fails depends on the one before alone (Gilbert's model of a bursty channel).
    """
    dice = np.random.default_rng(seed)
    begins, ends = share / (1 - share) / burst, 1 / burst
    # Runs of successes and failures in turn, more than are needed; the first is as likely to be
    # either as any request.
    runs = int(4 * number * share / burst) + 20
    lengths = np.column_stack([dice.geometric(begins, runs), dice.geometric(ends, runs)]).ravel()
    fails = np.tile([False, True], runs)
    if dice.random() < share:
        lengths, fails = lengths[1:], fails[1:]
    failed = np.repeat(fails, lengths)[:number]
    arrivals = np.sort(dice.uniform(0.0, float(number), len(failed)))
    return records(arrivals, np.full(len(failed), 0.1), float(number), failed)


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
    summary = summarize(rows, rate)
    if resources.cpu_mean is not None:
        summary = with_cost(summary, resources.cpu_mean)
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
        summary=summary,
        resources=resources,
        generator=calm_generator(cpu_seconds=1e-4 * len(rows), received_bytes=100 * len(rows)),
        verdict="invalid" if invalid_reason else "passed",
        invalid_reason=invalid_reason,
    )


def with_cost(summary: Summary, cpu: float, half: float = 0.1) -> Summary:
    """Return a summary with the CPU per request that goes with a mean CPU, give or take a share."""
    each = per_request(Estimate(cpu, (1 - half) * cpu, (1 + half) * cpu), summary.throughput)
    more = {} if each is None else {"cpu_per_request": each}
    return dataclasses.replace(summary, estimates={**summary.estimates, **more})


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
