"""The generator's process.

``python -m pytest_servebench.load.generator PARENT_PID RECORDS_FD [JOURNAL_FD]`` reads its job from
standard input, writes the outcome to standard output, and shares the records, and the journal of
streamed answers, with its parent in open files. None of these has a name in the file system:
nothing is left behind, however the two processes end.
"""

import asyncio
import gc
import json
import os
import signal
import sys
import traceback
from typing import Any

from pytest_servebench.load.engine import Engine
from pytest_servebench.load.job import NO_MEMORY, NO_PRIORITY, NO_SPACE, Job
from pytest_servebench.load.journal import JournalWriter
from pytest_servebench.load.limits import raise_open_files
from pytest_servebench.load.pacing import end_with_parent, set_priority, stop_tracers
from pytest_servebench.load.store import RecordStore


def _event_loop() -> tuple[asyncio.AbstractEventLoop, str]:
    try:
        import uvloop  # noqa: PLC0415 - optional where there are no wheels of it
    except ImportError:
        return asyncio.new_event_loop(), "asyncio"
    return uvloop.new_event_loop(), "uvloop"


def _end_with_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """End the process on a fault of our own: the requests that it cost are not the server's.

    Errors of connections, which are ``OSError``, are: they have their outcomes.
    """
    fault = context.get("exception")
    if fault is None or isinstance(fault, OSError):
        loop.default_exception_handler(context)
        return
    traceback.print_exception(fault)
    sys.stderr.flush()
    os._exit(NO_MEMORY if isinstance(fault, MemoryError) else 1)


async def _run(job: Job, store: RecordStore, journal: JournalWriter | None) -> Engine:
    make = Engine
    if job.think:
        from pytest_servebench.load.session_engine import SessionEngine  # noqa: PLC0415 - seldom

        make = SessionEngine
    engine = make(job, store, journal)
    # Everything allocated so far lives to the end: the garbage collector need not scan it again,
    # and a collection during the run would make the generator late.
    gc.collect()
    gc.freeze()
    gc.disable()
    await engine.run()
    return engine


def main(arguments: list[str]) -> int:
    """Make the load; return the exit status."""
    parent, records, *journal = map(int, arguments)
    end_with_parent(parent)
    stop_tracers()
    # Ctrl-C goes to the whole process group, as other signals may: pytest decides about the load,
    # and this process ends with pytest.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        return _make_load(records, JournalWriter(journal[0]) if journal else None)
    except MemoryError:
        traceback.print_exc()
        return NO_MEMORY


def _make_load(records: int, journal: JournalWriter | None) -> int:
    job = Job.from_json(sys.stdin.read())
    store = RecordStore(records)
    raise_open_files(job.workers)
    try:
        priority = set_priority(job.priority)
    except PermissionError:
        return NO_PRIORITY
    loop, loop_name = _event_loop()
    loop.set_exception_handler(_end_with_fault)
    engine = loop.run_until_complete(_run(job, store, journal))
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
        "late_reading": engine.late_reading,
        "reasons": [
            [outcome.label, reason, number]
            for (outcome, reason), number in engine.reasons.most_common()
        ],
        "heads": {index: head.hex() for index, head in engine.heads.items()},
        "answers": {index: body.hex() for index, body in engine.answers.items()},
    }
    status = 0
    try:
        json.dump(outcome, sys.stdout)
        sys.stdout.flush()
    except OSError:
        status = NO_SPACE
    # The interpreter's normal shutdown would wait for connections that are being closed, and fail
    # to flush what there is no space for.
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
