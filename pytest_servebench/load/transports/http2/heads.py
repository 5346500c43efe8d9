"""What the header blocks of an answer mean, looked up by their bytes."""

import re
from typing import Final

from pytest_servebench.load.transports.http2.header_blocks import Field, decode, list_size
from pytest_servebench.load.transports.http2.prepared import joined

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")  # RFC 9110, 5.6.2, in lower case
_VALUE: Final = re.compile(rb"(?![ \t])[^\0\r\n]*(?<![ \t])")  # RFC 9113, 8.2.1
_STATUS: Final = re.compile(rb"[1-9][0-9]{2}")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
# RFC 9113, 8.2.2
_OF_CONNECTIONS: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
_MOST_KEPT: Final = 1000  # blocks; some fields, such as the date, change all the time
_LONGEST_KEPT: Final = 2**10  # bytes


class Head:
    """The meaning of one header block.

    Attributes:
        block: its bytes.
        status: of HTTP; 0 in trailers.
        length: of the body, as ``content-length`` says; -1 if it does not.
        fault: what is malformed, if anything is.
        size: of the header list, bytes (RFC 9113, 6.5.2).
        opens: whether it may open a final answer.
        closes: whether it may be the trailers that close one.
        grpc_ok: whether it has ``grpc-status`` 0.
    """

    __slots__ = ("_fields", "block", "closes", "fault", "grpc_ok", "length", "opens", "size",
                 "status")  # fmt: skip

    def __init__(self, block: bytes) -> None:
        """Decode the block; ``ValueError``: it cannot be."""
        self.block = block
        fields = decode(block)
        self._fields: dict[bytes, bytes] = {}
        for name, value in fields:
            self._fields.setdefault(name, value)
        self.size = list_size(fields)
        self.status, self.length = 0, -1
        self.fault = self._read(fields)
        self.opens = not self.fault and self.status >= 200
        self.closes = not self.fault and not self.status
        self.grpc_ok = self._fields.get(b"grpc-status") == b"0"

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of a field, if there is one."""
        return self._fields.get(name)

    def _read(self, fields: list[Field]) -> str:
        """Take status and length; return what is malformed (RFC 9113, 8.1.1 to 8.3)."""
        lengths, statuses, ordinary = set(), [], False
        for name, value in fields:
            if name.startswith(b":"):
                if name != b":status" or ordinary:
                    return f"a pseudo-header field out of place: {_shown(name)}"
                statuses.append(value)
                continue
            ordinary = True
            if not _NAME.fullmatch(name) or name in _OF_CONNECTIONS:
                return f"a header field that HTTP/2 does not allow: {_shown(name)}"
            if not _VALUE.fullmatch(value):
                return f"a value of {_shown(name)} that HTTP/2 does not allow"
            if name == b"content-length":
                lengths.add(value)
        if statuses:
            if len(statuses) > 1 or not _STATUS.fullmatch(statuses[0]):
                return f"a status of {_shown(b', '.join(statuses))}"
            self.status = int(statuses[0])
        if lengths:
            if len(lengths) > 1 or not _LENGTH.fullmatch(value := lengths.pop()):
                return "a content-length that is not a number"
            self.length = int(value)
        return ""


class Heads:
    """Reads header blocks; each that comes again is decoded once only."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self.known = self._known.get

    def read(self, block: bytes) -> Head:
        """Return the meaning of a block that is not :attr:`known`; ``ValueError``: it has none."""
        head = Head(block)
        if len(block) <= _LONGEST_KEPT:
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            self._known[block] = head
        return head


def both(head: Head, trailers: Head | None) -> bytes:
    """Return the blocks of an answer as :class:`.prepared.Fields` reads them."""
    return joined(head.block, b"" if trailers is None else trailers.block)


def _shown(text: bytes) -> str:
    return repr(text[:40].decode("latin-1"))
