"""The beginning of what a server sent, safe to show in a message."""

from typing import Final

from pytest_servebench.text.redaction import redact

_LONGEST: Final = 200  # characters
_LOOKED_INTO: Final = 16_384  # bytes that are scanned for secrets


def excerpt(body: bytes) -> str:
    """Return the beginning of a body, on one line, for an error message."""
    # Redacted before it is cut: part of a secret would not be recognized.
    text = redact(body[:_LOOKED_INTO].decode("utf-8", "replace"))
    return cut(" ".join(text.split()), _LONGEST)


def cut(text: str, most: int) -> str:
    """Return at most ``most`` characters of a text, and whether there were more."""
    return text if len(text) <= most else f"{text[:most]}…"
