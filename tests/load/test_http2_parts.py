"""Parts of streamed answers over HTTP/2: each stream has its own, however a call ends."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from unittest.mock import Mock, patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.store import Outcome
from pytest_servebench.load.transports.base import Completion, Loss, PartsChannel, Terms
from pytest_servebench.load.transports.http2 import frames as f
from pytest_servebench.load.transports.http2.frames import ErrorCode
from pytest_servebench.load.transports.http2.verdicts import judge_http
from tests.load.http2_wire import Talk, frame, goaway, headers, number
from tests.load.test_any_pieces import naps, reads

PATH = "pytest_servebench.load.transports"
TERMS = Terms(most_parts=100, max_body=50)
OK = (":status", "200")
MS = 1_000_000


@contextmanager
def clock() -> Iterator[Mock]:
    with patch(f"{PATH}.http2.connection._clock") as found:
        yield found


def streams(channels: int = 2, terms: Terms = TERMS) -> Talk:
    """Return a connection with a call on each channel, whose answers have begun."""
    talk = Talk(channels, terms, judge_http)
    for channel in range(channels):
        talk.send(channel=channel)
        talk.feed(headers(1 + 2 * channel, OK))
    return talk


def body(content: bytes, stream: int = 1, flags: int = 0) -> bytes:
    return frame(f.DATA, flags, stream, content)


@given(
    written=st.lists(
        st.tuples(st.sampled_from([1, 3]), st.binary(max_size=5), st.sampled_from([None, 0, 3])),
        min_size=1, max_size=6,
    ),
    cuts=st.lists(st.integers(1, 120), max_size=8),
)  # fmt: skip
def test_each_read_that_brings_some_of_a_body_is_a_part_of_it(
    written: list[tuple[int, bytes, int | None]], cuts: list[int]
) -> None:
    data, places = b"", {1: list[int](), 3: list[int]()}  # of which byte each of a body came with
    for stream, content, padding in written:
        if padding is None:
            start = len(data) + f.HEADER_SIZE
            data += body(content, stream)
            places[stream] += range(start, start + len(content))
        else:  # is read when it is whole
            data += body(bytes((padding,)) + content + bytes(padding), stream, f.PADDED)
            places[stream] += [len(data) - 1] * len(content)
    edges = [0, *sorted({cut % len(data) for cut in cuts} - {0}), len(data)]
    talk = streams()
    with clock() as now:
        for start, end in pairwise(edges):
            now.return_value = end
            talk.feed(data[start:end])
        talk.feed(body(b"", 1, f.END_STREAM), body(b"", 3, f.END_STREAM))
    for caller, stream in zip(talk.callers, places, strict=True):
        assert caller.ok
        content = b"".join(one for number, one, _ in written if number == stream)
        assert caller.end.content() == content
        sizes = {end: sum(place < end for place in places[stream]) for end in edges}
        assert reads(caller.end.parts) == {
            end: sizes[end] for start, end in pairwise(edges) if sizes[end] > sizes[start]
        }


def gone(talk: Talk) -> None:
    talk.feed(goaway(1))
    talk.lose()


ENDS: dict[str, tuple[Callable[[Talk], None], Outcome | Loss]] = {
    "the stream is reset": (
        lambda talk: talk.feed(number(f.RST_STREAM, 1, ErrorCode.INTERNAL_ERROR)),
        Outcome.BAD_RESPONSE,
    ),
    "more than is wanted": (lambda talk: talk.feed(body(bytes(48))), Outcome.BAD_RESPONSE),
    "the connection ends": (Talk.lose, Loss.BROKEN),
    "the connection is at fault": (lambda talk: talk.feed(body(b"x", 9)), Loss.BROKEN),
    "the server goes away, and the connection ends": (
        gone, Loss.BROKEN,
    ),
    "it is given up": (lambda talk: talk.channels[0].close(), Outcome.UNFINISHED),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_what_came_of_an_answer_that_broke_off_is_kept(name: str) -> None:
    end, expected = ENDS[name]
    talk = streams(1)
    channel = talk.channels[0]
    assert isinstance(channel, PartsChannel)
    assert not isinstance(Talk().channels[0], PartsChannel)
    with clock() as now:
        for at, content in ((7, b"ab"), (9, b"c")):
            now.return_value = at
            talk.feed(body(content))
        now.return_value = 11
        end(talk)
    found = channel.received()
    for reported in talk.callers[0].ends:
        if isinstance(reported, Completion):
            found = reported
            assert found.keep
        else:
            assert reported[0] is expected
    assert found.outcome in (expected, Outcome.UNFINISHED)
    assert (found.status, found.content(), reads(found.parts)) == (200, b"abc", {7: 2, 9: 3})


def test_the_next_answer_over_a_channel_has_parts_of_its_own() -> None:
    talk = streams(1)
    talk.feed(body(b"abc", 1, f.END_STREAM))
    talk.callers[0].ends.clear()
    talk.send()
    assert isinstance(channel := talk.channels[0], PartsChannel)
    assert (channel.received().status, reads(channel.received().parts)) == (0, {})
    talk.feed(headers(3, OK), body(b"x", 3), body(b"y", 3, f.END_STREAM))
    assert [*reads(talk.callers[0].end.parts).values()][-1:] == [2]


def test_parts_are_late_by_what_the_kernel_says_and_nothing_else_is_asked() -> None:
    talk = streams()
    # When parts of both are read, and for how long they had lain unread: after a time without reads
    # the first is asked for, and if that is late those that have waited, too.
    waits = [
        (1_000, [0]),
        (1_001, []),
        (1_050, [20, 15]),
        (1_052, [0, 0]),
        (1_090, [0]),
        (1_091, []),
    ]
    lay = iter([late * MS for _, asked in waits for late in asked])
    talk.connection._use = dataclasses.replace(talk.connection._use, woken=naps())
    with clock() as now, patch(f"{PATH}.dozing.unread_ns", side_effect=lambda _: next(lay)):
        for at, _ in waits:
            now.return_value = at * MS
            talk.feed(body(b"x", 1) + body(b"y", 3))
        talk.feed(body(b"", 1, f.END_STREAM), body(b"", 3, f.END_STREAM))
    assert next(lay, None) is None
    found = [caller.end.parts for caller in talk.callers]
    assert [parts.late for parts in found if parts is not None] == [20 * MS, 15 * MS]
