"""Single HTTP requests to a server, outside of any measurement."""

from __future__ import annotations

import http.client

import numpy as np

from pytest_servebench.load.target import Target, explained
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import HttpAnswer, HttpRequest, PredictionProtocol
from pytest_servebench.protocols.predictions import excerpt


class NoAnswerError(Exception):
    """Nobody answered, or not in HTTP; the message says why."""


def describe(answer: HttpAnswer) -> str:
    """Return an answer's status and the beginning of its body, for an error message."""
    return f"status {answer.status}: {excerpt(answer.body)!r}"


def ask(where: Target | str, request: HttpRequest, timeout: float) -> HttpAnswer:
    """Send one request over a fresh connection, past any proxy, to a target or a URL.

    Raises:
        NoAnswerError: there is no connection, no answer within ``timeout`` seconds, or no HTTP.
    """
    target = Target.parse(where) if isinstance(where, str) else where
    connection = target.http_connection(timeout)
    try:
        connection.request(
            request.method, request.path, body=request.body or None, headers=dict(request.headers)
        )
        response = connection.getresponse()
        return HttpAnswer(response.status, response.read())
    except TimeoutError:
        raise NoAnswerError(f"no answer within {timeout:.3g} s") from None
    except OSError as error:
        raise NoAnswerError(explained(error) or type(error).__name__) from None
    except http.client.HTTPException as error:
        raise NoAnswerError(f"the answer is not HTTP ({type(error).__name__})") from None
    finally:
        connection.close()


def compare(protocol: PredictionProtocol, model: ServedModel, body: bytes) -> str | None:
    """Return what is wrong with an answer to ``model.inputs[0]``; ``None`` if it is right.

    Raises:
        BadResponseError: the body is not a prediction at all.
    """
    got = protocol.read(body)
    expected = np.asarray(model.outputs[0])
    if got.shape != expected.shape:
        return f"its prediction has shape {got.shape}, the model's has {expected.shape}"
    if np.allclose(got, expected, rtol=model.rtol, atol=model.atol):
        return None
    with np.errstate(invalid="ignore"):
        worst = float(np.max(np.abs(got - expected)))
    return (
        f"its prediction differs from the model's by up to {worst:.3g} "
        f"(allowed: rtol={model.rtol:g}, atol={model.atol:g}); "
        f"got {_short(got)}, expected {_short(expected)}"
    )


def _short(values: np.typing.NDArray[np.float32]) -> str:
    return np.array2string(values, precision=4, threshold=12, separator=", ").replace("\n", "")
