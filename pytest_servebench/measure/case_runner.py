"""One case from beginning to end: warm-up, load, drain, and the check of its answers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

from pytest_servebench.load.arrivals import ArrivalProcess
from pytest_servebench.load.connection import Terms
from pytest_servebench.load.records import NEVER, RecordStore
from pytest_servebench.load.runner import run_load
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.target import Target
from pytest_servebench.load.tls import Tls
from pytest_servebench.load.validity import invalid_reason
from pytest_servebench.measure.cpu_interval import cpu_estimate
from pytest_servebench.measure.monitor import ResourceMonitor
from pytest_servebench.measure.traffic import Traffic, check_answers, request_bytes
from pytest_servebench.measure.workload import schedule_digest
from pytest_servebench.runs.results import CaseResult, ServerInfo, Workload
from pytest_servebench.servers.base import RunningServer
from pytest_servebench.stats.summary import summarize

_ALIVE_INTERVAL = 0.2  # seconds between two looks at the server


@dataclass(frozen=True)
class Case:
    """One cell: what is asked of which server.

    Attributes:
        name: the test's name with its id.
        nodeid: the test's node id.
        rate: offered arrivals a second.
        buffer_size: requests that may wait.
        duration: length of the arrival window, seconds.
        workers: connections of the generator.
        warmup: seconds of requests that are not recorded.
        timeout: seconds until a sent request is given up.
        drain: seconds after the window in which started requests may still end.
        arrivals: the process that the arrival times come from.
        seed: seed of the schedule.
        priority: scheduling of the generator.
        max_lag: lateness of the generator, seconds, beyond which an arrival is late.
        samples: how many answers are looked into.
        tls: how TLS is spoken with a server over https.
        terms: what holds for every connection.
    """

    name: str
    nodeid: str
    rate: float
    buffer_size: int
    duration: float
    workers: int
    warmup: float
    timeout: float
    drain: float
    arrivals: ArrivalProcess
    seed: int
    priority: str
    max_lag: float
    samples: int
    tls: Tls
    terms: Terms


def run_case(
    case: Case,
    server: RunningServer,
    info: ServerInfo,
    traffic: Traffic,
    watch: Callable[[RecordStore], None],
) -> CaseResult:
    """Load ``server`` as ``case`` says and return what came out, not yet judged.

    Args:
        case: what to do.
        server: a running server.
        info: how reports show it.
        traffic: what to send, and how answers are judged.
        watch: called with the live records, as by :func:`~pytest_servebench.load.runner.run_load`.

    Raises:
        ServerDiedError: the server ended under the load.
        InvalidMeasurementError: the generator failed before its clock started.
        OptionError: as :func:`~pytest_servebench.load.runner.run_load`.
    """
    target = Target.parse(server.base_url, case.tls)
    # A protocol of others need not know of any.
    authorization = getattr(server.protocol, "authorization", ())
    spec = LoadSpec(
        target=target,
        requests=tuple(
            request_bytes(one, target, authorization, keep=case.terms.keep)
            for one in traffic.requests
        ),
        rate=case.rate,
        duration=case.duration,
        buffer_size=case.buffer_size,
        workers=case.workers,
        arrivals=case.arrivals,
        seed=case.seed,
        warmup=case.warmup,
        timeout=case.timeout,
        drain=case.drain,
        samples=case.samples,
        priority=case.priority,
        terms=case.terms,
    )
    next_look = 0.0

    def look(store: RecordStore) -> None:
        nonlocal next_look
        if (start := store.start) != NEVER:
            monitor.expect(start / 1e9, start / 1e9 + case.duration)
        if (now := time.monotonic()) >= next_look:
            next_look = now + _ALIVE_INTERVAL
            server.check_alive()
        watch(store)

    server.check_alive()
    with ResourceMonitor(server.pids) as monitor:
        load = run_load(spec, look)
    server.check_alive()
    checked = check_answers(load, traffic)
    records = checked.records
    start = load.start / 1e9
    offered = case.arrivals.mean_rate(case.rate, case.duration)
    summary = summarize(records, offered, case.max_lag, load.unread)
    resources = monitor.resources(start, start + case.duration)
    if (cpu := cpu_estimate(resources, records)) is not None:
        summary = dataclasses.replace(summary, estimates={**summary.estimates, "cpu": cpu})
    return CaseResult(
        name=case.name,
        nodeid=case.nodeid,
        server=info,
        rate=case.rate,
        buffer_size=case.buffer_size,
        duration=case.duration,
        workers=case.workers,
        seed=case.seed,
        model=traffic.name,
        weights_sha256=traffic.weights_sha256,
        input_source=traffic.source,
        failures=checked.failures,
        summary=summary,
        resources=resources,
        generator=load.generator,
        invalid_reason=load.failure
        or invalid_reason(records, load.generator, load.pauses, case.max_lag),
        answers_checked=checked.answers,
        answers_wrong=checked.wrong,
        workload=Workload(
            schedule_sha256=schedule_digest(records.scheduled, load.payloads),
            requests_sha256=traffic.digest,
            timeout=case.timeout,
            warmup=case.warmup,
            drain=case.drain,
            keep_alive=case.terms.keep,
        ),
        records=records,
    )
