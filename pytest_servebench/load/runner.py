"""Run one load in a separate process and collect its records."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import InvalidMeasurementError
from pytest_servebench.load.arrivals import is_planned
from pytest_servebench.load.child import Ending, run_child
from pytest_servebench.load.choice import Chosen
from pytest_servebench.load.device import Generator
from pytest_servebench.load.draws import drawn, sample_stream, sampled_arrivals
from pytest_servebench.load.journal import Journal
from pytest_servebench.load.limits import check_open_files
from pytest_servebench.load.occupancy import occupancy
from pytest_servebench.load.records import NEVER, Records, copied, new_store
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.storage import check_memory, journal_file, records_file
from pytest_servebench.load.store import RecordStore
from pytest_servebench.load.turns import Turns, asked
from pytest_servebench.load.validity import lag_p99, unaccounted

_UNKNOWN: Final = (
    "waited_seconds", "throttled_seconds", "suspended_seconds", "steal", "cpu_pressure",
    "memory_pressure", "io_pressure", "reconnections", "received_bytes",
)  # fmt: skip
"""What only a generator that finished can report."""


@dataclass(frozen=True)
class LoadResult:
    """The result of one run of load.

    Attributes:
        records: one record for each arrival.
        payloads: for each arrival, the index of its request; shape ``(n,)``.
        heads: status line and headers of those in ``answers``.
        answers: index of an arrival to the body of its answer, for a sample of the answers.
        failures: number of failed requests by reason, such as ``"timeout: no answer in time"``.
        pauses: how late the generator was at each check of the deadlines, seconds; shape ``(k,)``.
        start: the clock's start on the system's monotonic clock, ns.
        generator: how the load generator did.
        failure: why the load was cut short, if it was; the records hold what had happened until
            then.
        journal: the streamed answers, each of which it yields once; to be closed.
    """

    records: Records
    payloads: npt.NDArray[np.uint32]
    heads: Mapping[int, bytes]
    answers: Mapping[int, bytes]
    failures: Mapping[str, int]
    pauses: npt.NDArray[np.float64]
    start: int
    generator: Generator
    failure: str | None = None
    journal: Journal | None = None


Runner = Callable[[LoadSpec, Callable[[RecordStore], None]], LoadResult]
"""Generates a load, and calls back with its live records; see :func:`run_load`."""


def run_load(spec: LoadSpec, watch: Callable[[RecordStore], None] = lambda _: None) -> LoadResult:
    """Generate the load of ``spec`` in a child process and wait for its end.

    Args:
        spec: what load to make.
        watch: called with the live records about ten times per second, and ten times as often
            until the clock starts; an exception ends the load.

    Raises:
        InvalidMeasurementError: the generator failed before its clock started.
        OptionError: the arrival process cannot fill the window, nothing arrives in it, there is no
            space for the records, a certificate cannot be read, or the system does not allow that
            many connections.
    """
    check_open_files(spec.workers, spec.streams)
    if spec.target.tls is not None:
        spec.target.tls.context()
    check_memory(spec)
    plan = drawn(spec)
    size = len(plan.scheduled)
    sampled = sampled_arrivals(size, spec.samples, sample_stream(spec.seed, spec.rate))
    with records_file(spec, size) as records, ExitStack() as files:
        journal = files.enter_context(journal_file(spec, size)) if spec.streamed else None
        store = new_store(records, plan.scheduled, plan.payloads, int(spec.duration * 1e9))
        turns = plan.turns
        del plan  # the store has it
        try:
            ending = run_child(spec.job(sampled), records, store, watch, journal)
            if ending.failure is not None and store.start == NEVER:
                raise InvalidMeasurementError(ending.failure)
            made = _made(store, turns)
            result = _collect(spec, store.start, made, ending)
            if journal is not None:
                files.pop_all()  # the reader closes it
                result = replace(result, journal=Journal(journal, made.places))
            return result
        finally:
            store.close()


@dataclass(frozen=True)
class _Made:
    """The content of a store after the load.

    Attributes:
        records: of all requests that arrived, in the order of the arrivals.
        payloads: the index of each one's request; shape ``(n,)``.
        places: the index in them of each row of the store.
    """

    records: Records
    payloads: Chosen
    places: Sequence[int]

    def by_index(self, of_rows: Mapping[str, Any]) -> dict[int, Any]:
        """Return what the generator reported for some rows, by their indexes."""
        return {self.places[int(row)]: value for row, value in of_rows.items()}

    def bodies(self, of_rows: Mapping[str, str]) -> dict[int, bytes]:
        """Return the same of bytes in hexadecimal."""
        return {index: bytes.fromhex(text) for index, text in self.by_index(of_rows).items()}


def _made(store: RecordStore, turns: Turns | None) -> _Made:
    records, payloads = Records.of(store), copied(store, "payload")
    if turns is None:
        return _Made(records, payloads, range(len(records)))
    order = asked(records.scheduled)
    places = np.full(len(records), NEVER)
    places[order] = np.arange(len(order))
    return _Made(records.of_sessions(turns, order), payloads[order], places.tolist())


def _collect(spec: LoadSpec, start: int, made: _Made, ending: Ending) -> LoadResult:
    outcome = ending.outcome or _unknown(ending, (time.monotonic_ns() - start) / 1e9)
    unread = {index: time / 1e9 for index, time in made.by_index(outcome["unread"]).items()}
    records = replace(made.records, unread=unread, planned=is_planned(spec.arrivals))
    if late := made.by_index(outcome["late_reading"]):
        seconds = np.zeros(len(records))
        seconds[[*late]] = [ns / 1e9 for ns in late.values()]
        records = replace(records, late_reading=seconds)
    generator: dict[str, Any] = outcome["generator"]
    check = spec.arrivals.check(records.scheduled[records.drawn], spec.rate, spec.duration)
    lag_idle, lag_busy = lag_p99(records)
    workers = occupancy(records, spec.workers)
    pauses = np.array(outcome["pauses"], dtype=np.float64) / 1e9
    return LoadResult(
        records=records,
        payloads=made.payloads,
        heads=made.bodies(outcome["heads"]),
        answers=made.bodies(outcome["answers"]),
        failures={f"{word}: {reason}": number for word, reason, number in outcome["reasons"]},
        pauses=pauses,
        start=start,
        generator=Generator(
            **generator,
            cpu_share=generator["cpu_seconds"] / outcome["elapsed"],
            stops=ending.stops,
            longest_pause=float(pauses.max(initial=0.0)),
            lag_idle_p99=lag_idle,
            lag_busy_p99=lag_busy,
            unaccounted=unaccounted(records),
            arrivals=str(spec.arrivals),
            arrivals_plausible=check.plausible,
            dispersion=check.dispersion,
            lag1=check.lag1,
            all_workers_busy=workers.all_busy,
            too_few_workers=workers.too_few,
        ),
        failure=ending.failure,
    )


def _unknown(ending: Ending, elapsed: float) -> Mapping[str, Any]:
    """Return the outcome of a generator that died ``elapsed`` s after its start."""
    return {
        "elapsed": max(elapsed, 1e-3),  # it may have died just before the start
        "generator": {
            **dict.fromkeys(("pacing", "priority", "event_loop"), "unknown"),
            **dict.fromkeys(_UNKNOWN),
            "cpu_seconds": ending.cpu_seconds,
            "involuntary_switches": ending.involuntary_switches,
            "resent": 0,
        },
        "pauses": [],
        "unread": {},
        "late_reading": {},
        "reasons": [],
        "heads": {},
        "answers": {},
    }
