"""Requests and answers as bytes.

Nothing here needs an event loop.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from pytest_servebench.load.transports.http2.header_blocks import Field, decode, encode

_LENGTH: Final = struct.Struct(">I")
_PREFIX: Final = struct.Struct(">BI")
MESSAGE_PREFIX: Final = _PREFIX.size
"""Bytes before a gRPC message: a flag, 1 for a compressed one, and the length."""


def prepared(fields: Iterable[tuple[bytes | str, bytes | str]], body: bytes = b"") -> bytes:
    """Return a request as :attr:`.LoadSpec.requests` takes it for ``"http/2"`` and ``"grpc"``.

    Args:
        fields: names and values, the pseudo-header fields (``":method"``, ``":scheme"``,
            ``":authority"``, ``":path"``) first; names are sent in lower case, text as Latin-1.
        body: of the request; for gRPC a message as :func:`grpc_message` returns it.
    """
    return joined(encode(fields), body)


def parts(request: bytes) -> tuple[bytes, bytes]:
    """Return header block and body of a request, or both header blocks of an answer's head."""
    (length,) = _LENGTH.unpack_from(request)
    end = _LENGTH.size + length
    return request[_LENGTH.size : end], request[end:]


def joined(block: bytes, rest: bytes) -> bytes:
    """Return the inverse of :func:`parts`."""
    return _LENGTH.pack(len(block)) + block + rest


def grpc_message(message: bytes, *, compressed: bool = False) -> bytes:
    """Return a gRPC message with the prefix that it has on the wire."""
    return _PREFIX.pack(compressed, len(message)) + message


message_prefix: Final[Callable[[bytes], tuple[int, int]]] = _PREFIX.unpack_from
"""Return a gRPC message's flag (1: compressed) and length; ``struct.error`` if cut short."""


@dataclass(frozen=True)
class Fields:
    """The header fields of an answer.

    Attributes:
        initial: those before the body, ``b":status"`` first; names in lower case.
        trailers: those after it. An answer of gRPC without a body (*trailers-only*) has all of its
            fields in ``initial``.
    """

    initial: tuple[Field, ...]
    trailers: tuple[Field, ...] = ()

    @classmethod
    def of_head(cls, head: bytes) -> Fields:
        """Read what :attr:`.Completion.head` holds, or :attr:`.LoadResult.heads`.

        Raises:
            ValueError: it is not the head of an answer.
        """
        if not head:
            return cls(())
        initial, trailers = parts(head)
        return cls(tuple(decode(initial)), tuple(decode(trailers)))

    def head(self) -> bytes:
        """Return the inverse of :meth:`of_head`."""
        return joined(encode(self.initial), encode(self.trailers))
