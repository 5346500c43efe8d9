"""What all protocols say about an answer that is not a prediction."""

from typing import Final

from pytest_servebench.errors import BadResponseError
from pytest_servebench.protocols.base import HttpAnswer
from pytest_servebench.text.redaction import redact

_EXCERPT: Final = 200  # characters of a bad body quoted in the error
_REASON: Final = 400  # characters of the reason
_LOOKED_INTO: Final = 16_384  # bytes of it that are scanned for secrets


def excerpt(body: bytes) -> str:
    """Return the beginning of a body, on one line, for an error message."""
    # Redacted before it is cut: part of a secret would not be recognized.
    text = redact(body[:_LOOKED_INTO].decode("utf-8", "replace"))
    text = " ".join(text.split())
    return _cut(text, _EXCERPT)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def bad(what: str, answer: HttpAnswer, expected: str) -> BadResponseError:
    """Return the error for an answer that is no prediction.

    Args:
        what: is wrong, as a phrase after "The answer".
        answer: what was received.
        expected: what was expected instead.
    """
    body = answer.body
    what = _cut(what, _REASON)  # it may quote names that a server made up
    return BadResponseError(
        f"The answer {what}; expected {expected}, got {len(body)} bytes: {excerpt(body)!r}"
    )
