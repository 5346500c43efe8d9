"""The events of a streamed answer, and their reading."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytest_servebench.load.journal import StreamedAnswer


class Piece(NamedTuple):
    """An event, by its place in the body.

    Attributes:
        end: bytes of the body up to its end.
        data: its text.
        name: the ``event`` field of server-sent events; else empty.
        id: their last ``id`` field; else empty.
        whole: whether its end came; only the last event of a body can lack it.
    """

    end: int
    data: str
    name: str = ""
    id: str = ""
    whole: bool = True


class StreamEvent(NamedTuple):
    """An event, and when it came.

    Attributes:
        time: when its last byte was read, ns since the clock's start.
        part: number of the read that brought that byte, from 0.
        data: its text.
        name: the ``event`` field of server-sent events; else empty.
        id: their last ``id`` field; else empty.
        whole: whether its end came; only the last event of a body can lack it.
    """

    time: int
    part: int
    data: str
    name: str = ""
    id: str = ""
    whole: bool = True


@dataclass(frozen=True)
class StreamReading:
    """The content of an answer's events; without output and tokens it is not a success.

    Attributes:
        output: places of the events that have output of the model, ascending from 0.
        text: all of that output, which a tokenizer may count.
        tokens: of the output, if the server reports them.
        input_tokens: of the prompt, if the server reports them.
        fault: why the answer is not a success; empty if it is one.
    """

    output: Sequence[int]
    text: str = ""
    tokens: int | None = None
    input_tokens: int | None = None
    fault: str = ""


Splitter = Callable[[bytes, Sequence[int]], Iterator[Piece]]
"""Splits a body into events; it also gets how many bytes had arrived after each read."""

StreamReader = Callable[[Sequence[StreamEvent]], StreamReading]
"""Reads the events of one answer, of which the last ones may be missing."""


def stamped(pieces: Iterable[Piece], answer: StreamedAnswer, start: int) -> list[StreamEvent]:
    """Return events with the time of the read that brought their last byte.

    Args:
        pieces: of the answer's body, in order.
        answer: as it came.
        start: of the clock, ns.
    """
    times, ends = answer.times, answer.ends
    events, part = [], 0
    for end, data, name, identity, whole in pieces:
        part = bisect_left(ends, end, part)
        events.append(StreamEvent(times[part] - start, part, data, name, identity, whole))
    return events
