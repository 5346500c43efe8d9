"""Bodies of any kind: the bytes of each read are an event."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence

from pytest_servebench.streaming.events import Piece, StreamEvent, StreamReading


def split(body: bytes, ends: Sequence[int]) -> Iterator[Piece]:
    """Yield the parts of a body; a character that is split between two is in the second."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    place = 0
    for end in ends:
        yield Piece(end, decoder.decode(body[place:end]))
        place = end


def read(events: Sequence[StreamEvent]) -> StreamReading:
    """Take every part for output."""
    return StreamReading(range(len(events)), "".join(one.data for one in events))
