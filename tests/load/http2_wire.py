"""A connection of HTTP/2 without sockets: what it is fed, and what it writes and reports."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from pytest_servebench.load.store import Outcome
from pytest_servebench.load.transports.base import Completion, Loss, Terms
from pytest_servebench.load.transports.http2 import frames as f
from pytest_servebench.load.transports.http2.channel import Channel, channel_maker
from pytest_servebench.load.transports.http2.connection import Connection, Use
from pytest_servebench.load.transports.http2.header_blocks import encode
from pytest_servebench.load.transports.http2.heads import Heads
from pytest_servebench.load.transports.http2.prepared import grpc_message, prepared
from pytest_servebench.load.transports.http2.requests import Ready
from pytest_servebench.load.transports.http2.verdicts import Judge, judge_grpc

ASKED = [(":method", "POST"), (":scheme", "http"), (":path", "/p.S/M"), (":authority", "h"),
         ("te", "trailers"), ("content-type", "application/grpc")]  # fmt: skip
REQUEST = prepared(ASKED, grpc_message(b"abc"))
MESSAGE = grpc_message(b"answer")
INITIAL = encode([(":status", "200"), ("content-type", "application/grpc")])
TRAILERS = encode([("grpc-status", "0")])
ALL = f.END_HEADERS
LAST = f.END_HEADERS | f.END_STREAM

frame = f.frame
Frame = tuple[int, int, int, bytes]


def headers(stream: int, *fields: tuple[str, str], flags: int = ALL) -> bytes:
    return frame(f.HEADERS, flags, stream, encode(fields))


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(f.SETTINGS, 0, 0, b"".join(f.SETTING.pack(*pair) for pair in pairs))


def number(kind: int, stream: int, value: int) -> bytes:
    """RST_STREAM or WINDOW_UPDATE."""
    return frame(kind, 0, stream, f.NUMBER.pack(value))


def goaway(last: int, code: int = 0, more: bytes = b"") -> bytes:
    return frame(f.GOAWAY, 0, 0, f.NUMBER.pack(last) + f.NUMBER.pack(code) + more)


def answer(stream: int, message: bytes = MESSAGE) -> bytes:
    return (
        frame(f.HEADERS, ALL, stream, INITIAL)
        + frame(f.DATA, 0, stream, message)
        + frame(f.HEADERS, LAST, stream, TRAILERS)
    )


def frames_of(data: bytes) -> list[Frame]:
    """Return the frames that a client wrote."""
    found = []
    data = data.removeprefix(f.PREFACE)
    while data:
        high, low, kind, flags, stream = f.FRAME_HEADER.unpack_from(data)
        end = f.HEADER_SIZE + (high << 8 | low)
        assert len(data) >= end
        found.append((kind, flags, stream, data[f.HEADER_SIZE : end]))
        data = data[end:]
    return found


TERMS = Terms()


class Link:
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False

    def get_extra_info(self, name: str) -> Any: ...
    def set_write_buffer_limits(self, high: int) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close


class Caller:
    """Keeps what its channel reports, which is one end for each call."""

    def __init__(self) -> None:
        self.ends: list[Completion | tuple[Loss, str]] = []
        self.gone: list[Completion | tuple[Loss, str]] = []  # lost without a call
        self.waits: list[str] = []
        self.then: Callable[[], None] = lambda: None
        self.idle = True

    def answered(self, completion: Completion) -> None:
        assert not self.idle, "an end of no call"
        self.idle = True
        self.ends.append(completion)
        self.then()

    def lost(self, loss: Loss, reason: str, began: int) -> None:
        (self.gone if self.idle else self.ends).append((loss, reason))
        self.idle = True
        self.then()

    def refused(self) -> bool:
        self.waits.append("refused")
        return self.waits.count("refused") == 1

    def held(self) -> None:
        self.waits.append("held")

    def released(self) -> None:
        self.waits.append("released")

    @property
    def end(self) -> Completion:
        (end,) = self.ends
        assert isinstance(end, Completion)
        return end

    @property
    def loss(self) -> tuple[Loss, str]:
        (end,) = self.ends or self.gone
        assert isinstance(end, tuple)
        return end

    @property
    def ok(self) -> bool:
        return self.end.outcome is Outcome.OK


class Talk:
    """A connection with some channels, and its server's side."""

    def __init__(
        self, channels: int = 1, terms: Terms = TERMS, judge: Judge = judge_grpc,
        first: bytes = settings(),
    ) -> None:  # fmt: skip
        self.link = Link()
        self.dropped: list[Connection] = []
        use = Use(
            terms, judge, Ready, Heads(), lambda _: False, channel_maker(terms), self.dropped.append
        )
        self._loop = asyncio.new_event_loop()
        self.connection = Connection(use, self._loop)
        self._loop.close()
        self.connection.connection_made(cast(asyncio.Transport, self.link))
        self.callers = [Caller() for _ in range(channels)]
        self.channels: list[Channel] = [self.connection.join(caller) for caller in self.callers]
        self.greeting = bytes(self.link.written)
        self.link.written.clear()
        self.feed(first)
        self.first = bytes(self.link.written)
        self.link.written.clear()

    def feed(self, *data: bytes) -> None:
        for piece in data:
            if not self.link.closed:
                self.connection.data_received(piece)

    def send(self, request: bytes = REQUEST, channel: int = 0) -> None:
        self.callers[channel].idle = False
        self.channels[channel].send(request, 0)

    def written(self) -> list[Frame]:
        """Return what was written since the last time."""
        data = bytes(self.link.written)
        self.link.written.clear()
        return frames_of(data)

    def lose(self) -> None:
        self.connection.connection_lost(None)
