"""One case from beginning to end: warm-up, load, drain, and the check of its answers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from pytest_servebench.load.classes import Classes
from pytest_servebench.load.records import Records
from pytest_servebench.load.runner import Runner, run_load
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.store import NEVER, RecordStore
from pytest_servebench.load.turns import SessionCounts
from pytest_servebench.load.validity import invalid_reason
from pytest_servebench.measure.cpu_interval import cpu_estimate, per_request
from pytest_servebench.measure.footprint import proportional
from pytest_servebench.measure.monitor import ResourceMonitor
from pytest_servebench.measure.traffic import Traffic, check_answers
from pytest_servebench.measure.workload import schedule_digest
from pytest_servebench.runs.results import CaseResult, ServerInfo, StreamedAnswers, Workload
from pytest_servebench.servers.base import RunningServer
from pytest_servebench.stats.classes import class_figures
from pytest_servebench.stats.summary import summarize
from pytest_servebench.streaming.collect import collect

_ALIVE_INTERVAL = 0.2  # seconds between two checks of the server


@dataclass(frozen=True)
class Case:
    """One case: the load for one server.

    Attributes:
        name: the test's name with its id.
        nodeid: the test's node id.
        load: what load to make.
        max_lag: lag of the generator, seconds, beyond which an arrival is late.
    """

    name: str
    nodeid: str
    load: LoadSpec
    max_lag: float
    label: str = ""


def run_case(
    case: Case,
    server: RunningServer,
    info: ServerInfo,
    traffic: Traffic,
    watch: Callable[[RecordStore], None],
    run: Runner = run_load,
) -> CaseResult:
    """Load ``server`` as ``case`` says and return the result, not yet judged.

    Args:
        case: what to do.
        server: a running server.
        info: the server as shown in reports.
        traffic: the requests, and how answers are checked.
        watch: called with the live records, as by :func:`~pytest_servebench.load.runner.run_load`.
        run: generates the load; by default, from one process on this machine.

    Raises:
        ServerDiedError: the server died under the load.
        InvalidMeasurementError: the generator failed before its clock started.
        OptionError: as :func:`~pytest_servebench.load.runner.run_load`.
    """
    spec = case.load
    next_look = 0.0

    def look(store: RecordStore) -> None:
        nonlocal next_look
        if (start := store.start) != NEVER:
            monitor.expect(start / 1e9, start / 1e9 + spec.duration)
        if (now := time.monotonic()) >= next_look:
            next_look = now + _ALIVE_INTERVAL
            server.check_alive()
        watch(store)

    server.check_alive()
    before = proportional(server.pids())
    with ResourceMonitor(server.pids, info.cpus) as monitor:
        load = run(spec, look)
    merged = 0
    with load.journal or nullcontext():
        server.check_alive()
        after = proportional(server.pids())
        if load.journal is not None:
            collected = collect(load, traffic.ways)
            load, merged = collected.load, collected.merged
    checked = check_answers(load, traffic)
    records = dataclasses.replace(
        checked.records, classes=Classes.of(load.payloads, traffic.classes)
    )
    start = load.start / 1e9
    offered = spec.arrivals.mean_rate(spec.rate, spec.duration)
    summary = summarize(records, offered, case.max_lag)
    resources = dataclasses.replace(
        monitor.resources(start, start + spec.duration, generator=load.generator.cpu_share),
        pss_before=before,
        pss_after=after,
    )
    if (cpu := cpu_estimate(resources, records)) is not None:
        each = per_request(cpu, summary.throughput)
        more = {"cpu": cpu, **({} if each is None else {"cpu_per_request": each})}
        summary = dataclasses.replace(summary, estimates={**summary.estimates, **more})
    return CaseResult(
        **spec.shared_with(CaseResult),
        name=case.name,
        nodeid=case.nodeid,
        label=case.label,
        server=info,
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
            **spec.shared_with(Workload),
            schedule_sha256=schedule_digest(
                records.scheduled[records.drawn], load.payloads[records.drawn], spec.think
            ),
            requests_sha256=traffic.digest,
            keep_alive=spec.terms.keep_alive,
            streams=spec.streams,
        ),
        sessions=None
        if (turns := records.turns) is None
        else SessionCounts.of(turns, records.outcome),
        streamed=_streamed(traffic, records, merged),
        classes=class_figures(records, offered, case.max_lag),
        records=records,
    )


def _streamed(traffic: Traffic, records: Records, merged: int) -> StreamedAnswers | None:
    if (streams := records.streams) is None:
        return None
    names = dict.fromkeys(way.format.name for way in traffic.ways)
    return StreamedAnswers(
        format=", ".join(names),
        counted=streams.counted,
        uncounted=int((records.ok & streams.uncounted()).sum()),
        events=int(streams.offsets[-1]),
        bunched=int(streams.bunched.sum()),
        merged=merged,
    )
