"""Why a streamed answer is not a success, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from pytest_servebench.streaming.events import StreamEvent
from pytest_servebench.text.excerpt import cut, excerpt

CUT_OFF: Final = "the stream ends in the middle of an event"
NO_OUTPUT: Final = "the answer has no output"
_LONGEST: Final = 300  # characters of a server's message


def not_json(place: int, event: StreamEvent) -> str:
    """Return the fault of an event that should be JSON."""
    return f"event {place + 1} of the stream is not JSON: {excerpt(event.data.encode())!r}"


def error_of(value: Any, event: str = "") -> str:
    """Return the error that a server reports inside a successful answer, or an empty text.

    Args:
        value: what it sent.
        event: the event's name.
    """
    told = value if isinstance(value, Mapping) else {}
    error = told.get("error")
    if not error:
        if event != "error" and told.get("object") != "error":
            return ""
        error = value or "without a message"
    said = error.get("message", error) if isinstance(error, Mapping) else error
    return f"the server sent an error in the stream: {cut(str(said), _LONGEST)}"


def error_in(event: StreamEvent) -> str:
    """Return the error in an event, whose data may be JSON; or an empty text."""
    if event.name != "error" and '"error"' not in event.data:
        return ""
    try:
        value = orjson.loads(event.data)
    except orjson.JSONDecodeError:
        value = event.data
    return error_of(value, event.name)
