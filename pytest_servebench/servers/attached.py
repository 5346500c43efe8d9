"""Servers that already run: reached by URL, neither started nor stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import (
    BadResponseError,
    OptionError,
    ServerDiedError,
    ServerStartError,
)
from pytest_servebench.load.target import EXAMPLES, Target
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import HttpAnswer, HttpRequest, PredictionProtocol
from pytest_servebench.report.text import clean
from pytest_servebench.servers import ports, probe
from pytest_servebench.servers.base import ServerSettings

CA_OPTION = "--servebench-tls-ca"
_CONNECT_LIMIT = 2.0  # seconds
_LOOK_INTERVAL = 5.0  # seconds between two looks whether it still listens
_FIRST_ANSWER_LIMIT = 30.0  # seconds; the server runs already, so it need not load anything


@dataclass(frozen=True)
class Attachment:
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
    explain: Callable[[HttpAnswer], str | None] = lambda _: None


@dataclass
class AttachedServer:
    """A server that somebody else runs.

    Attributes:
        kind: name of its kind.
        implementation: what is known of the program, which is not its version.
        base_url: scheme and address.
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
            ServerDiedError: nobody does any more.
            ServerStartError: nobody does, and nobody has been seen to.
        """
        begun = time.monotonic()
        if begun - self._seen < _LOOK_INTERVAL:
            return
        refusal = ports.refusal(Target.parse(self.base_url), _CONNECT_LIMIT)
        now = time.monotonic()
        if refusal is not None:
            known = self.base_url in self.implementation
            where = self.implementation + ("" if known else f" at {self.base_url}")
            found = f"does not accept connections: {refusal} (tried for {now - begun:.1g} s)."
            if self._seen == -math.inf:
                raise ServerStartError(f"{where} {found} Is it running, and is this its address?")
            raise ServerDiedError(f"{where} {found}")
        self._seen = now

    def stop(self) -> None:
        """Do nothing: who started the server stops it."""


def checked_target(
    url: str, option: str, *, verify: bool, ca_file: str | None, own_requests: bool = False
) -> Target:
    """Return where ``url`` points to.

    Args:
        url: what the user gave.
        option: what the user gave it by.
        verify: whether its certificate must be valid.
        ca_file: certificates to trust in place of the system's.
        own_requests: whether the paths are the test's to choose, not the plugin's.

    Raises:
        OptionError: it is not the address of a server, or the certificates cannot be read.
    """
    # A URL with a user may hold a password, which no message repeats.
    shown = option if "@" in url else f"{option}={url}"
    try:
        target = Target.parse(url, verify=verify, ca_file=ca_file)
    except ValueError as error:
        raise OptionError(f"{shown}: {error}.") from None
    parts = urlsplit(url.strip())
    problem = None
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        problem = "there is something after the port; " + (
            f'put the path into the requests: HttpRequest("POST", "{parts.path or "/"}", ...)'
            if own_requests
            else "the paths are the plugin's to choose"
        )
    elif parts.scheme == "http" and parts.port is None:
        problem = "the port is missing"
    if problem:
        raise OptionError(f"{shown}: {problem}; {EXAMPLES}.")
    try:
        target.ssl_context()
    except ValueError as error:
        raise OptionError(f"{CA_OPTION}={error}.") from None
    return target


class AnyHttp:
    """Stands for the protocol of a server of which nothing is known but its address."""

    name = "HTTP"

    def refuse(self) -> NoReturn:
        """Say what a test gives in place of predictions of the model.

        Raises:
            OptionError: always.
        """
        raise OptionError(
            "poisson_load(URL): only the test knows what to send there: poisson_load(URL, "
            'requests=[HttpRequest("POST", "/predict", body=b"...")]), or return such a list from '
            "the hook pytest_servebench_requests. A server of the model (servebench_model) is "
            "given by --servebench-tfserving-url or --servebench-torchserve-url, and loaded by "
            "poisson_load(model_server)."
        )

    def request(self, inputs: npt.NDArray[np.float32]) -> HttpRequest:  # noqa: ARG002
        """Refuse: only the test knows what to send."""
        self.refuse()

    def read(self, body: bytes) -> npt.NDArray[np.float32]:  # noqa: ARG002
        """Refuse likewise."""
        raise BadResponseError("nothing is known of this server's answers")


def any_server(
    url: str, settings: ServerSettings, name: str | None = None, taken: Collection[str] = ()
) -> AttachedServer:
    """Return the server at ``url``, whatever it serves; it is not asked anything yet.

    Args:
        url: where it is.
        settings: whose certificates to trust.
        name: what reports call it; by default, what its URL says.
        taken: names that it cannot have: those of kinds of server.

    Raises:
        OptionError: the URL is none, or the name cannot be used.
    """
    given = "" if name is None else clean(name)
    if name is not None and (not given or given in taken):
        problem = "a kind of server has this name" if given else "this is no name"
        raise OptionError(
            f'poisson_load(URL, name={name!r}): {problem}; give one such as "my server".'
        )
    target = checked_target(
        url,
        "poisson_load(URL)",
        verify=settings.tls_verify,
        ca_file=settings.tls_ca,
        own_requests=True,
    )
    # Each URL is a kind of its own: two of them in one run are compared like two servers. A name
    # takes the place of the URL, so that a later run at another address is of the same server.
    return AttachedServer(
        given or target.url,
        given or f"server at {target.url}",
        target.url,
        AnyHttp(),
        _seen=-math.inf,
    )


def attach(
    attachment: Attachment,
    protocol: PredictionProtocol,
    model: ServedModel,
    settings: ServerSettings,
) -> AttachedServer:
    """Return a running server once it has answered ``model.inputs[0]`` correctly.

    Args:
        attachment: where it is.
        protocol: how predictions are asked for.
        model: what it must serve.
        settings: how long to wait for an answer (at most 30 s, as nothing must be loaded any more),
            and whose certificates to trust.

    Raises:
        OptionError: the URL is none.
        ServerStartError: it does not answer, or not with this model's prediction.
    """
    target = checked_target(
        attachment.url,
        attachment.url_option,
        verify=settings.tls_verify,
        ca_file=settings.tls_ca,
    )
    where = f"{attachment.title} at {attachment.url_option}={target.url}"
    request = protocol.request(model.inputs[0])
    asked = f"{request.method} {request.path}"
    try:
        answer = probe.ask(target, request, min(_FIRST_ANSWER_LIMIT, settings.start_timeout))
    except probe.NoAnswerError as error:
        raise ServerStartError(
            f"{where} does not answer {asked}: {error}. "
            "Is it running, and is this its port for predictions over HTTP?"
        ) from None
    if answer.status != 200:
        reason = attachment.explain(answer) or _explain(answer, attachment)
        raise ServerStartError(f"{where} refuses {asked}: {reason} Got {probe.describe(answer)}.")
    try:
        wrong = probe.compare(protocol, model, answer.body)
    except BadResponseError as error:
        raise ServerStartError(
            f"{where} does not answer {asked} with a prediction; is it {attachment.title}? {error}"
        ) from None
    if wrong is not None:
        raise ServerStartError(
            f"{where} answers {asked}, but not with what {model.name!r} predicts: {wrong}. "
            "Does it serve other weights, or expect other inputs?"
        )
    return AttachedServer(
        attachment.kind, f"attached {attachment.title} at {target.url}", target.url, protocol
    )


def _explain(answer: HttpAnswer, attachment: Attachment) -> str:
    if answer.body.lstrip()[:1] == b"<":
        return f"it answers with a web page; is this {attachment.title}'s port for predictions?"
    if answer.status == 404:
        return f"it offers no model by this name; {attachment.name_option} sets another name."
    return "it cannot predict the model's first input."
