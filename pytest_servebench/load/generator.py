"""The generator's process: ``python -m pytest_servebench.load.generator DIRECTORY PARENT_PID``.

``DIRECTORY`` holds the specification and the records file; the outcome goes back into it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Final

import numpy as np

from pytest_servebench.load.arrivals import poisson_schedule, streams
from pytest_servebench.load.engine import Engine
from pytest_servebench.load.pacing import end_with_parent, set_priority
from pytest_servebench.load.records import RecordStore
from pytest_servebench.load.spec import LoadSpec

SPEC_FILE: Final = "spec.json"
RECORDS_FILE: Final = "records.bin"
OUTCOME_FILE: Final = "outcome.json"


def prepare(spec: LoadSpec, directory: Path) -> RecordStore:
    """Write the specification and the schedule's records file into ``directory``."""
    (directory / SPEC_FILE).write_text(spec.to_json())
    arrivals, _ = streams(spec.seed, spec.rate)
    schedule = poisson_schedule(spec.rate, spec.duration, arrivals)
    return RecordStore.create(directory / RECORDS_FILE, schedule, int(spec.duration * 1e9))


def payload_choice(spec: LoadSpec, size: int) -> list[int]:
    """Return for each of ``size`` arrivals the index of its request."""
    _, payloads = streams(spec.seed, spec.rate)
    return [int(index) for index in payloads.integers(0, len(spec.requests), size)]


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
    engine = Engine(spec, store, payload_choice(spec, size), sampled_arrivals(size, spec.samples))
    # Everything made so far lives to the end: the collector need not look at it again, and a
    # collection in the middle of the run would be lateness.
    gc.collect()
    gc.freeze()
    gc.disable()
    await engine.run()
    return engine


def main(arguments: list[str]) -> int:
    """Make the load that the specification in the directory asks for."""
    directory = Path(arguments[0])
    end_with_parent(int(arguments[1]))
    # Ctrl-C goes to the whole process group: what becomes of the load is pytest's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spec = LoadSpec.from_json((directory / SPEC_FILE).read_text())
    store = RecordStore(directory / RECORDS_FILE)
    priority = set_priority(spec.priority)
    loop, loop_name = _event_loop()
    engine = loop.run_until_complete(_run(spec, store))
    before, after = engine.usage_at_start, resource.getrusage(resource.RUSAGE_SELF)
    outcome = {
        "pacing": engine.pacing,
        "priority": priority,
        "event_loop": loop_name,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "involuntary_switches": after.ru_nivcsw - before.ru_nivcsw,
        "answers": {index: body.hex() for index, body in engine.answers.items()},
        "error_answers": {index: body.hex() for index, body in engine.error_answers.items()},
    }
    partial = directory / f".{OUTCOME_FILE}"
    partial.write_text(json.dumps(outcome))
    partial.replace(directory / OUTCOME_FILE)
    # The interpreter's own ending would wait for connections that are being closed.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
