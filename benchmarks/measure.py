"""Running a peer against a target, and what it costs in a steady window of its load."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import psutil

from benchmarks.peers import Job, Peer
from benchmarks.processes import busy_threads, cpu_ns, running, tree, usable_cores
from benchmarks.settings import ROOT, Settings, make_body

HELD: Final = 0.99
"""Share of the offered rate that counts as held, beside the scatter of a Poisson count."""

HELD_IN_WORDS: Final = (
    f"A rate counts as held if it is at least {HELD:.0%} of the offered rate, minus three standard "
    "deviations of a Poisson count in the window."
)

_START_LIMIT: Final = 30.0
_END_LIMIT: Final = 30.0


def held(rate: float, offered: float, seconds: float) -> bool:
    """Return whether the rate measured in a window of some seconds is the offered rate."""
    return rate >= HELD * offered - 3 * math.sqrt(offered / seconds)


def apart() -> tuple[Sequence[int] | None, Sequence[int] | None]:
    """Return the processors of a generator and of a server: one each, if there are two."""
    cores = usable_cores()
    return (cores[-1:], cores[:1]) if len(cores) > 1 else (None, None)


class Server(Protocol):
    """A server that counts.

    Attributes:
        port: port on 127.0.0.1.
    """

    port: int

    def served(self) -> int:
        """Return the number of requests so far."""
        ...


class MeasurementError(Exception):
    """A run gave no result; the message says why."""


@dataclass(frozen=True)
class Window:
    """The figures of a steady window.

    Attributes:
        seconds: its length.
        requests: requests that the server answered in it.
        cpu_seconds: CPU time of the generator's whole tree of processes in it.
        busiest_seconds: CPU time of that one of them which used most.
        processes: processes of that tree.
        threads: threads of it which ran for more than a hundredth of the window.
    """

    seconds: float
    requests: int
    cpu_seconds: float
    busiest_seconds: float
    processes: int
    threads: int

    @property
    def rate(self) -> float:
        """Return the requests a second."""
        return self.requests / self.seconds

    @property
    def cpu_per_request(self) -> float:
        """Return the CPU time for each request in µs."""
        return self.cpu_seconds / max(self.requests, 1) * 1e6


@contextmanager
def scratch() -> Iterator[Path]:
    """Return a directory which is gone after the block; in memory, so that no disk disturbs."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="benchmarks-", dir=memory if memory.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def make_job(
    directory: Path,
    settings: Settings,
    *,
    port: int,
    rate: float,
    seconds: float,
    connections: int,
    seed: int,
    stamps: bool = False,
    streams: int = 1,
) -> Job:
    """Return a job with a body, in a fresh directory."""
    place = Path(tempfile.mkdtemp(prefix="job-", dir=directory))
    body = place / "body.json"
    body.write_bytes(make_body(settings.body_bytes))
    return Job(port, rate, seconds, connections, place, body, seed, stamps, streams)


@contextmanager
def started(
    peer: Peer, job: Job, cpus: Sequence[int] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a peer until the end of the block."""
    with running(
        peer.command(job),
        job.directory,
        cpus=cpus,
        environment=peer.environment(job),
        work=ROOT,
    ) as process:
        yield process


def finish(peer: Peer, job: Job, process: subprocess.Popen[bytes]) -> None:
    """Wait for a peer to exit.

    Raises:
        MeasurementError: it failed, or did not end.
    """
    try:
        status = process.wait(_END_LIMIT + job.seconds)
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"{peer.name} did not end") from None
    if status != 0:
        log = (job.directory / "log").read_text(errors="replace")
        raise MeasurementError(f"{peer.name} ended with status {status}: {log[-1500:]}")


def run(peer: Peer, job: Job, cpus: Sequence[int] | None = None) -> None:
    """Run a peer from its start to its end."""
    with started(peer, job, cpus) as process:
        finish(peer, job, process)


def run_with_window(
    peer: Peer, job: Job, server: Server, settings: Settings, cpus: Sequence[int] | None = None
) -> Window:
    """Run a peer against a server and measure its steady window.

    Start-up and ending never count: the window begins ``settle`` seconds after the first request
    that the server has answered, and ends before the load does.
    """
    before = server.served()
    with started(peer, job, cpus) as process:
        _until(lambda: server.served() > before, process, f"{peer.name} sent nothing")
        time.sleep(settings.settle)
        first = _Sample.take(process.pid, server)
        time.sleep(settings.seconds)
        last = _Sample.take(process.pid, server)
        window = last.since(first)
        finish(peer, job, process)
    return window


def _until(condition: Callable[[], bool], process: subprocess.Popen[bytes], message: str) -> None:
    limit = time.monotonic() + _START_LIMIT
    while not condition():
        if process.poll() is not None or time.monotonic() > limit:
            raise MeasurementError(message)
        time.sleep(0.02)


@dataclass(frozen=True)
class _Sample:
    when: float
    served: int
    cpu: dict[int, int]
    threads: dict[tuple[int, int], int]

    @classmethod
    def take(cls, pid: int, server: Server) -> _Sample:
        # Slow steps first; the three samples that must be simultaneous come last.
        members = tree(pid)
        threads = {}
        for process in members:
            try:
                for thread, used in busy_threads(process.pid).items():
                    threads[process.pid, thread] = used
            except (OSError, psutil.Error):
                continue
        served = server.served()
        cpu = {}
        for process in members:
            try:
                cpu[process.pid] = cpu_ns(process.pid)
            except OSError:
                continue
        return cls(time.monotonic(), served, cpu, threads)

    def since(self, first: _Sample) -> Window:
        if set(first.cpu) - set(self.cpu) or not self.cpu:
            raise MeasurementError("a process ended within the window: its CPU time is not known")
        seconds = self.when - first.when
        used = [spent - first.cpu.get(pid, 0) for pid, spent in self.cpu.items()]
        return Window(
            seconds=seconds,
            requests=self.served - first.served,
            cpu_seconds=sum(used) / 1e9,
            busiest_seconds=max(used) / 1e9,
            processes=len(used),
            threads=sum(
                spent - first.threads.get(key, 0) > seconds * 1e7
                for key, spent in self.threads.items()
            ),
        )
