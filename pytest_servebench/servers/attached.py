"""Servers that already run: reached by URL, neither started nor stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import numpy.typing as npt

from pytest_servebench.errors import (
    BadResponseError,
    OptionError,
    ServerDiedError,
    ServerStartError,
)
from pytest_servebench.load.target import EXAMPLES, Target
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import HttpRequest, PredictionProtocol
from pytest_servebench.report.text import clean
from pytest_servebench.servers import ports
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.servers.first_prediction import (
    OWN_REQUESTS,
    FirstPrediction,
    Judge,
    RefusedError,
)

CA_OPTION = "--servebench-tls-ca"
TIMEOUT_OPTION = "--servebench-start-timeout"
_CONNECT_LIMIT = 2.0  # seconds
_LOOK_INTERVAL = 5.0  # seconds between two looks whether it still listens
_HINT = "Is it running, and is this its port for predictions over HTTP?"
_PAUSE = 0.1  # seconds between two tries


@dataclass(frozen=True)
class Attachment:
    """Where a running server is, and how to talk of it.

    Attributes:
        kind: name of its kind.
        title: that kind's name for people.
        url: where it is.
        url_option: the option that said so.
        judge: knows what its refusals mean.
    """

    kind: str
    title: str
    url: str
    url_option: str
    judge: Judge


@dataclass
class AttachedServer:
    """A server that somebody else runs.

    Attributes:
        kind: name of its kind.
        implementation: what is known of the program, which is not its version.
        base_url: scheme and address.
        protocol: how predictions are asked for.
        mismatch: what is wrong with its prediction of the model's input; empty if it is right.
        patience: seconds for which a server that nobody has seen yet is waited for.
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
        target = Target.parse(self.base_url)
        never_seen = self._seen == -math.inf
        while refusal := ports.refusal(target, _CONNECT_LIMIT):
            if not never_seen or time.monotonic() - begun > self.patience:
                break
            time.sleep(_PAUSE)
        now = time.monotonic()
        if refusal is None:
            self._seen = now
            return
        known = self.base_url in self.implementation
        where = self.implementation + ("" if known else f" at {self.base_url}")
        found = f"does not accept connections: {refusal} (tried for {now - begun:.3g} s"
        if never_seen:
            raise ServerStartError(
                f"{where} {found}, {TIMEOUT_OPTION}={self.patience:g}). "
                "Is it running, and is this its address?"
            )
        raise ServerDiedError(f"{where} {found}).")

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

    def request(self, inputs: npt.NDArray[Any]) -> HttpRequest:  # noqa: ARG002
        """Refuse: only the test knows what to send."""
        self.refuse()

    def read(self, body: bytes) -> npt.NDArray[Any]:  # noqa: ARG002
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
        patience=settings.start_timeout,
        _seen=-math.inf,
    )


def attach(
    attachment: Attachment,
    protocol: PredictionProtocol,
    model: ServedModel,
    settings: ServerSettings,
) -> AttachedServer:
    """Return a running server once it answers ``model.inputs[0]``, or says that it serves.

    Args:
        attachment: where it is.
        protocol: how predictions are asked for.
        model: what it must serve.
        settings: how long to wait for it, and whose certificates to trust.

    Raises:
        OptionError: the URL is none.
        ServerStartError: it does not answer in time, or refuses for good.
    """
    target = checked_target(
        attachment.url,
        attachment.url_option,
        verify=settings.tls_verify,
        ca_file=settings.tls_ca,
    )
    where = f"{attachment.title} at {attachment.url_option}={target.url}"
    first = FirstPrediction(target, protocol, model, attachment.judge)
    begun = time.monotonic()
    while True:
        left = settings.start_timeout - (time.monotonic() - begun)
        try:
            done, seen = first.attempt(max(left, _PAUSE))
        except RefusedError as error:
            hint = "" if error.http else f" {_HINT}"
            raise ServerStartError(f"{where} {error}.{hint}") from None
        if done:
            break
        if time.monotonic() - begun >= settings.start_timeout:
            raise ServerStartError(
                f"{where} {seen}. Waited for {TIMEOUT_OPTION}={settings.start_timeout:g} s. {_HINT}"
            )
        time.sleep(_PAUSE)
    return AttachedServer(
        attachment.kind,
        f"attached {attachment.title} at {target.url}",
        target.url,
        protocol,
        mismatch=f"{where} {first.problem.rstrip('.')}. {OWN_REQUESTS}" if first.problem else "",
        patience=settings.start_timeout,
        _seen=time.monotonic() if first.asked else -math.inf,
    )
