"""Run one load in a process of its own and bring back its records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import InvalidMeasurementError
from pytest_servebench.load.arrivals import check_poisson
from pytest_servebench.load.generator import (
    payload_choice,
    prepare,
)
from pytest_servebench.load.records import NEVER, Outcome, Phase, Records, RecordStore
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.results import Generator

_POLL = 0.05
_SLACK = 15.0  # seconds beyond its own bounds that the generator may take, to start and to end


@dataclass(frozen=True)
class LoadResult:
    """What came out of one run of load.

    Attributes:
        records: one record for each arrival.
        payloads: for each arrival, the index of its request; shape ``(n,)``.
        answers: index of an arrival to the body of its answer, for a sample of those answered.
        error_answers: the same for the first few answers with an HTTP error.
        start: the clock's start on the system's monotonic clock, ns.
        generator: how the measuring device did.
    """

    records: Records
    payloads: npt.NDArray[np.int64]
    answers: Mapping[int, bytes]
    error_answers: Mapping[int, bytes]
    start: int
    generator: Generator


def run_load(spec: LoadSpec, watch: Callable[[RecordStore], None] = lambda _: None) -> LoadResult:
    """Make the load of ``spec`` from a child process and wait for its end.

    Args:
        spec: what load to make.
        watch: called some twenty times a second with the live records; an exception ends the load.

    Raises:
        InvalidMeasurementError: the generator itself failed.
    """
    with (
        tempfile.TemporaryFile(dir=_memory()) as records,
        tempfile.TemporaryFile() as outcome,
    ):
        store = prepare(spec, records)
        try:
            _run_child(spec, records, outcome, lambda: watch(store))
            return _collect(spec, outcome, store)
        finally:
            store.close()


def _memory() -> Path | None:
    """Return a file system in memory: a disk's write-back would delay the generator."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else None


def _run_child(
    spec: LoadSpec, records: IO[bytes], outcome: IO[bytes], watch: Callable[[], None]
) -> None:
    limit = spec.warmup + spec.timeout + spec.duration + spec.drain + _SLACK
    with tempfile.TemporaryFile() as text, tempfile.TemporaryFile() as log:
        text.write(spec.to_json().encode())
        text.seek(0)
        child = subprocess.Popen(
            [sys.executable, "-m", __package__ + ".generator",
             str(os.getpid()), str(records.fileno())],
            stdin=text, stdout=outcome, stderr=log, pass_fds=[records.fileno()],
        )  # fmt: skip
        try:
            began = time.monotonic()
            while True:
                try:
                    child.wait(_POLL)
                    break
                except subprocess.TimeoutExpired:
                    watch()
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


def _collect(spec: LoadSpec, outcome_file: IO[bytes], store: RecordStore) -> LoadResult:
    if store.phase is not Phase.FINISHED:
        raise InvalidMeasurementError(f"the load generator ended while {store.phase.name.lower()}")
    records = store.snapshot()
    outcome_file.seek(0)
    outcome: dict[str, Any] = json.load(outcome_file)
    check = check_poisson(records.scheduled, spec.rate, spec.duration)
    return LoadResult(
        records=records,
        payloads=np.array(payload_choice(spec, len(records)), dtype=np.int64),
        answers=_bodies(outcome["answers"]),
        error_answers=_bodies(outcome["error_answers"]),
        start=store.start,
        generator=Generator(
            pacing=outcome["pacing"],
            priority=outcome["priority"],
            event_loop=outcome["event_loop"],
            cpu_seconds=outcome["cpu_seconds"],
            involuntary_switches=outcome["involuntary_switches"],
            arrivals_plausible=check.plausible,
            dispersion=check.dispersion,
            lag1=check.lag1,
        ),
    )


def _bodies(answers: Mapping[str, str]) -> dict[int, bytes]:
    return {int(index): bytes.fromhex(body) for index, body in answers.items()}


def invalid_reason(records: Records, max_lag: float) -> str | None:
    """Return why the measurement says nothing about the server, or ``None`` if it does.

    Args:
        records: the run's records.
        max_lag: lateness in seconds of the generator that is tolerated.

    Taking an arrival up never waits for the server, so that lateness here is the client's alone.
    One stall is an accident that the latencies bear; a hundredth of the arrivals is not.
    """
    missing = int(np.count_nonzero(records.enqueued == NEVER))
    if missing:
        return (
            f"{missing} of {len(records)} arrivals were never taken up: the load generator could "
            "not keep up. Lower the rate, or give the generator a processor of its own "
            "(--servebench-server-cpus leaves one free)."
        )
    lost = int(
        np.count_nonzero((records.outcome == Outcome.OK) & (records.done < records.scheduled))
    )
    if lost:
        return f"{lost} requests were done before they arrived: the system's clock is broken."
    late = records.generator_lag() > max_lag
    if late.sum() >= 2 and late.mean() > 0.01:
        return (
            f"{int(late.sum())} of {len(records)} arrivals were more than {max_lag * 1e3:g} ms "
            f"late (worst {records.generator_lag().max() * 1e3:.1f} ms): the load generator did "
            "not get the processor in time. Stop other work on this machine, leave the generator a "
            "processor (--servebench-server-cpus), allow real-time priority, or raise "
            "--servebench-max-lag."
        )
    return None
