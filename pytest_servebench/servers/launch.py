"""Start a program, and wait until it answers predictions correctly."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_servebench.errors import ServerStartError
from pytest_servebench.load.target import Target
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import PredictionProtocol, scheme_of
from pytest_servebench.servers import container, ports
from pytest_servebench.servers.base import ServerKind, ServerSettings
from pytest_servebench.servers.container import Container
from pytest_servebench.servers.environment import environment
from pytest_servebench.servers.first_prediction import FirstPrediction, Judge
from pytest_servebench.servers.logs import FatalLine
from pytest_servebench.servers.process import ServerProcess, scratch_directory
from pytest_servebench.servers.readiness import Place, PortClashError, Readiness, url

PORT_ATTEMPTS = 4


@dataclass(frozen=True)
class Program:
    """What to run, and how to know when it serves.

    Attributes:
        implementation: the program and its version, such as ``"TorchServe 0.12.0"``.
        command: returns program and arguments for one start at a place. It may write there.
        protocol: how to ask for predictions; or a function that returns it once the server runs,
            for example if that takes a key which the server generates.
        ports: number of free ports on 127.0.0.1 that the program needs.
        ready: path to poll over HTTP before the first prediction until it answers 2xx; empty for
            none.
        ready_port: which of the ports has that path; by default the first, which predictions have.
        environment: variables in addition to this process's, or a function of the place that
            returns them; ``None`` removes one.
        directory: returns the working directory at a place; by default, the scratch directory.
        fatal: log lines after which waiting is pointless.
        judge: interprets its error answers to the first prediction; by default, by status.
        two_logs: whether to log its standard output separately.
        container: runs it in a container, with ``environment`` and what ``command`` returns as its
            arguments; ``None``: on this machine.
        public: whether it is known to listen on public addresses too, and cannot be prevented from
            it; otherwise users are warned.
    """

    implementation: str
    command: Callable[[Place], Sequence[str | Path]]
    protocol: PredictionProtocol | Callable[[Readiness], PredictionProtocol]
    ports: int = 1
    ready: str = ""
    ready_port: int = 0
    environment: Mapping[str, str | None] | Callable[[Place], Mapping[str, str | None]] = field(
        default_factory=dict
    )
    directory: Callable[[Place], Path] | None = None
    fatal: Sequence[FatalLine] = ()
    judge: Judge | None = None
    two_logs: bool = False
    container: Container | None = None
    public: bool = False


@dataclass(frozen=True)
class StartedServer:
    """A server that this run started.

    Attributes:
        kind: name of its kind.
        implementation: the program and its version.
        base_url: scheme, host and port.
        protocol: how to ask for predictions.
        process: its process tree.
        mismatch: what is wrong with its prediction of the model's input; empty if it is right.
        exposed: addresses and ports, other than of the loopback interface, on which it listens
            although it should not.
        start_seconds: from its start to its first right answer; ``None`` if there was none.
    """

    kind: str
    implementation: str
    base_url: str
    protocol: PredictionProtocol
    process: ServerProcess
    mismatch: str = ""
    exposed: Sequence[str] = ()
    start_seconds: float | None = None

    @property
    def log_files(self) -> Sequence[Path]:
        """Return its logs."""
        return self.process.log_files

    def pids(self) -> list[int]:
        """Return the ids of all its current processes."""
        return self.process.pids()

    def check_alive(self) -> None:
        """Check that the server is running.

        Raises:
            ServerDiedError: it exited; with its exit status and the tail of its log.
        """
        self.process.check_alive(self.implementation)

    def stop(self) -> None:
        """End the whole process tree and wait for it; harmless when called twice."""
        self.process.stop()


def launch(
    kind: ServerKind, program: Program, model: ServedModel, settings: ServerSettings, run_dir: Path
) -> StartedServer:
    """Start a program, and return when it has answered a prediction correctly.

    It runs under a supervisor: all its child processes end with it, and it ends with this process,
    even after ``kill -9``. If another program takes one of its ports, it is started again on other
    ports.

    Args:
        kind: the server's kind.
        program: what to run.
        model: what it must serve.
        settings: CPUs, threads, and how long to wait.
        run_dir: an existing directory for its configuration and logs.

    Raises:
        ServerStartError: it did not become ready; no process is left running.
    """
    for attempt in range(1, PORT_ATTEMPTS + 1):
        chosen = tuple(ports.free_ports(program.ports))
        place = Place(chosen, scratch_directory(), run_dir.absolute())
        try:
            return _start(kind, program, model, settings, place)
        except PortClashError as error:
            if attempt == PORT_ATTEMPTS:
                raise ServerStartError(
                    f"After {PORT_ATTEMPTS} attempts on different free ports "
                    f"(the last: {', '.join(map(str, chosen))}):\n{error}"
                ) from None
    raise AssertionError("unreachable")


def _start(
    kind: ServerKind, program: Program, model: ServedModel, settings: ServerSettings, place: Place
) -> StartedServer:
    process = None
    title = program.implementation
    run = program.container.at(place, settings) if program.container else None
    try:
        seen = run.inside if run else place
        command = [str(word) for word in program.command(seen)]
        told = program.environment
        extra = told(seen) if callable(told) else told
        process = ServerProcess(
            run.command(command, extra) if run else command,
            env=environment(
                settings, run.passed(extra) if run else {"TMPDIR": str(place.scratch), **extra}
            ),
            cpus=settings.cpus,
            cwd=place.scratch if program.directory is None else program.directory(place),
            stop_grace=settings.stop_grace,
            log=place.run_dir / "server.log",
            stdout_log=place.run_dir / "server.stdout.log" if program.two_logs else None,
            scratch=place.scratch,
            container=run,
        )
        spawned = time.monotonic()
        fatal = [*(container.FATAL if run else ()), *program.fatal]
        readiness = Readiness(_named(kind, title), process, place, settings.start_timeout, fatal)
        given = program.protocol
        protocol = given(readiness) if callable(given) else given
        if program.ready:
            readiness.wait_for_path(program.ready, place.ports[program.ready_port])
        base_url = url(place.port, scheme_of(protocol))
        first = FirstPrediction(
            Target.parse(base_url), protocol, model, kind, program.judge, settings.max_body
        )
        mismatch = readiness.wait_for_prediction(first)
        took = None if mismatch else time.monotonic() - spawned
        if run:
            run.check_cpus()
        places = () if program.public else process.places()
        exposed = tuple(ports.shown(each) for each in places if ports.is_public(each[0]))
        return StartedServer(
            kind.name, title, base_url, first.protocol, process, mismatch, exposed, took
        )
    except BaseException as error:
        ended = process is None or process.ending() is not None
        if process is not None:
            process.stop()
        shutil.rmtree(place.scratch, ignore_errors=True)
        if isinstance(error, ServerStartError) and run and (hint := run.hint(ended=ended)):
            raise type(error)(f"{error}\n{hint}") from None
        raise


def _named(kind: ServerKind, implementation: str) -> str:
    """Return a server's title and program; variants of one server differ only in the title."""
    if implementation.startswith(kind.title):
        return implementation
    return f"{kind.title} ({implementation})"
