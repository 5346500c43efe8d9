"""The generator's process: ``python -m pytest_servebench.load.generator PARENT_PID RECORDS_FD``.

The specification comes in by standard input, the outcome goes back by standard output, and the
records are in an open file that parent and child share. None of these has a name in the file
system, so that nothing is left of them, however the two end.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from typing import IO

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.arrivals import streams
from pytest_servebench.load.engine import Engine
from pytest_servebench.load.limits import raise_open_files
from pytest_servebench.load.pacing import end_with_parent, set_priority
from pytest_servebench.load.records import RecordStore
from pytest_servebench.load.spec import LoadSpec


def prepare(spec: LoadSpec, file: IO[bytes]) -> RecordStore:
    """Write the schedule's records into an empty file.

    Raises:
        OptionError: the arrival process cannot fill the window.
    """
    arrivals, _ = streams(spec.seed, spec.rate)
    schedule = spec.arrivals.schedule(spec.rate, spec.duration, arrivals)
    return RecordStore.create(file, schedule, int(spec.duration * 1e9))


def payload_choice(spec: LoadSpec, size: int) -> npt.NDArray[np.uint32]:
    """Return for each of ``size`` arrivals the index of its request; shape ``(size,)``."""
    _, payloads = streams(spec.seed, spec.rate)
    return payloads.integers(0, len(spec.requests), size, dtype=np.uint32)


def sampled_arrivals(size: int, samples: int) -> set[int]:
    """Return the indices of the arrivals whose answers are kept: spread over the whole run."""
    if size == 0 or samples == 0:
        return set()
    return {int(index) for index in np.linspace(0, size - 1, min(samples, size))}


def _event_loop() -> tuple[asyncio.AbstractEventLoop, str]:
    try:
        import uvloop  # noqa: PLC0415 - optional where there are no wheels of it
    except ImportError:
        return asyncio.new_event_loop(), "asyncio"
    return uvloop.new_event_loop(), "uvloop"


async def _run(spec: LoadSpec, store: RecordStore) -> Engine:
    size = len(store)
    # A view of the array: its items are found as fast as a list's, in a tenth of the memory.
    payloads = payload_choice(spec, size).data
    engine = Engine(spec, store, payloads, sampled_arrivals(size, spec.samples))
    # Everything made so far lives to the end: the collector need not look at it again, and a
    # collection in the middle of the run would be lateness.
    gc.collect()
    gc.freeze()
    gc.disable()
    await engine.run()
    return engine


def main(arguments: list[str]) -> int:
    """Make the load that the specification asks for."""
    parent, records = map(int, arguments)
    end_with_parent(parent)
    # Ctrl-C goes to the whole process group: what becomes of the load is pytest's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spec = LoadSpec.from_json(sys.stdin.read())
    store = RecordStore(records)
    raise_open_files(spec.workers)
    priority = set_priority(spec.priority)
    loop, loop_name = _event_loop()
    engine = loop.run_until_complete(_run(spec, store))
    outcome = {
        "pacing": engine.pacing,
        "priority": priority,
        "event_loop": loop_name,
        "strain": engine.after.since(engine.before).to_dict(),
        "pauses": engine.pauses,
        "own_failures": dict(engine.own_failures),
        "resent": engine.resent,
        "reconnections": engine.connections,
        "received_bytes": engine.received,
        "reasons": [
            [outcome.label, reason, number]
            for (outcome, reason), number in engine.reasons.most_common()
        ],
        "answers": {index: body.hex() for index, body in engine.answers.items()},
        "error_answers": {index: body.hex() for index, body in engine.error_answers.items()},
    }
    json.dump(outcome, sys.stdout)
    # The interpreter's own ending would wait for connections that are being closed.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
