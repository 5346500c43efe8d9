"""Server-sent events, as the HTML standard has them (``text/event-stream``, WHATWG HTML 9.2.6)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from pytest_servebench.streaming.events import Piece, StreamEvent, StreamReading
from pytest_servebench.streaming.faults import CUT_OFF, error_in

_BOM: Final = b"\xef\xbb\xbf"
_LINE: Final = re.compile(rb"([^\r\n]*)(\r\n|\r|\n|\Z)")
DONE: Final = "[DONE]"


def split(body: bytes, _ends: Sequence[int] = ()) -> Iterator[Piece]:
    """Yield the events of a body that have data.

    An event at the end without an empty line after it, which the standard drops, is yielded as one
    that is not whole: it shows that the stream was cut off.
    """
    data: list[bytes] = []
    name, identity, size = b"", b"", len(body)
    place = len(_BOM) if body.startswith(_BOM) else 0
    while place < size:
        found = _LINE.match(body, place)
        assert found is not None  # it matches anything
        line, place = found[1], found.end()
        if not line:
            if data:
                yield Piece(place, _text(b"\n".join(data)), _text(name), _text(identity))
            data, name = [], b""
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
        elif field == b"id" and b"\0" not in value:
            identity = value
    if data:
        yield Piece(size, _text(b"\n".join(data)), _text(name), _text(identity), whole=False)


def _text(part: bytes) -> str:
    return part.decode("utf-8", "replace")


def read(events: Sequence[StreamEvent]) -> StreamReading:
    """Take the data of each event for output, but for errors and a last ``[DONE]``."""
    fault, number = "", len(events)
    if events and (events[-1].data == DONE or not events[-1].whole):
        number -= 1
        fault = "" if events[-1].data == DONE else CUT_OFF
    for place, event in enumerate(events):
        if (error := error_in(event)) != "":
            number, fault = place, error
            break
    return StreamReading(range(number), "".join(one.data for one in events[:number]), fault=fault)
