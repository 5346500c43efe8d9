"""A server that the configuration file describes: a command, a container image, or a URL."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

from pytest_servebench.errors import OptionError, ServerStartError, ServerUnavailableError
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import HttpAnswer, PredictionProtocol, scheme_of
from pytest_servebench.protocols.grpc import GrpcAnswer
from pytest_servebench.protocols.registry import PROTOCOLS, protocol_from
from pytest_servebench.protocols.settings import settings_of
from pytest_servebench.servers.attached import attach
from pytest_servebench.servers.base import RunningServer, ServerSettings
from pytest_servebench.servers.container import Container, ContainerOptions
from pytest_servebench.servers.environment import artifact
from pytest_servebench.servers.first_prediction import Ask, Refusal, by_status
from pytest_servebench.servers.interpreter import Interpreter
from pytest_servebench.servers.kind_options import option, pairs, words
from pytest_servebench.servers.launch import Program, launch
from pytest_servebench.servers.logs import PORT_CLASH, FatalLine
from pytest_servebench.servers.placeholders import filled_in, number_of_ports, used_in
from pytest_servebench.servers.readiness import Place
from pytest_servebench.text.redaction import hide_arguments, hide_headers

_LAST_PORT: Final = 65_535
_PATH: Final = re.compile(r"/[!-~]*")
# Placeholders that do not change from start to start, and are not of this machine.
_FIXED: Final = ("artifact", "model", "threads", "workers")
_INSTEAD: Final = {
    "url": "give one of them",
    "python": "the image has its own",
    "directory": "give --workdir=PATH in run_args",
}
_VERSIONS: Final = (
    "import importlib.metadata as m, sys; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), "
    "sep=', ')"
)


@dataclass(frozen=True)
class Command(ContainerOptions):
    """A server that is started by a command or from an image, by the configuration file alone.

    Attributes:
        name: of the server.
        title: its display name.
        home: directory of the file that configures it; base of relative paths.
    """

    told_by: ClassVar[tuple[str, ...]] = ("command", "image", "url")

    name: str
    title: str
    home: Path = field(default_factory=Path.cwd)

    command: tuple[str, ...] = option(
        (),
        "program and arguments, with placeholders such as {port}; of an image: its arguments",
        read=words,
    )
    python: Path | None = option(
        None, "the interpreter of its environment: {python}, and the programs in the same directory"
    )
    directory: str = option(
        "", "its working directory; by default, that of this file", compared=False
    )
    env: Mapping[str, str] | None = option(
        None, "environment variables, with placeholders", read=pairs
    )
    protocol: str | Mapping[str, Any] = option(
        "", "how to ask for predictions: a name, or a table of name and its settings",
        compared=False,
    )  # fmt: skip
    ready: str = option(
        "",
        "path that answers 2xx when it is ready, over HTTP: at {port}, or at {port2} if the "
        "protocol is over gRPC; else the first prediction",
        compared=False,
    )
    artifact: str | Path = option(
        "",
        "what {artifact} is: a key of ServedModel.artifacts, or a path with a slash; "
        "by default, the artifact of the server's name",
    )
    model: str = option("", "the model's name at the server", compared=False)
    version: tuple[str, ...] = option(
        (),
        "packages whose versions identify the server",
        read=lambda text: tuple(text.replace(",", " ").split()),
        compared=False,
    )
    fatal: tuple[str, ...] = option(
        (),
        "log lines (case-insensitive regular expressions) after which it cannot become ready",
        read=lambda text: (text,),
        compared=False,
    )
    url: str = option("", "attach to a server that runs at this URL instead", compared=False)
    port: int | None = option(
        None,
        "port on which the image's server listens, if {port} cannot set it; network is then mapped",
    )

    def __post_init__(self) -> None:
        """Check what needs no server.

        Raises:
            ValueError: names the key, and says what to give.
        """
        super().__post_init__()
        hide_headers((self.env or {}).items())  # keys, if it has some
        hide_arguments(self.command)
        for name in self.env or {}:
            if not name or "=" in name or "\0" in name:
                raise ValueError(f"env: {name!r} is not a variable name: give NAME = 'value'")
        if not (self.command or self.image or self.url):
            raise ValueError("give a command or an image to run, or the url of a running server")
        used = set()
        for key, text in self._texts():
            if "\0" in text:
                raise ValueError(f"{key}: {text!r} has a NUL character: leave it out")
            try:
                used |= used_in(text)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        if (self.command or self.image) and "port" not in used and not self.port:
            raise ValueError(
                "neither command nor env contains {port}, the port on which the server must listen"
                + "; if that is fixed in the image, give it as port" * bool(self.image)
            )
        self._check_container(used)
        if self.ready and not (_PATH.fullmatch(self.ready) and used_in(self.ready) <= {"model"}):
            raise ValueError(
                f"ready = {self.ready!r}: give a path that begins with a slash; quote spaces and "
                "characters outside ASCII; its only placeholder is {model}"
            )
        for pattern in self.fatal:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    f"fatal: {pattern!r} is not a regular expression: {error}"
                ) from None
        self._protocol("model", "")
        if self._ready_port and "port2" not in used and not self.url:
            raise ValueError(
                f"ready = {self.ready!r} is asked for over HTTP, and the protocol is over gRPC: "
                "have the server listen for HTTP on {port2}, or omit ready"
            )
        if "artifact" in used and not self.artifact:
            object.__setattr__(self, "artifact", self.name)

    def _check_container(self, used: set[str]) -> None:
        if not self.image:
            if self.port:
                raise ValueError("port is for a container: give the image to run, too")
            return
        for key in ("url", "python", "directory"):
            if getattr(self, key):
                raise ValueError(f"{key} and image do not go together: {_INSTEAD[key]}")
        if "python" in used:
            raise ValueError(
                "{python} is an interpreter of this machine: name that of the image, such as "
                "python3"
            )
        if self.port and self.port > _LAST_PORT:
            raise ValueError(f"port = {self.port}: give a port from 1 to {_LAST_PORT}")
        if self.port and self.network == "host":
            raise ValueError(
                f"port = {self.port} is a port of the container's own network: omit network, or "
                "have the server listen on {port}"
            )
        for argument in self.run_args:
            if other := used_in(argument) - {*_FIXED}:
                known = ", ".join(f"{{{name}}}" for name in _FIXED)
                raise ValueError(f"run_args: {{{min(other)}}} is not known there; known: {known}")

    def _texts(self) -> Iterator[tuple[str, str]]:
        yield from (("command", word) for word in self.command)
        yield from ((f"env.{name}", value) for name, value in (self.env or {}).items())
        yield "ready", self.ready
        yield "directory", self.directory
        yield from (("run_args", argument) for argument in self.run_args)

    @cached_property
    def _used(self) -> set[str]:
        return {name for _, text in self._texts() for name in used_in(text)}

    @property
    def _ready_port(self) -> int:
        """Return which of the ports has the path ``ready``: the first is for predictions."""
        return int(bool(self.ready) and scheme_of(self._protocol("model", "")) != "http")

    @property
    def attached(self) -> bool:
        """Return whether its options name a server that already runs."""
        return bool(self.url)

    def start(self, model: ServedModel, settings: ServerSettings, run_dir: Path) -> RunningServer:
        """Start or attach to a server, and return when it has answered a prediction correctly.

        Raises:
            ServerUnavailableError: its interpreter or a package is missing.
            OptionError: its number of workers cannot be set.
            ServerStartError: it did not become ready; no process is left running.
        """
        served = self.model or model.served_name(self.name)
        protocol = self._protocol(served, model.signature)
        if self.url:
            return attach(self, self.url, protocol, model, settings, self._judge)
        if settings.workers > 1 and "workers" not in self._used:
            raise OptionError(
                f"{self.name} cannot be given {settings.workers} workers: use {{workers}} in its "
                "command or env."
            )
        fixed = {
            "workers": settings.workers, "threads": settings.threads, "model": served,
            "artifact": self._artifact(model),
        }  # fmt: skip
        if self.image:
            container = self._container(fixed)
            implementation, inherited = self._implementation(container), {}
        else:
            python = Interpreter(self.python, option=f"{self.name}.python")
            container = None
            versions = [f"{name} {python.version(name)}" for name in self.version]
            implementation = ", ".join(versions) or self.title
            inherited = {**python.environment, **self._path(python)}
            fixed["python"] = python.path

        def filled(text: str, place: Place) -> str:
            numbered = {f"port{number}": port for number, port in enumerate(place.ports, 1)}
            where = {"host": place.host, "port": place.port, "run_dir": place.run_dir,
                     "scratch": place.scratch}  # fmt: skip
            return filled_in(text, {**fixed, **numbered, **where})

        def environment(place: Place) -> Mapping[str, str | None]:
            own = {name: filled(value, place) for name, value in (self.env or {}).items()}
            return {**inherited, **own}

        program = Program(
            implementation=implementation,
            command=lambda place: [filled(word, place) for word in self.command],
            protocol=protocol,
            ports=max(1, number_of_ports(self._used)),
            ready=filled_in(self.ready, fixed),
            ready_port=self._ready_port,
            environment=environment,
            directory=lambda place: self._directory(filled(self.directory, place)),
            fatal=(PORT_CLASH, *map(_fatal_line, self.fatal)),
            container=container,
            judge=self._judge,
        )
        return launch(self, program, model, settings, run_dir)

    def _container(self, fixed: Mapping[str, object]) -> Container:
        plain = self.container(self.name, port=self.port)
        run_args = tuple(filled_in(argument, fixed) for argument in self.run_args)
        container = replace(plain, run_args=run_args)
        path = fixed["artifact"]
        return container.serving(path) if isinstance(path, Path) else container

    def _implementation(self, container: Container) -> str:
        if not self.version:
            return f"{self.title} in {self.image}"
        versions = container.output_of("python3", "-c", _VERSIONS, *self.version).strip()
        if not versions:
            raise ServerUnavailableError(
                f"{self.name}.version: the packages {', '.join(self.version)} are not installed "
                f"for the python3 of {self.image}, if it has one. Remedy: omit version; the "
                "image then identifies the server."
            )
        return f"{versions} in {self.image}"

    def _protocol(self, served: str, signature: str) -> PredictionProtocol:
        if not self.protocol:
            raise ValueError(
                f"protocol is missing: give one of {', '.join(PROTOCOLS)}; for a language model "
                'with OpenAI\'s API, kind = "openai" and its model'
            )
        table = {"name": self.protocol} if isinstance(self.protocol, str) else self.protocol
        settings = {key: value for key, value in table.items() if key != "name"}
        usual = {"model": served, "signature": signature}
        return protocol_from(table.get("name", ""), settings, defaults=usual)

    def _judge(self, answer: HttpAnswer | GrpcAnswer, _: Ask) -> Refusal:
        name = self.protocol if isinstance(self.protocol, str) else self.protocol["name"]
        if answer.status == 404 and "path" in settings_of(PROTOCOLS[name]):
            return Refusal(
                f'this path does not exist; {self.name}.protocol sets another by path = "/...".'
            )
        return by_status(answer, self)

    def _artifact(self, model: ServedModel) -> Path | str:
        if not self.artifact:
            return ""
        path = self.artifact if isinstance(self.artifact, Path) else artifact(model, self.artifact)
        if not path.exists():
            raise ServerStartError(
                f"{self.name}.artifact: there is nothing at {path}: give the model's file or "
                "directory, or the key of one in ServedModel.artifacts."
            )
        return path

    def _directory(self, text: str) -> Path:
        directory = self.home / text
        if not directory.is_dir():
            raise ServerStartError(f"{self.name}.directory: there is no directory {directory}.")
        return directory

    def _path(self, python: Interpreter) -> Mapping[str, str | None]:
        """Return a PATH on which the programs of an own environment come first."""
        if self.python is None:
            return {}
        return {"PATH": f"{python.path.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def _fatal_line(pattern: str) -> FatalLine:
    return FatalLine(re.compile(pattern, re.IGNORECASE), f"it logged a line of fatal, {pattern!r}")
