"""The error of all protocols for an answer that is not a prediction."""

from typing import Final

from pytest_servebench.errors import BadResponseError
from pytest_servebench.protocols.base import Answer
from pytest_servebench.text.excerpt import cut, excerpt

_REASON: Final = 400  # characters of the reason


def bad(what: str, answer: Answer, expected: str) -> BadResponseError:
    """Return the error for an answer that is not a prediction.

    Args:
        what: is wrong, as a phrase after "The answer".
        answer: what was received.
        expected: what was expected instead.
    """
    body = answer.body
    what = cut(what, _REASON)  # it may quote names that a server made up
    return BadResponseError(
        f"The answer {what}; expected {expected}, got {len(body)} bytes: {excerpt(body)!r}"
    )
