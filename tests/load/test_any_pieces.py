"""An answer is read the same in whatever pieces it comes."""

import asyncio
from itertools import pairwise
from typing import cast
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.transports.base import Completion, Loss, Terms
from pytest_servebench.load.transports.http1 import Connection

ANSWERS = {
    "by-the-book": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 2\nX: y\n\n{}",
    "length-twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length:  2\r\n\r\n{}",
    "continued-line": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\nX: y\r\n z\r\n\r\n{}",
    "lf-continue": b"HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "two-hints": b"HTTP/1.1 103 Early Hints\nLink: <a>\n\nHTTP/1.1 100 Continue\n\n"
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "continue-then-lf": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "lf-continue-then-chunked": b"HTTP/1.1 100 Continue\n\n"
    b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
}


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

    def answered(self, completion: Completion) -> None:
        self.answers.append((completion.status, completion.body, completion.keep))
        self.began.append(completion.began)

    def lost(self, loss: Loss, reason: str, began: int) -> None:
        self.losses.append((loss, reason))


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@given(cuts=st.lists(st.integers(1, 120), max_size=8))
def test_two_answers_over_one_connection(answer: bytes, cuts: list[int]) -> None:
    reader = Reader()
    connection = Connection(reader, Terms(), lambda _: False)
    connection.connection_made(cast(asyncio.Transport, Link()))
    edges = [0, *sorted({cut % len(answer) for cut in cuts} - {0}), len(answer)]
    with patch("pytest_servebench.load.transports.http1._clock") as clock:
        for _ in range(2):
            connection.send(b"", 0)
            for start, end in pairwise(edges):
                clock.return_value = end
                connection.data_received(answer[start:end])
    assert reader.losses == []
    assert reader.answers == [(200, b"{}", True)] * 2
    # The first byte is that of the final answer, not of an interim one.
    final = answer.index(b"HTTP/1.1 200")
    assert reader.began == [next(end for end in edges if end > final)] * 2


def test_a_connection_that_ends_after_an_interim_answer_was_seen_by_the_server() -> None:
    reader = Reader()
    connection = Connection(reader, Terms(), lambda _: False)
    connection.connection_made(cast(asyncio.Transport, Link()))
    connection.send(b"", 0)
    connection.data_received(b"HTTP/1.1 100 Continue\r\n\r\n")
    connection.connection_lost(None)
    ((loss, _),) = reader.losses
    assert loss is Loss.BROKEN
