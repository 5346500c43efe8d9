"""Requests as they are written: all that does not change from one call to the next."""

import math
from collections.abc import Sequence
from typing import Final

from pytest_servebench.load.transports.http2.frames import (
    CONTINUATION,
    DATA,
    DEFAULT_FRAME,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    NUMBER,
    frame,
    opening,
)
from pytest_servebench.load.transports.http2.header_blocks import decode, encode, list_size
from pytest_servebench.load.transports.http2.prepared import parts

_NO_TABLE: Final = b"\x20"
"""A dynamic table of size 0 (RFC 7541, 6.3), at the start of a connection's first block.

A server that lowers the largest size would otherwise wait to be told of a smaller table.
"""
_MOST_DIGITS: Final = 8  # of a timeout's number
_UNITS: Final = (("u", 1e-6), ("m", 1e-3), ("S", 1.0), ("M", 60.0), ("H", 3600.0))


class Ready:
    """A request in frames.

    Attributes:
        opening: of the HEADERS frame, up to its stream; empty unless ``whole``.
        middle: the header block, and the start of the DATA frame, up to its stream; likewise.
        body: of the request.
        size: of the body, bytes.
        whole: whether header block and body fit into one frame each, of any server's size.
        listed: bytes of the header list.
        for_head: whether the method is HEAD, whose answer has no body.
    """

    __slots__ = ("_block", "body", "for_head", "listed", "middle", "opening", "size", "whole")

    def __init__(self, request: bytes, further: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Take a request as :func:`.prepared` returned it, and fields to append."""
        block, _ = parts(request)
        start = NUMBER.size + len(block)
        self.size = len(request) - start
        self.body = memoryview(request)[start:]
        fields = decode(block)
        self.for_head = (b":method", b"HEAD") in fields
        self.listed = list_size([*fields, *further])
        self._block = block = block + encode(further)
        self.whole = max(len(block), self.size) <= DEFAULT_FRAME
        flags = END_HEADERS if self.size else END_HEADERS | END_STREAM
        self.opening = self.middle = b""
        if self.whole:
            self.opening = opening(HEADERS, flags, len(block))
            self.middle = block + opening(DATA, END_STREAM, self.size) if self.size else block

    def headers(self, stream: int, *, first: bool) -> bytes:
        """Return the frames of the header block; ``first``: the first on its connection."""
        block = _NO_TABLE + self._block if first else self._block
        kind, flags = HEADERS, 0 if self.size else END_STREAM
        frames = b""
        while len(block) > DEFAULT_FRAME:
            frames += frame(kind, flags, stream, block[:DEFAULT_FRAME])
            kind, flags, block = CONTINUATION, 0, block[DEFAULT_FRAME:]
        return frames + frame(kind, flags | END_HEADERS, stream, block)


def grpc_timeout(seconds: float) -> bytes:
    """Return the value of ``grpc-timeout``: rounded up, at most eight digits and a unit.

    See https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
    """
    for letter, unit in _UNITS:
        number = math.ceil(round(seconds / unit, 6))
        if len(str(number)) <= _MOST_DIGITS:
            return f"{number}{letter}".encode()
    return b"9" * _MOST_DIGITS + b"H"
