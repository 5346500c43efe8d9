"""Why an answer was not a success, in words; the same for every version of HTTP."""

from typing import Final

from pytest_servebench.text.redaction import without_keys

_LONGEST_AIM: Final = 200


def refusal(status: int, location: bytes | None) -> str:
    """Describe an unsuccessful answer by its status, and a redirect's target."""
    if location is None or not 300 <= status < 400:
        return f"status {status}"
    text = without_keys(location.decode("latin-1").strip())
    return f"status {status}, Location: {text[:_LONGEST_AIM]}{'…' * (len(text) > _LONGEST_AIM)}"


def too_long(part: str, most: int) -> str:
    """Describe an answer that was given up; ``part`` is ``"body"`` or ``"headers"``."""
    option = {"body": "--servebench-max-body", "headers": "--servebench-max-headers"}[part]
    return f"an answer with more than {most} bytes of {part} ({option})"


SPEAKS_HTTP2: Final = "the server speaks HTTP/2 (as gRPC does), not HTTP/1.1"


def is_http2(beginning: bytes) -> bool:
    """Return whether an answer begins with SETTINGS on stream 0, as that of HTTP/2 does."""
    return beginning[3:4] == b"\x04" and beginning[5:9] == bytes(4)
