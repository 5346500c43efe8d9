"""A client that only reads and stamps: how late any process on this machine reads a stream.

``python -m benchmarks.targets.bare_reader PORT RATE SECONDS SEED`` sends the request of its
standard input at Poisson arrivals, and prints as JSON its CPU time in ns, and for each request, in
the order of sending, when it read and how many bytes. Priority is that of the load generator.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.settings import ROOT
from simulation.streaming import Script, StreamServer

_CONNECTIONS: Final = 100
_MOST: Final = 2**16
_LAST: Final = b"0\r\n\r\n"
_PATIENCE: Final = 5.0  # seconds without anything


def read(
    server: StreamServer, script: Script, rate: float, seconds: float, seed: int
) -> tuple[float, npt.NDArray[np.int64]]:
    """Return its CPU time for a request in µs, and how late it read what each write brought, in ns.

    Args:
        server: that streams.
        script: of its answers, which come whole.
        rate: requests a second.
        seconds: how long.
        seed: of the arrivals.
    """
    server.stamps()
    command = [sys.executable, "-m", __name__, *map(str, (server.port, rate, seconds, seed))]
    said = subprocess.run(
        command, cwd=ROOT, input=script.request().prepared(server.target),
        stdout=subprocess.PIPE, check=True,
    ).stdout  # fmt: skip
    told: dict[str, Any] = json.loads(said)
    # Bytes that are still to come after each write: a size in hexadecimal, two line ends, the rest.
    sizes = [len(b"%x\r\n%s\r\n" % (len(data), data)) for _, data in script.writes]
    after = np.cumsum([0, *sizes[:0:-1]])[::-1] + len(_LAST)
    after[-1] = 0
    late: list[npt.NDArray[np.int64]] = []
    for reads, (_, wrote) in zip(told["reads"], server.stamps(), strict=True):
        times, ends = np.array(reads[::2]), np.cumsum(reads[1::2])
        late.append(times[np.searchsorted(ends, ends[-1] - after)] - np.array(wrote))
    return told["cpu"] / 1e3 / len(told["reads"]), np.concatenate(late)


def _main(port: int, rate: float, seconds: float, seed: int) -> None:
    request, dice = sys.stdin.buffer.read(), random.Random(seed)
    poll = select.epoll()
    links = {}
    for _ in range(_CONNECTIONS):
        link = socket.create_connection(("127.0.0.1", port))
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(link, select.EPOLLIN)
        links[link.fileno()] = link
    with contextlib.suppress(AttributeError, PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    due: list[int] = []
    at = dice.expovariate(rate)
    while at < seconds:
        due.append(int(at * 1e9))
        at += dice.expovariate(rate)
    gc.disable()
    cpu = time.process_time_ns()
    reads = _read(poll, links, request, due)
    print(json.dumps({"cpu": time.process_time_ns() - cpu, "reads": reads}))


def _read(
    poll: select.epoll, links: dict[int, socket.socket], request: bytes, due: Sequence[int]
) -> list[list[int]]:
    """Return times and sizes in turn for each request."""
    clock = time.monotonic_ns
    idle, under_way = list(links), dict[int, list[int]]()
    reads: list[list[int]] = []
    start = clock() + 50_000_000
    while len(reads) < len(due) or under_way:
        arrives = start + due[len(reads)] if len(reads) < len(due) else None
        wait = _PATIENCE if arrives is None else max(0, arrives - clock()) / 1e9
        found = poll.poll(wait)
        for number, _ in found:
            data = links[number].recv(_MOST)
            row = under_way[number]
            row += (clock(), len(data))
            if data.endswith(_LAST):
                del under_way[number]
                idle.append(number)
        if arrives is None and not found:
            raise TimeoutError(f"no answer to {len(under_way)} requests")
        if arrives is not None and clock() >= arrives:
            number = idle.pop()
            reads.append([])
            under_way[number] = reads[-1]
            links[number].send(request)
    return reads


if __name__ == "__main__":
    _main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
