"""An answer is read the same in whatever pieces it comes."""

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import accumulate, pairwise
from types import SimpleNamespace
from typing import cast
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.engine import Engine
from pytest_servebench.load.transports.base import Completion, Loss, Parts, PartsChannel, Terms
from pytest_servebench.load.transports.dozing import Dozing
from pytest_servebench.load.transports.http1 import Connection, StreamedConnection

HEAD = b"HTTP/1.1 200 OK\r\n"
BARE = b"HTTP/1.1 200 OK\n"
CHUNKS = b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
ANSWERS = {
    "by the book": HEAD + b"Content-Length: 2\r\n\r\n{}",
    "chunked": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 2\r\n\r\n{}",
    "bare LF": BARE + b"Content-Length: 2\nX: y\n\n{}",
    "bare LF, chunked": BARE + b"Transfer-Encoding: chunked\n\n" + CHUNKS,
    "mixed ends": HEAD + b"Content-Length: 2\nX: y\r\n\n{}",
    "length twice": HEAD + b"Content-Length: 2\r\nX: 2\r\ncontent-length:  2\r\n\r\n{}",
    "continued line": HEAD + b"X: y\r\n z\r\n\tz\r\nContent-Length: 2\r\n\r\n{}",
    "length on a continued line": HEAD + b"Content-Length:\r\n 2\r\nX: y\r\n z\r\n\r\n{}",
    "bare LF, continue": b"HTTP/1.1 100 Continue\n\n" + BARE + b"Content-Length: 2\n\n{}",
    "two hints": b"HTTP/1.1 103 Early Hints\nLink: <a>\n\nHTTP/1.1 100 Continue\n\n"
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "continue, then bare LF": b"HTTP/1.1 100 Continue\r\n\r\n" + BARE + b"Content-Length: 2\n\n{}",
    "bare LF, continue, then chunked": b"HTTP/1.1 100 Continue\n\n"
    + BARE + b"Transfer-Encoding: chunked\n\n" + CHUNKS,
}  # fmt: skip


class Link:
    """A transport that goes nowhere."""

    def get_extra_info(self, name: str) -> None: ...
    def set_write_buffer_limits(self, high: int) -> None: ...
    def write(self, data: bytes) -> None: ...
    def abort(self) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0


class Reader:
    """Keeps what a connection reports."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes, bool]] = []
        self.began: list[int] = []
        self.losses: list[tuple[Loss, str]] = []
        self.parts: list[Parts | None] = []

    def answered(self, completion: Completion) -> None:
        self.answers.append((completion.status, completion.content(), completion.keep))
        self.began.append(completion.began)
        self.parts.append(completion.parts)

    def lost(self, loss: Loss, reason: str, began: int) -> None:
        self.losses.append((loss, reason))

    def refused(self) -> bool:
        return False

    def held(self) -> None: ...
    def released(self) -> None: ...


def naps() -> Callable[[int], int]:
    """Return what tells an engine's transport for how long the engine slept."""
    return partial(Engine.woken, cast(Engine, SimpleNamespace(_awake=0, _in_doubt=0, _nap=0)))


def reads(parts: Parts | None) -> dict[int, int]:
    """Return the bytes of the body after each read."""
    assert parts is not None
    pieces, times = parts.told[::2], parts.told[1::2]
    assert parts.size == sum(map(len, pieces))
    return dict(zip(times, accumulate(map(len, pieces)), strict=True))


def connected(reader: Reader, dozing: Dozing | None = None) -> Connection:
    """Return a connection, for streamed answers if ``dozing`` is given."""
    connection = Connection(reader, Terms(), lambda _: False)
    if dozing is not None:
        connection = StreamedConnection(reader, Terms(most_parts=100, max_body=20), naps(), dozing)
    connection.connection_made(cast(asyncio.Transport, Link()))
    connection.send(b"", 0)
    return connection


def read_twice(connection: Connection, answer: bytes, cuts: list[int]) -> list[int]:
    """Have an answer read in pieces, for two requests; return where each read begins and ends."""
    edges = [0, *sorted({cut % len(answer) for cut in cuts} - {0}), len(answer)]
    with patch("pytest_servebench.load.transports.http1._clock") as clock:
        for _ in range(2):
            connection.send(b"", 0)
            for start, end in pairwise(edges):
                clock.return_value = end
                connection.data_received(answer[start:end])
    return edges


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@given(cuts=st.lists(st.integers(1, 120), max_size=8))
def test_two_answers_over_one_connection(answer: bytes, cuts: list[int]) -> None:
    reader = Reader()
    edges = read_twice(connected(reader), answer, cuts)
    assert reader.losses == []
    assert reader.answers == [(200, b"{}", True)] * 2
    # The first byte is that of the final answer, not of an interim one.
    final = answer.index(b"HTTP/1.1 200")
    assert reader.began == [next(end for end in edges if end > final)] * 2


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@given(cuts=st.lists(st.integers(1, 120), max_size=8))
def test_each_read_that_brings_some_of_the_body_is_a_part(answer: bytes, cuts: list[int]) -> None:
    reader = Reader()
    edges = read_twice(connected(reader, Dozing()), answer, cuts)
    places = [answer.index(b"{"), answer.index(b"}")]
    sizes = {end: sum(place < end for place in places) for end in edges}
    brought = {end: sizes[end] for start, end in pairwise(edges) if sizes[end] > sizes[start]}
    assert reader.answers == [(200, b"{}", True)] * 2
    assert [reads(parts) for parts in reader.parts] == [brought] * 2


def test_what_came_of_an_answer_that_broke_off_is_kept() -> None:
    reader = Reader()
    connection = connected(reader, Dozing())
    assert isinstance(connection, StreamedConnection)
    connection.data_received(ANSWERS["chunked"])
    connection.send(b"", 0)
    assert (connection.received().status, connection.received().content()) == (0, b"")
    connection.data_received(ANSWERS["chunked"][: -len(CHUNKS) + 6])
    connection.connection_lost(None)
    received = connection.received()
    assert (received.status, received.content()) == (200, b"{")
    assert [loss for loss, _ in reader.losses] == [Loss.BROKEN]
    assert not isinstance(connected(reader), PartsChannel)


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "parts", "fault"),
    [
        ([ANSWERS["chunked"] * 2], {0: 2}, ""),
        ([CHUNKED, CHUNKS + ANSWERS["chunked"]], {1: 2}, ""),
        ([CHUNKED + CHUNKS[:6], CHUNKS[6:] + b"garbage"], {0: 1, 1: 2}, ""),
        ([CHUNKED + b"15\r\n" + bytes(21)], {}, "--servebench-max-body"),
        ([CHUNKED, b"14\r\n" + bytes(20), b"\r\n1\r\n1"], {1: 20}, "--servebench-max-body"),
        ([CHUNKED, b"1\r\n{\r\n", b"1\r\n}\r\ngarbage"], {1: 1, 2: 2}, "not HTTP"),
    ],
)
def test_only_the_answer_has_parts_and_those_before_a_fault_are_kept(
    data: list[bytes], parts: dict[int, int], fault: str
) -> None:
    reader = Reader()
    connection = connected(reader, Dozing())
    assert isinstance(connection, StreamedConnection)
    with patch("pytest_servebench.load.transports.http1._clock") as clock:
        for clock.return_value, read in enumerate(data):
            connection.data_received(read)
    if fault:
        ((loss, reason),) = reader.losses
        assert loss is Loss.BROKEN
        assert fault in reason
        assert reads(connection.received().parts) == parts
    else:
        assert reader.answers == [(200, b"{}", False)]
        assert [reads(one) for one in reader.parts] == [parts]


@pytest.mark.parametrize("length", [1, 2, 99])
def test_chunked_together_with_a_length_is_chunked_and_ends_its_connection(length: int) -> None:
    reader = Reader()
    fields = b"Content-Length: %d\r\nTransfer-Encoding: Chunked\r\n\r\n" % length
    connected(reader).data_received(HEAD + fields + CHUNKS)
    assert reader.answers == [(200, b"{}", False)]


@pytest.mark.parametrize(
    "head",
    [
        b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n",
        b"Content-Length: 2\r\nTransfer-Encoding: xchunked\r\n",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked, gzip\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\nContent-Length: 2\r\n",
        b"Transfer-Encoding: chu\r\n nked\r\nContent-Length: 2\r\n",
        b"Transfer-Encoding: gzip,\r\n chunked\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: 2\r\n 3\r\n",
        b"X: a\x00b\r\nContent-Length: 2\r\n",
        b"X: a\rContent-Length: 9\r\nContent-Length: 2\r\n",
    ],
)
def test_answers_that_two_readers_may_read_differently_are_refused(head: bytes) -> None:
    reader = Reader()
    connected(reader).data_received(HEAD + head + b"\r\n{}")
    ((loss, reason),) = reader.losses
    assert loss is Loss.BROKEN
    assert "callback" not in reason
    assert reader.answers == []


def test_a_connection_that_ends_after_an_interim_answer_was_seen_by_the_server() -> None:
    reader = Reader()
    connection = connected(reader)
    connection.data_received(b"HTTP/1.1 100 Continue\r\n\r\n")
    connection.connection_lost(None)
    ((loss, _),) = reader.losses
    assert loss is Loss.BROKEN


def test_parts_are_late_by_what_the_kernel_says_and_nothing_else_is_asked() -> None:
    ms = 1_000_000
    # When a part is read, and for how long it had lain unread: after a nap of more than 5 ms the
    # first is asked for, and if that is late those that have waited, too.
    waits = [
        (1_000, None), (1_001, None), (1_050, 0), (1_051, None), (1_090, 20), (1_092, 15),
        (1_093, 0), (1_140, 0), (1_141, None), (1_145, None), (1_250, 6), (1_260, 0),
    ]  # fmt: skip
    told = iter([0, *(late * ms for _, late in waits if late is not None)])
    reader = Reader()
    connection = connected(reader, Dozing())
    path = "pytest_servebench.load.transports"
    with (
        patch(f"{path}.http1._clock") as clock,
        patch(f"{path}.dozing.unread_ns", side_effect=lambda _: next(told)),
    ):
        clock.return_value = 999 * ms  # the first of all
        connection.data_received(HEAD + b"Content-Length: 13\r\n\r\n0")
        for now, _ in waits:
            clock.return_value = now * ms
            connection.data_received(b"x")
    (parts,) = reader.parts
    assert parts is not None
    assert parts.late == 20 * ms
    assert next(told, None) is None
