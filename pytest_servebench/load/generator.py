"""The generator's process: ``python -m pytest_servebench.load.generator PARENT_PID RECORDS_FD``.

It reads the specification from standard input, writes the outcome to standard output, and shares
the records with its parent in an open file. None of these has a name in the file system: nothing is
left behind, however the two end.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import traceback
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import OptionError
from pytest_servebench.load.arrivals import Times, sample_stream, streams
from pytest_servebench.load.engine import Engine
from pytest_servebench.load.limits import raise_open_files
from pytest_servebench.load.pacing import end_with_parent, set_priority, stop_tracers
from pytest_servebench.load.records import RecordStore
from pytest_servebench.load.spec import LoadSpec

NO_PRIORITY: Final = 77
"""Exit status: the system does not allow the requested priority."""
NO_MEMORY: Final = 78
"""Exit status: out of memory."""
# Answers sampled from one stretch of the run. Many short stretches would hold only one arrival each
# in places, and their positions would again be a pattern.
_STRATUM: Final = 8


def schedule(spec: LoadSpec) -> Times:
    """Return the arrivals, in ns since the clock's start.

    Raises:
        OptionError: the arrival process cannot fill the window, or nothing arrives in it.
    """
    randomness, _ = streams(spec.seed, spec.rate)
    times = spec.arrivals.schedule(spec.rate, spec.duration, randomness)
    if not len(times):
        expected = spec.arrivals.mean_rate(spec.rate, spec.duration) * spec.duration
        raise OptionError(
            f"no request arrives: {spec.rate:g}/s for {spec.duration:g} s with arrivals "
            f"{spec.arrivals} gives {expected:.2g} on average, and none with the seed "
            f"{spec.seed}. Raise --servebench-rates or --servebench-duration."
        )
    return times


def payload_choice(spec: LoadSpec, size: int) -> npt.NDArray[np.uint32]:
    """Return for each of ``size`` arrivals the index of its request; shape ``(size,)``."""
    _, payloads = streams(spec.seed, spec.rate)
    return payloads.integers(0, len(spec.requests), size, dtype=np.uint32)


def sampled_arrivals(size: int, samples: int, randomness: np.random.Generator) -> set[int]:
    """Return the indices of the arrivals whose answers are kept, spread over the whole run.

    Some are drawn at random from each stretch of the run, all with the same probability. A sample
    at equal distances could hit all or none of a fault in every third answer.
    """
    samples = min(samples, size)
    if samples <= 0:
        return set()
    strata = -(-samples // _STRATUM)
    numbers = [len(part) for part in np.array_split(np.arange(samples), strata)]
    return {
        int(index)
        for part, number in zip(np.array_split(np.arange(size), strata), numbers, strict=True)
        for index in randomness.choice(part, number, replace=False)
    }


def _event_loop() -> tuple[asyncio.AbstractEventLoop, str]:
    try:
        import uvloop  # noqa: PLC0415 - optional where there are no wheels of it
    except ImportError:
        return asyncio.new_event_loop(), "asyncio"
    return uvloop.new_event_loop(), "uvloop"


async def _run(spec: LoadSpec, store: RecordStore) -> Engine:
    size = len(store)
    # A view of the array: as fast to index as a list, in a tenth of the memory.
    payloads = payload_choice(spec, size).data
    sampled = sampled_arrivals(size, spec.samples, sample_stream(spec.seed, spec.rate))
    engine = Engine(spec, store, payloads, sampled)
    # Everything allocated so far lives to the end: the garbage collector need not scan it again,
    # and a collection during the run would make the generator late.
    gc.collect()
    gc.freeze()
    gc.disable()
    await engine.run()
    return engine


def main(arguments: list[str]) -> int:
    """Make the specified load; return the exit status."""
    parent, records = map(int, arguments)
    end_with_parent(parent)
    stop_tracers()
    # Ctrl-C goes to the whole process group, as other signals may: pytest decides about the load,
    # and this process ends with pytest.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        return _make_load(records)
    except MemoryError:
        traceback.print_exc()
        return NO_MEMORY


def _make_load(records: int) -> int:
    spec = LoadSpec.from_json(sys.stdin.read())
    store = RecordStore(records)
    raise_open_files(spec.workers)
    try:
        priority = set_priority(spec.priority)
    except PermissionError:
        return NO_PRIORITY
    loop, loop_name = _event_loop()
    engine = loop.run_until_complete(_run(spec, store))
    strain = engine.after.since(engine.before)
    outcome = {
        "elapsed": strain.pop("elapsed"),
        "generator": {
            "pacing": engine.pacing,
            "priority": priority,
            "event_loop": loop_name,
            "own_failures": dict(engine.own_failures),
            "resent": engine.resent,
            "reconnections": engine.connections,
            "received_bytes": engine.received,
            **strain,
        },
        "pauses": engine.pauses,
        "unread": engine.unread,
        "reasons": [
            [outcome.label, reason, number]
            for (outcome, reason), number in engine.reasons.most_common()
        ],
        "heads": {index: head.hex() for index, head in engine.heads.items()},
        "answers": {index: body.hex() for index, body in engine.answers.items()},
        "error_answers": {index: body.hex() for index, body in engine.error_answers.items()},
    }
    json.dump(outcome, sys.stdout)
    # The interpreter's normal shutdown would wait for connections that are being closed.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
