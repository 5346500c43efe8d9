"""Run a program in a container; its directories have the same paths inside as outside."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

import psutil

from pytest_servebench.errors import ServerStartError, ServerUnavailableError
from pytest_servebench.servers import ports
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.engine import OWNER_LABEL, Engine, find_engine, owner_mark
from pytest_servebench.servers.environment import threads
from pytest_servebench.servers.kind_options import option, spelled, words
from pytest_servebench.servers.logs import FatalLine
from pytest_servebench.servers.ports import LOOPBACK
from pytest_servebench.servers.readiness import Place
from pytest_servebench.text.redaction import hide_arguments

EVERYWHERE: Final = "0.0.0.0"
"""Where a server in a container listens if its ports are mapped: they come from outside."""

_VERSION_LIMIT: Final = 60.0  # seconds for a program in an image that prints its version
_ENGINES_OWN: Final = re.compile(
    r"PATH|HOME|USER|TMPDIR|LANG|LC_\w+|LD_\w+|GO\w+|(?:DOCKER|PODMAN|CONTAINERS?|STORAGE|XDG)_\w+"
)
_OURS: Final = {
    "name": "the container has a name of its own at each start; label it instead",
    "network": 'set the key network to "host" or "mapped"',
    "publish": 'network = "mapped" publishes the ports of the server on 127.0.0.1',
    "publish-all": 'network = "mapped" publishes the ports of the server on 127.0.0.1',
    "pod": "its network is that of the pod; set the key network",
    "cpuset-cpus": "set --servebench-server-cpus",
    "detach": "the server runs in the foreground",
    "restart": "a server that ends must not be started again unseen",
    "rm": "the container is removed when the session ends",
    OWNER_LABEL: "the label is for containers that were left behind",
}
"""What ``run_args`` cannot have, as the kind decides it: flags, and what to do instead."""

_OTHER_SPELLINGS: Final = {"net": "network", "d": "detach", "p": "publish", "P": "publish-all"}
_SHORT: Final = re.compile(r"-([itqdP]*)([a-zA-Z]?)")  # several flags, then one with a value
_ENGINE_STATUSES: Final = {
    125: "did not run the container; check the image and `run_args`",
    126: "could not start the container",
    127: "did not find the command in the image",
    137: "or the system killed it by SIGKILL; was there too little memory?",
}
FATAL: Final = (
    FatalLine(
        re.compile(r"^(?:Error|docker): .*(?:address already in use|port is already allocated)"),
        "another program took one of the ports to publish",
        port_clash=True,
    ),
)
"""Messages of the engines."""


def _by_name(name: str) -> bool:
    """Return whether the engine's command gets a variable's value from its own environment.

    Its arguments are in errors and in the table of processes, where no secret must be.
    """
    return not _ENGINES_OWN.fullmatch(name)


def _flags(argument: str) -> list[str]:
    """Return the flags of the engine in one of its arguments, in full."""
    if OWNER_LABEL in argument:
        return [OWNER_LABEL]
    long = argument.removeprefix("--")
    if long != argument:
        found = [long.partition("=")[0]]
    else:
        short = _SHORT.match(argument)
        found = [*short[1], short[2]] if short else []
    return [_OTHER_SPELLINGS.get(flag, flag) for flag in found]


@dataclass(frozen=True, kw_only=True)
class ContainerOptions:
    """The options of a kind whose server can run in a container."""

    image: str = option("", "run this container image, by docker or podman")
    engine: str = option("", "program that runs the image; by default, docker or podman")
    network: Literal["host", "mapped"] | None = option(
        None, "host: the machine's own network (default on Linux); mapped: published ports"
    )
    run_args: tuple[str, ...] = option((), "more arguments of docker run or podman run", read=words)

    def __post_init__(self) -> None:
        """Check what needs no engine.

        Raises:
            ValueError: names the key, and says what to give.
        """
        for key in ("engine", "network", "run_args"):
            if getattr(self, key) and not self.image:
                raise ValueError(f"{key} is for a container: give the image to run, too")

        hide_arguments(self.run_args)
        for argument in self.run_args:
            for flag in _flags(argument):
                if remedy := _OURS.get(flag):
                    raise ValueError(f"run_args: {argument!r} cannot be given: {remedy}")

    def container(self, kind: str, *, entrypoint: str = "", port: int | None = None) -> Container:
        """Return the container to run; ``image`` must be set.

        Args:
            kind: whose options these are.
            entrypoint: replaces the image's; empty: keep that.
            port: where the server listens inside, if the image fixes that (mapped ports only).

        Raises:
            ServerUnavailableError: there is no engine, or it does not have the image.
        """
        engine = find_engine(self.engine, spelled(kind, "engine"))
        user = engine.user_of(self.image, spelled(kind, "image"))
        usual: Literal["host", "mapped"] = "host" if sys.platform == "linux" else "mapped"
        network = self.network or ("mapped" if port else usual)
        return Container(engine, self.image, network, self.run_args, entrypoint, port, user)


@dataclass(frozen=True)
class Container:
    """How to run a program in a container.

    Attributes:
        engine: runs it.
        image: its file system and its defaults.
        network: ``"host"``: the server listens on this machine's ports; ``"mapped"``: on ports of
            its own, which the engine publishes on 127.0.0.1 alone.
        run_args: more arguments of ``docker run`` or ``podman run``.
        entrypoint: replaces the image's; empty: keep that.
        port: where the server listens inside, if the image fixes that (mapped ports only).
        user: the image's user.
        artifact: mounted read-only; see :meth:`serving`.
        in_scratch: whether it works in ``Place.scratch``; see :meth:`at_home`.
    """

    engine: Engine
    image: str
    network: Literal["host", "mapped"]
    run_args: Sequence[str] = ()
    entrypoint: str = ""
    port: int | None = None
    user: str = ""
    artifact: Path | None = None
    in_scratch: bool = False

    @property
    def host(self) -> str:
        """Return the address on which the server must listen."""
        return LOOPBACK if self.network == "host" else EVERYWHERE

    def serving(self, artifact: Path) -> Container:
        """Return it with what it is to serve.

        Raises:
            ServerStartError: a link leads out of the artifact, to what the server would not see.
        """
        whole = artifact.resolve()
        for path in artifact.rglob("*"):
            if path.is_symlink() and not path.resolve().is_relative_to(whole):
                raise ServerStartError(
                    f"{path} is a link to {path.resolve()}, which is not in {artifact} and so not "
                    f"in the container: copy the artifact with its files, cp -rL {artifact} COPY."
                )
        return replace(self, artifact=artifact)

    def at_home(self) -> Container:
        """Return it with ``Place.scratch`` as its working directory, which it may write to.

        It then runs as this process's user, and not as the image's.
        """
        # In a container of an engine without rights, this process's user is root.
        user = "0:0" if self.engine.rootless else f"{os.getuid()}:{os.getgid()}"
        return replace(self, in_scratch=True, user="", run_args=(f"--user={user}", *self.run_args))

    def output_of(self, entrypoint: str, *arguments: str) -> str:
        """Return what a program of the image prints, such as its version; nothing if it fails."""
        name = f"servebench-{os.urandom(6).hex()}"
        done = None
        try:
            done = self.engine.ask(
                *self._run(name), "--rm", "--network=none", *self.run_args,
                f"--entrypoint={entrypoint}", self.image, *arguments, limit=_VERSION_LIMIT,
            )  # fmt: skip
        finally:
            if done is None:  # else it has removed itself
                self.engine.remove(name)
        return done.stdout if done is not None and done.returncode == 0 else ""

    def at(self, place: Place, settings: ServerSettings) -> ContainerRun:
        """Return one run of it."""
        return ContainerRun(self, place, settings)

    def _run(self, name: str) -> list[str]:
        return ["run", f"--name={name}", f"--label={OWNER_LABEL}={owner_mark()}", "--pull=never"]


@dataclass
class ContainerRun:
    """One container, from its start to its removal."""

    container: Container
    place: Place
    settings: ServerSettings
    _main: tuple[int, bool] = field(default=(0, False), init=False)

    @property
    def engine(self) -> Engine:
        """Return what runs it."""
        return self.container.engine

    @property
    def name(self) -> str:
        """Return its name, which no other container has."""
        return self.place.scratch.name

    @property
    def inside(self) -> Place:
        """Return the place as the server in the container sees it."""
        first = self.container.port or self.place.port
        return Place((first, *self.place.ports[1:]), self.place.scratch, self.place.run_dir,
                     self.container.host)  # fmt: skip

    def command(self, arguments: Sequence[str], environment: Mapping[str, str | None]) -> list[str]:
        """Return the engine's command; it stays in the foreground while the container runs."""
        container, home = self.container, self.place.scratch
        usual = {"PYTHONUNBUFFERED": "1", **threads(self.settings)}
        given = [
            *(f"--network={network}" for network in ["host"] if container.network == "host"),
            *self._published(),
            *self._limits(),
            # Our log has all that it prints; the engine would write a second one, under load.
            "--log-driver=none",
            # It would run a program now and then, which no monitor could distinguish from the
            # server.
            "--no-healthcheck",
            *_mount(self.place.scratch, writable=True),
            *_mount(self.place.run_dir),
            *(_mount(container.artifact) if container.artifact else ()),
            *([f"--workdir={home}", f"--env=HOME={home}"] if container.in_scratch else ()),
            *(f"--env={name}={value}" for name, value in usual.items()),
            *(
                f"--env={name}" if _by_name(name) else f"--env={name}={value}"
                for name, value in environment.items()
                if value is not None
            ),
            *([f"--entrypoint={container.entrypoint}"] if container.entrypoint else ()),
            *container.run_args,  # the last one counts
        ]
        start = [*self.engine.command, *container._run(self.name)]
        return [*start, *given, container.image, *arguments]

    @staticmethod
    def passed(environment: Mapping[str, str | None]) -> dict[str, str | None]:
        """Return what the engine's command needs in its own environment."""
        return {name: value for name, value in environment.items() if _by_name(name)}

    def _published(self) -> list[str]:
        if self.container.network == "host":
            return []
        pairs = zip(self.place.ports, self.inside.ports, strict=True)
        return [f"--publish={LOOPBACK}:{outer}:{inner}" for outer, inner in pairs]

    def _limits(self) -> list[str]:
        """Return nothing if there is nothing to limit, or the engine lacks the rights.

        The container then inherits the limits of the engine's command, unless a service starts it.
        """
        cpus = self.settings.cpus
        everywhere = not cpus or set(cpus) >= set(range(os.cpu_count() or 1))
        if sys.platform != "linux" or everywhere or self.engine.rootless:
            return []
        return [f"--cpuset-cpus={','.join(map(str, cpus))}"]

    def pids(self) -> list[int]:
        """Return the ids of all its processes; none if they cannot be seen from here."""
        if not self._main[0]:
            self._main = self.engine.main_pid(self.name)
        pid, here = self._main
        if not here:
            return []
        with contextlib.suppress(psutil.Error):
            main = psutil.Process(pid)
            return [pid, *(process.pid for process in main.children(recursive=True))]
        return []

    def listens(self, port: int) -> bool | None:
        """Return whether it, and not another program, listens on a port that accepts connections.

        ``None`` if it does not run yet: the engine opens published ports before that.
        """
        pids = self.pids()
        running, here = self._main
        if self.container.network == "mapped":
            return True if running else None
        if running and not here:
            return True
        # Another user's sockets cannot be seen, and are then taken for its own.
        return ports.listens(pids, port) is not False

    def places(self) -> list[tuple[str, int]]:
        """Return the addresses and ports of this machine on which it listens.

        Of published ports none: they are on 127.0.0.1.
        """
        return ports.listening(self.pids()) if self.container.network == "host" else []

    def check_cpus(self) -> None:
        """Check that it runs on its CPUs only.

        Raises:
            ServerUnavailableError: it does not: its figures would not be those asked for.
        """
        wanted = set(self.settings.cpus)
        for pid in self.pids()[:1] if wanted and sys.platform == "linux" else ():
            with contextlib.suppress(OSError):
                if extra := os.sched_getaffinity(pid) - wanted:
                    raise ServerUnavailableError(
                        f"{self.container.image} runs on the CPUs {sorted(extra)}, too, which "
                        f"--servebench-server-cpus does not name: {self.engine.name} cannot limit "
                        "it. Set --servebench-server-cpus to all CPUs, or use another engine."
                    )

    def ending(self, status: int) -> str | None:
        """Return what an exit status of the engine's command says; ``None`` for a server's own."""
        said = _ENGINE_STATUSES.get(status)
        return f"exit status {status}: {self.engine.name} {said}" if said else None

    def hint(self, *, ended: bool) -> str:
        """Return what may be wrong if the server did not become ready."""
        if self.container.network == "mapped" and not ended:
            return (
                "Note: its ports are mapped, so in the container it must listen on "
                f"{EVERYWHERE}:{self.inside.port}, not on {LOOPBACK} alone."
            )
        artifact, user = self.container.artifact, self.container.user
        if artifact is None or user.partition(":")[0] in ("", "0", "root"):
            return ""
        for path in (artifact, *artifact.rglob("*")):
            if path.lstat().st_mode & (needed := 0o005 if path.is_dir() else 0o004) != needed:
                return (
                    f"Note: {self.container.image} runs as the user {user!r}, who may not read "
                    f"{path}: chmod -R a+rX {artifact}"
                )
        return ""


def _mount(path: Path, *, writable: bool = False) -> list[str]:
    """Return the arguments that mount a path where it is; they are one line of CSV."""
    line = io.StringIO()
    parts = ["type=bind", f"source={path.resolve()}", f"target={path}"]
    csv.writer(line, lineterminator="").writerow([*parts, *([] if writable else ["readonly"])])
    return ["--mount", line.getvalue()]
