"""Servers that already run: reached by URL, neither started nor stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pytest_servebench.errors import (
    BadResponseError,
    OptionError,
    ServerDiedError,
    ServerStartError,
)
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import PredictionProtocol
from pytest_servebench.servers import ports, probe

_CONNECT_LIMIT = 2.0  # seconds
_LOOK_INTERVAL = 5.0  # seconds between two looks whether it still listens
_FIRST_ANSWER_LIMIT = 30.0  # seconds; the server runs already, so it need not load anything


@dataclass(frozen=True)
class Target:
    """Where a running server is, and how to talk of it.

    Attributes:
        kind: name of its kind.
        title: that kind's name for people.
        url: where it is.
        url_option: the option that said so.
        name_option: the option that says by which name it offers the model.
        explain: names what is behind a refusal, where the kind has an own one.
    """

    kind: str
    title: str
    url: str
    url_option: str
    name_option: str
    explain: Callable[[probe.HttpAnswer], str | None] = lambda _: None


@dataclass
class AttachedServer:
    """A server that somebody else runs.

    Attributes:
        kind: name of its kind.
        implementation: what is known of the program, which is not its version.
        base_url: scheme, host and port.
        protocol: how predictions are asked for.
    """

    kind: str
    implementation: str
    base_url: str
    protocol: PredictionProtocol
    _seen: float = field(default_factory=time.monotonic, repr=False, compare=False)

    @property
    def log_files(self) -> Sequence[Path]:
        """Return nothing: its logs are not ours."""
        return ()

    def pids(self) -> list[int]:
        """Return nothing: its processes are not ours."""
        return []

    def check_alive(self) -> None:
        """Return if somebody accepts connections at the address, or did some seconds ago.

        This is asked several times a second while a server is measured, and each connection is
        work for the server.

        Raises:
            ServerDiedError: nobody does.
        """
        now = time.monotonic()
        if now - self._seen < _LOOK_INTERVAL:
            return
        url = urlsplit(self.base_url)
        if not ports.accepts(url.hostname or "", url.port or 0, _CONNECT_LIMIT):
            raise ServerDiedError(
                f"{self.implementation} does not accept connections any more "
                f"(tried for {_CONNECT_LIMIT:g} s)."
            )
        self._seen = now

    def stop(self) -> None:
        """Do nothing: who started the server stops it."""


def checked_url(url: str, option: str) -> str:
    """Return ``url`` as ``http://host:port``.

    Raises:
        OptionError: it is anything else.
    """
    example = "give http://HOST:PORT, such as http://127.0.0.1:8501"
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise OptionError(f"{option}={url}: {error}; {example}.") from None
    if parts.username is not None or parts.password is not None:
        # Not repeated: it may hold a password.
        raise OptionError(f"{option}: a URL with a user or password is not supported; {example}.")
    problem = None
    if parts.scheme == "https":
        problem = "TLS is not supported"
    elif parts.scheme != "http":
        problem = "the scheme is not http"
    elif not parts.hostname:
        problem = "the host is missing"
    elif port is None:
        problem = "the port is missing"
    elif port == 0:
        problem = "port 0 is no address"
    elif parts.path not in ("", "/") or parts.query or parts.fragment:
        problem = "there is something after the port; the paths are the plugin's to choose"
    if problem:
        raise OptionError(f"{option}={url}: {problem}; {example}.")
    host = parts.hostname or ""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def attach(
    target: Target, protocol: PredictionProtocol, model: ServedModel, timeout: float
) -> AttachedServer:
    """Return a running server once it has answered ``model.inputs[0]`` correctly.

    Args:
        target: where it is.
        protocol: how predictions are asked for.
        model: what it must serve.
        timeout: seconds for an answer; at most 30 are waited, as nothing must be loaded any more.

    Raises:
        OptionError: the URL is none.
        ServerStartError: it does not answer, or not with this model's prediction.
    """
    base_url = checked_url(target.url, target.url_option)
    where = f"{target.title} at {target.url_option}={base_url}"
    request = protocol.request(model.inputs[0])
    asked = f"{request.method} {request.path}"
    try:
        answer = probe.ask(base_url, request, min(_FIRST_ANSWER_LIMIT, timeout))
    except probe.NoAnswerError as error:
        raise ServerStartError(
            f"{where} does not answer {asked}: {error}. "
            "Is it running, and is this its port for predictions over HTTP?"
        ) from None
    if answer.status != 200:
        reason = target.explain(answer) or _explain(answer, target)
        raise ServerStartError(f"{where} refuses {asked}: {reason} Got {answer.describe()}.")
    try:
        wrong = probe.compare(protocol, model, answer.body)
    except BadResponseError as error:
        raise ServerStartError(
            f"{where} does not answer {asked} with a prediction; is it {target.title}? {error}"
        ) from None
    if wrong is not None:
        raise ServerStartError(
            f"{where} answers {asked}, but not with what {model.name!r} predicts: {wrong}. "
            "Does it serve other weights, or expect other inputs?"
        )
    return AttachedServer(target.kind, f"attached {target.title} at {base_url}", base_url, protocol)


def _explain(answer: probe.HttpAnswer, target: Target) -> str:
    if answer.body.lstrip()[:1] == b"<":
        return f"it answers with a web page; is this {target.title}'s port for predictions?"
    if answer.status == 404:
        return f"it offers no model by this name; {target.name_option} sets another name."
    return "it cannot predict the model's first input."
