"""Servers that already run: reached by URL, neither started nor stopped."""

import math
import re
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import ParseResult, SplitResult, urlsplit

from pytest_servebench.errors import (
    BadResponseError,
    OptionError,
    ServerDiedError,
    ServerStartError,
)
from pytest_servebench.load.target import EXAMPLES, Target
from pytest_servebench.load.tls import Tls
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import PredictionProtocol, Request, scheme_of
from pytest_servebench.protocols.grpc import GrpcStatus
from pytest_servebench.servers import ports, probe
from pytest_servebench.servers.base import ServerKind, ServerSettings
from pytest_servebench.servers.first_prediction import (
    EXAMPLES as REQUESTS,
)
from pytest_servebench.servers.first_prediction import (
    FirstPrediction,
    Judge,
    RefusedError,
    own_requests,
)
from pytest_servebench.servers.grpc_health import Health
from pytest_servebench.servers.kind_options import OPTION, options_of, spelled
from pytest_servebench.servers.no_answer import NoAnswerError
from pytest_servebench.text.safe import clean, sentence
from pytest_servebench.values.arrays import Arrays

TIMEOUT_OPTION = "--servebench-start-timeout"
_URL: Final = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://")
_LOOK_LIMIT = 2.0  # seconds for an answer to a test's own request
# From servers that are loading, and from gateways to servers that are starting.
_NOT_READY = {"http": (502, 503, 504), "grpc": (GrpcStatus.UNAVAILABLE,)}
_CONNECT_LIMIT = 2.0  # seconds
_LOOK_INTERVAL = 5.0  # seconds between two checks that it still listens
_HINTS = {
    "http": "Is it running, and is this its port for predictions over HTTP?",
    "grpc": "Is it running, and is this its port for predictions over gRPC?",
}
_PAUSE = 0.1  # seconds between two tries


@dataclass
class AttachedServer:
    """A server that this run did not start.

    Attributes:
        kind: name of its kind.
        implementation: what is known about the program, which does not include its version.
        base_url: scheme and address.
        protocol: how to ask for predictions.
        mismatch: what is wrong with its prediction of the model's input; empty if it is right.
        patience: seconds to wait for a server that has not been reached yet.
    """

    kind: str
    implementation: str
    base_url: str
    protocol: PredictionProtocol
    mismatch: str = ""
    patience: float = 0.0
    _seen: float = field(default_factory=time.monotonic, repr=False, compare=False)

    @property
    def log_files(self) -> Sequence[Path]:
        """Return no logs: they are unknown."""
        return ()

    def pids(self) -> list[int]:
        """Return no processes: they are unknown."""
        return []

    def check_alive(self) -> None:
        """Check that the address accepts connections, or did a few seconds ago.

        This is called several times per second during a measurement, and each connection costs
        the server some work.

        Raises:
            ServerDiedError: it no longer does.
            ServerStartError: it does not, and never did.
        """
        begun = time.monotonic()
        if begun - self._seen < _LOOK_INTERVAL:
            return
        target = Target.parse(self.base_url)
        never_seen = self._seen == -math.inf
        try:
            while refusal := ports.refusal(target, _CONNECT_LIMIT):
                if not never_seen or time.monotonic() - begun > self.patience:
                    break
                time.sleep(_PAUSE)
        except OSError:
            return  # out of ports or files here: the load hits the same limit, and reports it
        now = time.monotonic()
        if refusal is None:
            self._seen = now
            return
        known = self.base_url in self.implementation
        where = self.implementation + ("" if known else f" at {self.base_url}")
        found = f"{where} does not accept connections: {refusal}"
        if never_seen:
            raise ServerStartError(
                f"{found} (tried for {now - begun:.3g} s, {TIMEOUT_OPTION}={self.patience:g}). "
                "Is it running, and is this its address?"
            )
        raise ServerDiedError(f"{found}; {now - self._seen:.0f} s before, it did.")

    def await_loaded(self, request: Request, tls: Tls) -> None:
        """Wait while a server that was not reached before is not ready for ``request``.

        Raises:
            ServerStartError: it is not up, or not ready, within ``patience``.
        """
        if self._seen != -math.inf:
            return
        begun = time.monotonic()
        self.check_alive()
        target = Target.parse(self.base_url, tls)
        health = Health(target, request)
        while True:
            if not (seen := health.refusal(_LOOK_LIMIT)):
                try:
                    answer = probe.ask(target, request, _LOOK_LIMIT)
                except NoAnswerError:
                    return  # it may take longer; the load will report errors
                if answer.status not in _NOT_READY[request.scheme]:
                    return
                seen = f"is not ready for {request.asked}: got {answer.described}"
            if time.monotonic() - begun > self.patience:
                raise ServerStartError(
                    f"{self.implementation} {sentence(seen)} "
                    f"Waited for {TIMEOUT_OPTION}={self.patience:g} s."
                )
            time.sleep(_PAUSE)

    def stop(self) -> None:
        """Do nothing: this run did not start the server."""


def checked_target(url: str, option: str, tls: Tls, *, port_needed: bool = True) -> Target:
    """Return the target of ``url``; see :func:`parsed_target`.

    Raises:
        OptionError: it is not the address of a server, or the certificates cannot be read.
    """
    target = parsed_target(url, option, tls, port_needed=port_needed)
    if target.tls is not None:
        target.tls.context()
    return target


def parsed_target(
    url: str, option: str, tls: Tls | None = None, *, port_needed: bool = True
) -> Target:
    """Return the target of ``url``, without a look at certificates.

    Args:
        url: what the user gave.
        option: the option, or the key of a table, that the user gave it with.
        tls: TLS settings.
        port_needed: whether ``http`` and ``grpc`` need a port: forgetting it is more common than
            port 80.

    Raises:
        OptionError: it is not the address of a server.
    """
    # A URL with a user or a query may hold a secret, which no message repeats.
    shown = option if set("@?#") & set(url) else f"{option}={url}"
    try:
        target = Target.parse(url, tls or Tls())
    except ValueError as error:
        raise OptionError(f"{shown}: {error}.") from None
    parts = urlsplit(url.strip())
    if port_needed and parts.scheme in ("http", "grpc") and parts.port is None:
        full = f"{parts.scheme}://{parts.netloc.rstrip(':')}:PORT"
        raise OptionError(f"{shown}: the port is missing; give {full}.")
    return target


@dataclass(frozen=True)
class UnknownProtocol:
    """Stands for the unknown protocol of a server given only by its address.

    Attributes:
        scheme: of the address.
    """

    scheme: str = "http"

    @property
    def name(self) -> str:
        """Return what is known about it."""
        return {"http": "HTTP", "grpc": "gRPC"}[self.scheme]

    def refuse(self, fixture: str = "poisson_load") -> NoReturn:
        """Explain what to send instead of predictions of the model, with a fixture.

        Raises:
            OptionError: always.
        """
        grpc = f" and {spelled('torchserve', 'transport')}=grpc" if self.scheme == "grpc" else ""
        raise OptionError(
            f"{fixture}(URL) needs requests to send: {fixture}(URL, "
            f"requests=[{REQUESTS[self.scheme]}]), or return such a list from the hook "
            "pytest_servebench_requests. For a server of the model (servebench_model), "
            f"give {OPTION}=KIND.url=URL, such as {spelled('torchserve', 'url')}="
            f"{self.scheme}://HOST:PORT{grpc}, and use {fixture}(model_server)."
        )

    def request(self, inputs: Arrays) -> Request:  # noqa: ARG002
        """Refuse: the requests must come from the test."""
        self.refuse()

    def read(self, answer: object) -> Arrays:  # noqa: ARG002
        """Refuse likewise."""
        raise BadResponseError("the format of this server's answers is unknown")


def any_server(
    url: object,
    settings: ServerSettings,
    name: str | None = None,
    taken: Container[str] = (),
    fixture: str = "poisson_load",
) -> AttachedServer:
    """Return the server at ``url``, whatever it serves, without contacting it yet.

    Args:
        url: its address: a text, or an object of any library whose text is a URL.
        settings: with its TLS settings.
        name: its name in reports; by default, its URL.
        taken: names that it cannot have: those of kinds of server.
        fixture: that it was given to, for messages.

    Raises:
        OptionError: the URL or the name is not valid.
    """
    given = "" if name is None else clean(name)
    if name is not None and (not given or given in taken):
        problem = "a kind of server has this name" if given else "the name is empty"
        raise OptionError(
            f'{fixture}(URL, name={name!r}): {problem}; give one such as "my server".'
        )
    text, written = _text_of(url, fixture)
    target = checked_target(text, f"{fixture}(URL)", settings.tls, port_needed=written)
    # Each URL is its own kind: two URLs in one run are compared like two servers. A name replaces
    # the URL: a later run at another address counts as the same server.
    return AttachedServer(
        given or target.url,
        given or f"server at {target.url}",
        target.url,
        UnknownProtocol(target.scheme),
        patience=settings.start_timeout,
        _seen=-math.inf,
    )


def _text_of(url: object, fixture: str) -> tuple[str, bool]:
    """Return a URL as text, and whether it was given as text.

    Raises:
        OptionError: it is neither a URL nor a running server.
    """
    if isinstance(url, str):
        return url, True
    text = url.geturl() if isinstance(url, (ParseResult, SplitResult)) else str(url)
    if not _URL.match(text):
        raise OptionError(
            f"{fixture}({type(url).__name__} object): this is neither a running server nor a "
            "URL; give the fixture model_server, or the URL of a server: "
            f'{fixture}("http://127.0.0.1:8000", requests=[...]); {EXAMPLES}.'
        )
    return text, False


def _check_scheme(kind: ServerKind, target: Target, protocol: PredictionProtocol) -> None:
    """Refuse a URL of another protocol than predictions are asked for in."""
    scheme = scheme_of(protocol)
    if scheme == target.scheme:
        return
    other = "" if "transport" not in options_of(kind) else f", or set {kind.name}.transport"
    raise OptionError(
        f"{spelled(kind.name, 'url')}={target.url}: {protocol.name} needs the URL "
        f"{scheme}://HOST:PORT (with TLS {scheme}s://){other}."
    )


def _refuse_whole_url(option: str, target: Target, path: str) -> None:
    """Refuse a base path that already has the protocol's path, such as ``/predictions/x``."""
    beginning = path.rpartition("/")[0]
    if beginning and f"{beginning}/" in f"{target.path.partition(':')[0]}/":
        raise OptionError(
            f"{option}={target.url}: {beginning} is added to the address; give "
            f"{target.url.partition(beginning)[0]}."
        )


def attach(
    kind: ServerKind,
    url: str,
    protocol: PredictionProtocol,
    model: ServedModel,
    settings: ServerSettings,
    judge: Judge | None = None,
) -> AttachedServer:
    """Return a running server once it answers the model's first input, or says that it serves.

    Args:
        kind: the server's kind; its option ``url`` gave the address.
        url: its address.
        protocol: how to ask for predictions.
        model: what it must serve.
        settings: how long to wait for it, and its TLS settings.
        judge: interprets its error answers; by default, by status.

    Raises:
        OptionError: the URL is not valid.
        ServerStartError: it does not answer in time, or refuses permanently.
    """
    option = spelled(kind.name, "url")
    target = checked_target(url, option, settings.tls)
    where = f"{kind.title} at {option}={target.url}"
    _check_scheme(kind, target, protocol)
    first = FirstPrediction(target, protocol, model, kind, judge, settings.max_body)
    if first.asked:
        _refuse_whole_url(option, target, first.path)
    begun = time.monotonic()
    while True:
        left = settings.start_timeout - (time.monotonic() - begun)
        try:
            done, seen = first.attempt(max(left, _PAUSE))
        except RefusedError as error:
            hint = "" if error.answered else f" {_HINTS[target.scheme]}"
            raise ServerStartError(f"{where} {error}.{hint}") from None
        if done:
            break
        if time.monotonic() - begun >= settings.start_timeout:
            raise ServerStartError(
                f"{where} {seen}. Waited for {TIMEOUT_OPTION}={settings.start_timeout:g} s. "
                f"{_HINTS[target.scheme]}"
            )
        time.sleep(_PAUSE)
    return AttachedServer(
        kind.name,
        f"attached {kind.title} at {target.url}",
        target.url,
        first.protocol,
        mismatch=f"{where} {sentence(first.problem)} {own_requests(target.scheme)}"
        if first.problem
        else "",
        patience=settings.start_timeout,
        _seen=time.monotonic() if first.asked else -math.inf,
    )
