"""A stand-in for the generator's process, for tests of what is made of a load.

It asks the running server in turn, without a pause, and takes the times of its answers for service
times in the queue that the load would have had: a run of pytest takes a third of the CPU time.
"""

import http.client
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import IO, Any

from pytest_servebench.load.child import Ending
from pytest_servebench.load.job import Job
from pytest_servebench.load.journal import JournalWriter
from pytest_servebench.load.store import Outcome, Phase, RecordStore
from pytest_servebench.load.target import Target
from pytest_servebench.load.transports.base import Completion, Parts
from simulation.cases import calm_generator

Said = tuple[bytes, bytes]
"""Status line and headers of an answer, and its body."""


def ask_in_turn(
    job: Job,
    records: IO[bytes],
    store: RecordStore,
    watch: Callable[[RecordStore], None],
    journal: IO[bytes] | None = None,
) -> Ending:
    """Do what :func:`pytest_servebench.load.child.run_child` does, in this process."""
    store.start, store.phase = time.monotonic_ns(), Phase.RUNNING
    watch(store)
    column = {name: store.column(name) for name in ("payload", "status", "outcome", "scheduled")}
    stamp = [store.column(name) for name in ("enqueued", "dequeued", "sent", "first_byte", "done")]
    reasons: Counter[tuple[str, str]] = Counter()
    kept: dict[int, Said] = {}
    free, starts = [0] * job.workers, list[int]()
    writer = None if journal is None else JournalWriter(journal.fileno())
    with _connected(job.target) as link:
        for index, arrival in enumerate(column["scheduled"]):
            worker = min(range(job.workers), key=free.__getitem__)
            begin = max(arrival, free[worker])
            stamp[0][index] = arrival
            if begin > arrival and sum(start > arrival for start in starts) >= job.buffer_size:
                column["outcome"][index], stamp[4][index] = Outcome.DROPPED, arrival
                continue
            outcome, status, reason, said, reads = _ask(
                link, job.requests[column["payload"][index]]
            )
            taken = reads[-1][0]
            if writer is not None:
                told = list[object]()
                for (_, start), (at, end) in pairwise([(0, 0), *reads[:-1]]):
                    told += (said[1][start:end], store.start + begin + at)
                parts = Parts(job.terms.most_parts, told, len(said[1]))
                writer.add(index, Completion(outcome, 0, 0, parts=parts))
            free[worker] = end = begin + taken
            starts.append(begin)
            for times, value in zip(stamp[1:], (begin, begin, end, end), strict=True):
                times[index] = value
            column["outcome"][index], column["status"][index] = outcome, status
            if outcome is not Outcome.OK:
                reasons[outcome.label, reason] += 1
            elif index in job.sampled:
                kept[index] = said
            watch(store)
    if writer is not None:
        writer.flush()
    store.phase = Phase.FINISHED
    generator = vars(calm_generator())
    outcome_of_all: dict[str, Any] = {
        "elapsed": job.duration,
        "generator": {name: generator[name] for name in _OWN},
        "pauses": [], "unread": {}, "late_reading": {},
        "reasons": [[*kind, number] for kind, number in reasons.most_common()],
        "heads": {index: head.hex() for index, (head, _) in kept.items()},
        "answers": {index: body.hex() for index, (_, body) in kept.items()},
    }  # fmt: skip
    return Ending(None, outcome_of_all, stops=0, cpu_seconds=0.1, involuntary_switches=1)


_OWN = (  # what the generator's process tells of itself
    "pacing", "priority", "event_loop", "own_failures", "resent", "reconnections",
    "received_bytes", "cpu_seconds", "waited_seconds", "involuntary_switches",
    "throttled_seconds", "suspended_seconds", "steal", "cpu_pressure", "memory_pressure",
    "io_pressure",
)  # fmt: skip


@contextmanager
def _connected(target: Target) -> Iterator[socket.socket | None]:
    try:
        link = socket.create_connection((target.host, target.port))
    except OSError:
        yield None
        return
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with link:
        yield link


def _ask(
    link: socket.socket | None, request: bytes
) -> tuple[Outcome, int, str, Said, list[tuple[int, int]]]:
    """Return outcome, status, reason, the answer, and when how many bytes of its body had come.

    That is in ns since the request, the last entry's at the end.
    """
    began = time.perf_counter_ns()
    try:
        if link is None:
            raise ConnectionRefusedError("connection refused")
        link.sendall(request)
        answer = http.client.HTTPResponse(link)
        answer.begin()
        body, reads = b"", list[tuple[int, int]]()
        while piece := answer.read1():
            body += piece
            reads.append((time.perf_counter_ns() - began, len(body)))
    except (OSError, http.client.HTTPException) as error:
        return Outcome.CONNECT_ERROR, 0, str(error), (b"", b""), [(1, 0)]
    head = f"HTTP/1.1 {answer.status} {answer.reason}\r\n{answer.headers}".encode()
    outcome = Outcome.OK if 200 <= answer.status < 300 else Outcome.ERROR_STATUS
    return (
        outcome,
        answer.status,
        f"HTTP {answer.status}",
        (head, body),
        [*reads, (time.perf_counter_ns() - began, len(body))],
    )
