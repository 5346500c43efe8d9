"""From a program to a server that answers predictions correctly, or to an error that says why."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_servebench.errors import ServerStartError
from pytest_servebench.load.target import Target
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import PredictionProtocol
from pytest_servebench.servers import ports
from pytest_servebench.servers.base import ServerKind, ServerSettings
from pytest_servebench.servers.environment import environment
from pytest_servebench.servers.first_prediction import FirstPrediction, Judge
from pytest_servebench.servers.logs import FatalLine
from pytest_servebench.servers.process import ServerProcess, scratch_directory
from pytest_servebench.servers.readiness import Place, PortClashError, Readiness, url

PORT_ATTEMPTS = 4


@dataclass(frozen=True)
class Program:
    """What to run, and how to tell that it serves.

    Attributes:
        implementation: the program and its version, such as ``"TorchServe 0.12.0"``.
        command: returns program and arguments for the place of one start. It may write there.
        protocol: how predictions are asked for; or a function that returns it once the server
            runs, where that takes a key which only the server knows.
        ports: how many free ports on 127.0.0.1 the program wants.
        ready: path that is asked before the first prediction, until it answers 2xx; empty for
            none.
        environment: variables beyond this process's; ``None`` takes one away.
        fatal: lines in its log after which waiting is in vain.
        judge: knows what its refusals of the first prediction mean; by default, their statuses.
        two_logs: whether its standard output has a log of its own.
    """

    implementation: str
    command: Callable[[Place], Sequence[str | Path]]
    protocol: PredictionProtocol | Callable[[Readiness], PredictionProtocol]
    ports: int = 1
    ready: str = ""
    environment: Mapping[str, str | None] = field(default_factory=dict)
    fatal: Sequence[FatalLine] = ()
    judge: Judge | None = None
    two_logs: bool = False


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


def launch(
    kind: ServerKind,
    program: Program,
    model: ServedModel,
    settings: ServerSettings,
    run_dir: Path,
) -> StartedServer:
    """Start a program, and return when it has answered a prediction correctly.

    It runs under a supervisor: all that it starts ends with it, and it ends with this process,
    also by ``kill -9``. It is started again on other ports where another program took one of its
    own.

    Args:
        kind: whose server it is.
        program: what to run.
        model: what it must serve.
        settings: processors, threads, and how long to wait.
        run_dir: an existing directory of its own, for configuration and logs.

    Raises:
        ServerStartError: it did not become ready; nothing of it is left running.
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
    try:
        process = ServerProcess(
            [str(word) for word in program.command(place)],
            cpus=settings.cpus,
            stop_grace=settings.stop_grace,
            cwd=place.scratch,
            env=environment(settings, {"TMPDIR": str(place.scratch), **program.environment}),
            log=place.run_dir / "server.log",
            stdout_log=place.run_dir / "server.stdout.log" if program.two_logs else None,
            scratch=place.scratch,
        )
        readiness = Readiness(title, process, place, settings.start_timeout, program.fatal)
        given = program.protocol
        protocol = given(readiness) if callable(given) else given
        if program.ready:
            readiness.wait_for_path(program.ready)
        base_url = url(place.port)
        first = FirstPrediction(
            Target.parse(base_url), protocol, model, kind, program.judge, settings.max_body
        )
        mismatch = readiness.wait_for_prediction(first)
        return StartedServer(kind.name, title, base_url, protocol, process, mismatch)
    except BaseException:
        if process is not None:
            process.stop()
        shutil.rmtree(place.scratch, ignore_errors=True)
        raise
