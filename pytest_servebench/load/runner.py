"""Run one load in a process of its own and bring back its records."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import InvalidMeasurementError
from pytest_servebench.load.generator import payload_choice, prepare
from pytest_servebench.load.limits import check_open_files
from pytest_servebench.load.occupancy import occupancy
from pytest_servebench.load.records import Phase, Records, RecordStore
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.validity import lag_p99, unaccounted
from pytest_servebench.python_child import python_child
from pytest_servebench.results import Generator

_POLL = 0.1  # seconds between two looks at the child
_QUICK_POLL = 0.01  # the same until the clock starts: the lead before it must be seen in time
_SLACK = 15.0  # seconds beyond its own bounds that the generator may take, to start and to end
# Its one thread does all the work: those of NumPy's library would only take memory.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class LoadResult:
    """What came out of one run of load.

    Attributes:
        records: one record for each arrival.
        payloads: for each arrival, the index of its request; shape ``(n,)``.
        answers: index of an arrival to the body of its answer, for a sample of those answered.
        error_answers: the same for the first few answers with an HTTP error.
        failures: why requests failed, such as ``"timeout: no answer in time"``, to how many did.
        pauses: how late the generator was at its looks at the deadlines, seconds; shape ``(k,)``.
        start: the clock's start on the system's monotonic clock, ns.
        generator: how the measuring device did.
    """

    records: Records
    payloads: npt.NDArray[np.uint32]
    answers: Mapping[int, bytes]
    error_answers: Mapping[int, bytes]
    failures: Mapping[str, int]
    pauses: npt.NDArray[np.float64]
    start: int
    generator: Generator


def run_load(spec: LoadSpec, watch: Callable[[RecordStore], None] = lambda _: None) -> LoadResult:
    """Make the load of ``spec`` from a child process and wait for its end.

    Args:
        spec: what load to make.
        watch: called with the live records some ten times a second, and ten times as often until
            the clock starts; an exception ends the load.

    Raises:
        InvalidMeasurementError: the generator itself failed.
        OptionError: the arrival process cannot fill the window, a certificate cannot be read, or
            the system does not allow as many connections.
    """
    check_open_files(spec.workers)
    if spec.target.tls is not None:
        spec.target.tls.context()
    with (
        tempfile.TemporaryFile(dir=_memory()) as records,
        tempfile.TemporaryFile() as outcome,
    ):
        store = prepare(spec, records)
        try:
            stops = _run_child(spec, records, outcome, store, watch)
            return _collect(spec, outcome, store, stops)
        finally:
            store.close()


def _memory() -> Path | None:
    """Return a file system in memory: a disk's write-back would delay the generator."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else None


def _run_child(
    spec: LoadSpec,
    records: IO[bytes],
    outcome: IO[bytes],
    store: RecordStore,
    watch: Callable[[RecordStore], None],
) -> int:
    """Return how often the generator was stopped by a signal while it made the load."""
    stops, stopped = 0, False
    limit = spec.warmup + spec.timeout + spec.duration + spec.drain + _SLACK
    with tempfile.TemporaryFile() as text, tempfile.TemporaryFile() as log:
        text.write(spec.to_json().encode())
        text.seek(0)
        command, told = python_child(
            f"{__package__}.generator", str(os.getpid()), str(records.fileno())
        )
        child = subprocess.Popen(
            command,
            stdin=text,
            stdout=outcome,
            stderr=log,
            pass_fds=[records.fileno()],
            env={**os.environ, **_ONE_THREAD, **told},
        )
        try:
            began = time.monotonic()
            while child.poll() is None:
                # Long sleeps under load: waiting with a timeout wakes up again and again, and what
                # this process takes of the processors, the server lacks.
                time.sleep(_POLL if store.phase >= Phase.RUNNING else _QUICK_POLL)
                if (change := _state_change(child.pid)) is not None:
                    # Going on is the end of a stop that was seen, or tells of one too short for it.
                    again, stopped = stopped, change == os.CLD_STOPPED
                    if store.phase >= Phase.RUNNING and not (again and not stopped):
                        stops += 1
                watch(store)
                if time.monotonic() - began > limit:
                    raise InvalidMeasurementError(
                        f"the load generator did not end within {limit:.0f} s, its own bound; "
                        "was it stopped, or the machine suspended? Run the case again."
                    )
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        log.seek(0)
        message = log.read().decode(errors="replace").strip()
    if child.returncode != 0:
        if "PermissionError" in message:
            message += (
                "\nThe system refused real-time priority: allow it (RLIMIT_RTPRIO, CAP_SYS_NICE), "
                "or use --servebench-priority=auto."
            )
        raise InvalidMeasurementError(
            f"the load generator ended with status {child.returncode}:\n{message[-4000:]}"
        )
    return stops


def _state_change(pid: int) -> int | None:
    """Return how a child was last stopped or continued since the last question (``CLD_...``)."""
    if not hasattr(os, "waitid"):
        return None
    try:
        found = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WCONTINUED | os.WNOHANG)
    except ChildProcessError:
        return None
    return None if found is None else found.si_code


def _collect(spec: LoadSpec, outcome_file: IO[bytes], store: RecordStore, stops: int) -> LoadResult:
    if store.phase is not Phase.FINISHED:
        raise InvalidMeasurementError(f"the load generator ended while {store.phase.name.lower()}")
    records = store.snapshot()
    outcome_file.seek(0)
    outcome: dict[str, Any] = json.load(outcome_file)
    strain: dict[str, Any] = outcome["strain"]
    check = spec.arrivals.check(records.scheduled, spec.rate, spec.duration)
    lag_idle, lag_busy = lag_p99(records)
    workers = occupancy(records, spec.workers)
    pauses = np.array(outcome["pauses"], dtype=np.float64) / 1e9
    return LoadResult(
        records=records,
        payloads=payload_choice(spec, len(records)),
        answers=_bodies(outcome["answers"]),
        error_answers=_bodies(outcome["error_answers"]),
        failures={f"{word}: {reason}": number for word, reason, number in outcome["reasons"]},
        pauses=pauses,
        start=store.start,
        generator=Generator(
            pacing=outcome["pacing"],
            priority=outcome["priority"],
            event_loop=outcome["event_loop"],
            cpu_seconds=strain["cpu"],
            cpu_share=strain["cpu"] / strain["elapsed"],
            waited_seconds=strain["waited"],
            involuntary_switches=strain["involuntary_switches"],
            throttled_seconds=strain["throttled"],
            suspended_seconds=strain["suspended"],
            stops=stops,
            longest_pause=float(pauses.max(initial=0.0)),
            steal=strain["steal"],
            cpu_pressure=strain["cpu_pressure"],
            memory_pressure=strain["memory_pressure"],
            io_pressure=strain["io_pressure"],
            lag_idle_p99=lag_idle,
            lag_busy_p99=lag_busy,
            unaccounted=unaccounted(records),
            resent=outcome["resent"],
            arrivals=str(spec.arrivals),
            arrivals_plausible=check.plausible,
            dispersion=check.dispersion,
            lag1=check.lag1,
            reconnections=outcome["reconnections"],
            received_bytes=outcome["received_bytes"],
            own_failures=outcome["own_failures"],
            all_workers_busy=workers.all_busy,
            too_few_workers=workers.too_few,
        ),
    )


def _bodies(answers: Mapping[str, str]) -> dict[int, bytes]:
    return {int(index): bytes.fromhex(body) for index, body in answers.items()}
