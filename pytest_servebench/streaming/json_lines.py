"""JSON Lines: each line is one value, and an event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from pytest_servebench.streaming.events import Piece, StreamEvent, StreamReading
from pytest_servebench.streaming.faults import CUT_OFF, error_of, not_json


def split(body: bytes, _ends: Sequence[int] = ()) -> Iterator[Piece]:
    """Yield the lines of a body that are not empty; the last one may lack its line feed."""
    place, size = 0, len(body)
    while place < size:
        end = body.find(b"\n", place) + 1
        line = body[place : end or size].strip()
        place = end or size
        if line:
            yield Piece(place, line.decode("utf-8", "replace"), whole=bool(end))


def read(events: Sequence[StreamEvent]) -> StreamReading:
    """Take each line for output; one that is not JSON, or an error, is a fault."""
    for place, event in enumerate(events):
        try:
            fault = error_of(orjson.loads(event.data))
        except orjson.JSONDecodeError:
            fault = not_json(place, event) if event.whole else CUT_OFF
        if fault:
            return StreamReading(range(place), fault=fault)
    return StreamReading(range(len(events)), "".join(one.data for one in events))
