"""From a command to a server that answers predictions correctly, or to an error that says why."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pytest_servebench.errors import ServerStartError
from pytest_servebench.load.target import Target
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import PredictionProtocol
from pytest_servebench.servers import ports
from pytest_servebench.servers.first_prediction import (
    OWN_REQUESTS,
    FirstPrediction,
    Judge,
    RefusedError,
)
from pytest_servebench.servers.logs import FatalLine, LogWatch
from pytest_servebench.servers.process import ServerProcess, scratch_directory

PORT_ATTEMPTS = 4
_PAUSE = 0.05  # seconds between two looks
_SETTLE = 1.0  # seconds that a log is given at most to finish what it was saying
_QUIET = 0.3  # seconds without a new line after which it has finished
T = TypeVar("T")


class PortClashError(ServerStartError):
    """Another program took a port between its choice and its use."""


@dataclass(frozen=True)
class StartedServer:
    """A server that this run has started.

    Attributes:
        kind: name of its kind.
        implementation: the program and its version.
        base_url: scheme, host and port.
        protocol: how predictions are asked for.
        process: its process tree.
        mismatch: what is wrong with its prediction of the model's input; empty if it is right.
    """

    kind: str
    implementation: str
    base_url: str
    protocol: PredictionProtocol
    process: ServerProcess
    mismatch: str = ""

    @property
    def log_files(self) -> Sequence[Path]:
        """Return its logs."""
        return self.process.log_files

    def pids(self) -> list[int]:
        """Return all its processes now."""
        return self.process.pids()

    def check_alive(self) -> None:
        """Return if the server runs.

        Raises:
            ServerDiedError: it ended; with its exit status and the tail of its log.
        """
        self.process.check_alive(self.implementation)

    def stop(self) -> None:
        """End the whole process tree and wait for it; harmless when called twice."""
        self.process.stop()


@dataclass
class Launch:
    """What a start has made so far.

    Attributes:
        scratch: a private directory that goes with the server.
        process: the server's process tree.
    """

    scratch: Path
    process: ServerProcess | None = None


@contextmanager
def launching() -> Iterator[Launch]:
    """Give a scratch directory; should the block fail, end the process and remove the directory."""
    launch = Launch(scratch_directory())
    try:
        yield launch
    except BaseException:
        if launch.process is not None:
            launch.process.stop()
        shutil.rmtree(launch.scratch, ignore_errors=True)
        raise


class Readiness:
    """Waits until a process serves its model.

    Args:
        title: the server's name, for errors.
        process: what was started; stopping it after an error is the caller's part.
        timeout: seconds from now until the server must be ready.
        fatal: lines in its log after which waiting is in vain.
    """

    def __init__(
        self, title: str, process: ServerProcess, timeout: float, fatal: Sequence[FatalLine]
    ) -> None:
        self._title = title
        self._process = process
        self._timeout = timeout
        self._start = time.monotonic()
        self._fatal = fatal
        self._watch = LogWatch(process.log_files)

    def wait_for(self, what: str, attempt: Callable[[float], tuple[bool, str]]) -> None:
        """Call ``attempt`` until it succeeds.

        Args:
            what: what is waited for, in words that follow "waiting for".
            attempt: given the seconds that are left; returns whether it succeeded, and what it
                saw, for the error.

        Raises:
            PortClashError: the log says that a port is taken.
            ServerStartError: the process ended, the log says that it is in vain, or time is up.
        """
        seen = "nothing"
        while True:
            # In this order: what the log says explains an end better than an exit status does.
            ending = self._process.ending()
            self._look_at_log()
            if ending is not None:
                raise self.failure(f"it ended ({ending}) while waiting for {what}")
            left = self._timeout - (time.monotonic() - self._start)
            if left <= 0:
                raise self.failure(
                    f"gave up after {self._timeout:g} s of waiting for {what}; last seen: {seen}"
                )
            done, seen = attempt(left)
            if done:
                return
            time.sleep(_PAUSE)

    def listens(self, port: int) -> bool:
        """Tell whether the process listens on ``port`` yet.

        Raises:
            PortClashError: another program does. Its answers would be taken for the server's, and
                it would be sent the server's keys.
        """
        # In this order: who accepted has been listening before it is looked for.
        if not ports.accepts(Target(ports.LOOPBACK, port), 1.0):
            return False
        if ports.listens(self._process.pids(), port):
            return True
        raise PortClashError(self._message(f"another program listens on its port {port}"))

    def failure(self, reason: str) -> ServerStartError:
        """Return the error to raise: the reason, the command, and the tail of the log."""
        return ServerStartError(self._message(reason))

    def mismatch(self, problem: str) -> str:
        """Return what to say of a server that is ready, and serves something else."""
        return f"{self._title} {problem.rstrip('.')}.\n{OWN_REQUESTS}\n{self._process.log_tail()}"

    def _message(self, reason: str) -> str:
        waited = time.monotonic() - self._start
        return (
            f"{self._title} did not become ready: {reason.rstrip('.')}.\n"
            f"Waited {waited:.1f} s (--servebench-start-timeout={self._timeout:g}). "
            f"Command: {' '.join(self._process.command)}\n{self._process.log_tail()}"
        )

    def _look_at_log(self) -> None:
        hit = self._watch.first_fatal(self._fatal)
        if hit is None:
            return
        fatal, line = hit
        # The rest of a traceback is worth a moment.
        quiet_since = start = time.monotonic()
        while (now := time.monotonic()) - start < _SETTLE and now - quiet_since < _QUIET:
            time.sleep(_PAUSE)
            if any(self._watch.new_lines()):
                quiet_since = now
        message = self._message(f"{fatal.meaning} (its log: {line!r})")
        raise (PortClashError if fatal.port_clash else ServerStartError)(message)


def url(port: int) -> str:
    """Return the address of a server that was started here."""
    return f"http://{ports.LOOPBACK}:{port}"


def wait_for_prediction(
    readiness: Readiness,
    port: int,
    protocol: PredictionProtocol,
    model: ServedModel,
    judge: Judge,
    most: int,
) -> str:
    """Wait until the server itself answers ``model.inputs[0]``, or says that it serves.

    ``most`` is how many bytes the answer's body may have.

    Returns:
        what is wrong with its prediction, as an error; empty if it is right.

    Raises:
        PortClashError: another program answers.
        ServerStartError: the server does not answer in time, or refuses for good.
    """
    first = FirstPrediction(Target.parse(url(port)), protocol, model, judge, most)

    def attempt(left: float) -> tuple[bool, str]:
        if not readiness.listens(port):
            return False, f"nobody listens on port {port}"
        try:
            return first.attempt(left)
        except RefusedError as error:
            raise readiness.failure(f"it {error}") from None

    path = first.asked.partition(" ")[2]
    readiness.wait_for(f"a prediction from {url(port)}{path}", attempt)
    return readiness.mismatch(first.problem) if first.problem else ""


def with_fresh_ports(count: int, start: Callable[[list[int]], T]) -> T:
    """Call ``start`` with free ports, and again with others should one be taken meanwhile.

    Raises:
        ServerStartError: as raised by ``start``; of a clash only after several attempts.
    """
    for attempt in range(1, PORT_ATTEMPTS + 1):
        chosen = ports.free_ports(count)
        try:
            return start(chosen)
        except PortClashError as error:
            if attempt == PORT_ATTEMPTS:
                raise ServerStartError(
                    f"After {PORT_ATTEMPTS} attempts on different free ports "
                    f"(the last: {', '.join(map(str, chosen))}):\n{error}"
                ) from None
    raise AssertionError("unreachable")
