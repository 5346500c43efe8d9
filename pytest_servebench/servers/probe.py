"""Single HTTP requests to a server, outside of any measurement."""

from __future__ import annotations

from typing import Final

from pytest_servebench.load.target import Target
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import HttpAnswer, HttpRequest, PredictionProtocol
from pytest_servebench.protocols.predictions import disagreement, excerpt

MOST_BYTES: Final = 16 * 2**20


def describe(answer: HttpAnswer) -> str:
    """Return an answer's status and the beginning of its body, for an error message."""
    return f"status {answer.status}: {excerpt(answer.body)!r}"


def ask(
    where: Target | str, request: HttpRequest, timeout: float, *, most: int = MOST_BYTES
) -> HttpAnswer:
    """Send one request over a fresh connection, past any proxy, to a target or a URL.

    Args:
        where: the server.
        request: what to send.
        timeout: seconds for all of it: names, connection, handshake, headers and body.
        most: bytes that the body may have.

    Raises:
        NoAnswerError: there is no connection, no whole answer in time, too much of it, or no HTTP.
    """
    # Imported here, as the plugin is loaded in every pytest run of its user.
    from pytest_servebench.servers import http_client  # noqa: PLC0415

    target = Target.parse(where) if isinstance(where, str) else where
    return http_client.ask(target, request, timeout, most=most)


def compare(protocol: PredictionProtocol, model: ServedModel, body: bytes) -> str | None:
    """Return what is wrong with an answer to ``model.inputs[0]``; ``None`` if it is right.

    Raises:
        BadResponseError: the body is not a prediction at all.
    """
    got = protocol.read(body)
    return disagreement(got, model.outputs[0], rtol=model.rtol, atol=model.atol)
