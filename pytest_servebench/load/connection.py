"""One HTTP/1.1 connection: it carries one request at a time, and reads its answer."""

from __future__ import annotations

import asyncio
import enum
import re
import socket
import time
from dataclasses import dataclass
from typing import Final, Protocol, cast

import httptools

from pytest_servebench.load.tcp_info import unread_ns

_clock = time.monotonic_ns
_CODING: Final = re.compile(
    rb"^transfer-encoding[ \t]*:(.*(?:\n[ \t].*)*)", re.MULTILINE
)  # with lines that continue it
_LENGTH: Final = re.compile(rb"^content-length[ \t]*:", re.MULTILINE)


@dataclass(frozen=True)
class Terms:
    """What holds for every connection of a run.

    Attributes:
        keep_alive: whether it is kept after an answer, if the server keeps it.
        max_headers: bytes of an answer's status line and headers, beyond which it is given up.
        max_body: bytes of an answer's body, beyond which it is given up.
    """

    keep_alive: bool = True
    max_headers: int = 64 * 2**10
    max_body: int = 16 * 2**20


class Loss(enum.Enum):
    """How a connection ended."""

    QUIET = enum.auto()
    """Before the first byte of an answer, or between two requests."""
    BROKEN = enum.auto()
    """In the middle of an answer, or by something that is not HTTP."""


class Owner(Protocol):
    """Who sends requests over a connection."""

    def answered(
        self, status: int, beginning: bytes, body: bytes, keep: bool, began: int, ended: int
    ) -> None:
        """Take a whole answer; unless ``keep``, the connection ended with it.

        ``beginning`` has its head, and may have more; see :func:`head_of`. ``began`` and ``ended``
        are when its first and its last bytes came, in ns of the monotonic clock.
        """

    def woken(self, now: int) -> bool:
        """Tell whether this process may have slept, or been kept from running, until ``now``."""

    def lay_unread(self, nanoseconds: int) -> None:
        """Take it that the answer that is given next had lain unread for so long."""

    def lost(self, loss: Loss, reason: str, began: int) -> None:
        """Take it that the connection is gone without an answer; it reports nothing more.

        ``began`` is when the first byte of one came, or 0.
        """


class Connection(asyncio.Protocol):
    """Sends requests and reads answers until the connection is lost or closed."""

    __slots__ = (
        "_awaiting", "_began", "_body", "_complete", "_data", "_headers_done", "_keep", "_lenient",
        "_owner", "_parser", "_size", "_surplus", "_terms", "_transport", "_unread",
    )  # fmt: skip

    def __init__(self, owner: Owner, terms: Terms) -> None:
        """Belong to ``owner``."""
        self._owner: Owner | None = owner
        self._terms = terms
        self._transport: asyncio.Transport | None = None
        self._awaiting = False
        self._begin_answer()

    def _begin_answer(self) -> None:
        self._began = 0
        self._headers_done = False
        self._complete = False
        self._keep = False
        self._surplus = False
        self._unread = b""
        self._data = b""  # what has come, until the head is whole
        self._body: list[bytes] = []
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._parser = httptools.HttpResponseParser(self)
        self._lenient = False
        self._transport = cast(asyncio.Transport, transport)
        link = transport.get_extra_info("socket")
        if link is not None and link.family in (socket.AF_INET, socket.AF_INET6):
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Without TLS, nothing is held back for the end of the loop's turn: a request goes out when
        # it is sent.
        self._transport.set_write_buffer_limits(high=0)

    @property
    def closed(self) -> bool:
        """Tell whether nothing can be sent any more."""
        return self._owner is None

    def send(self, request: bytes) -> None:
        """Write a request; the answer goes to the owner."""
        assert self._transport is not None
        self._awaiting = True
        self._transport.write(request)

    def close(self) -> None:
        """Close at once; what still comes over the connection belongs to nobody."""
        self._owner = None
        if self._transport is not None:
            self._transport.abort()

    def _lose(self, loss: Loss, reason: str) -> None:
        owner = self._owner
        self.close()
        if owner is not None:
            owner.lost(loss, reason, self._began)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner; an answer of HTTP/1.0 may end like this too."""
        if self._owner is not None:
            self._end(exc)
        # The parser and the transport refer to this object: while the collector is off, the ring
        # would live to the end of the run.
        del self._parser
        self._transport = None

    def _end(self, exc: Exception | None) -> None:
        assert self._owner is not None
        if self._headers_done and exc is None and self._ends_with_connection():
            owner, self._owner = self._owner, None
            status = self._parser.get_status_code()
            body = b"".join(self._body)
            owner.answered(status, self._data, body, False, self._began, _clock())
        elif self._began:
            self._lose(Loss.BROKEN, f"{_how(exc)} in the middle of an answer")
        else:
            self._lose(Loss.QUIET, f"{_how(exc)} before an answer")

    def data_received(self, data: bytes) -> None:
        """Read a part of an answer."""
        if self._owner is None:
            return
        if not self._awaiting:
            # Out of step: what came might be taken for the answer to the next request.
            self._lose(Loss.QUIET, "an answer that nobody had asked for")
            return
        now = _clock()  # before the parser: what it takes is not the server's
        woken = self._owner.woken(now)
        if not self._began:
            self._began = now
        if not self._headers_done:
            self._data += data
        try:
            self._read(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                self._lose(Loss.BROKEN, _what(error))
                return
            self._surplus = True  # rubbish behind a good answer
        if self._complete:
            self._take_answer(now, woken)
        elif not self._headers_done and len(self._data) > self._terms.max_headers:
            self._lose(Loss.BROKEN, _too_long("headers", self._terms.max_headers))

    def _read(self, data: bytes) -> None:
        if self._lenient and not self._headers_done:
            self._read_head(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._headers_done or self._lenient or not _is_http(self._data):
                raise
        else:
            return
        # Not by the book. Once more as clients read it, who take servers as they are: at first,
        # this would cost every answer a look for what _refuse_ambiguity refuses.
        self._lenient = True
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,  # continued lines
            lenient_optional_cr_before_lf=True,
            lenient_chunked_length=True,
        )
        self._read_head(self._data)

    def _read_head(self, data: bytes) -> None:
        """Read an answer that may repeat its length: only once its head is whole."""
        self._unread += data
        if (parts := _with_one_length(self._unread)) is None:
            return
        head, rest = parts
        self._unread = b""
        self._parser.feed_data(head)
        # Not in one with the head: after that of a 100 Continue, the rest is a head again.
        if rest:
            self._read(rest)

    def _take_answer(self, now: int, woken: bool) -> None:
        owner, transport = self._owner, self._transport
        assert owner is not None
        assert transport is not None
        # Only then is the kernel asked, which takes some µs.
        if woken and (unread := unread_ns(transport.get_extra_info("socket"))):
            owner.lay_unread(unread)
        status = self._parser.get_status_code()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        # Behind an early answer the rest of the request is still on its way out.
        keep = self._keep and not self._surplus and not transport.get_write_buffer_size()
        began, beginning = self._began, self._data
        self._awaiting = False
        self._begin_answer()
        if not keep:
            self.close()
        owner.answered(status, beginning, body, keep, began, now)

    def _ends_with_connection(self) -> bool:
        """Tell whether the answer is one whose end is the end of the connection (HTTP/1.0)."""
        head = head_of(self._data).lower()
        return not _LENGTH.search(head) and b"chunked" not in head

    # -- what the parser calls ----------------------------------------------------------------

    def on_headers_complete(self) -> None:
        """Note that the head is whole."""
        self._headers_done = True
        most = self._terms.max_headers
        if len(self._data) > most and len(head_of(self._data)) > most:
            raise ValueError(_too_long("headers", most))
        if self._lenient:
            self._refuse_ambiguity()

    def _refuse_ambiguity(self) -> None:
        """Raise ``ValueError`` for an answer of which another reader might see another end."""
        head = head_of(self._data).lower()
        if b"\0" in head:
            raise ValueError("an answer with a null byte in its headers")
        codings = _CODING.findall(head)
        if any(b"\n" in coding.strip() for coding in codings):
            raise ValueError("an answer whose Transfer-Encoding is more than one line")
        if not codings or not _LENGTH.search(head):
            return
        if [coding.strip() for coding in codings] != [b"chunked"]:
            raise ValueError(
                "an answer with a Content-Length and a Transfer-Encoding that is not chunked"
            )
        # Chunked counts (RFC 9112, 6.3); but it is the last answer of a server that says both.
        self._surplus = True

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        if self._complete:
            return
        self._size += len(body)
        if self._size > self._terms.max_body:
            raise ValueError(_too_long("body", self._terms.max_body))
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Note that the answer is whole.

        The next request is sent only when all the data at hand is read, so that a second answer to
        this one cannot be taken for the answer to that.
        """
        if self._complete:
            self._surplus = True  # a second answer to one request
        elif self._parser.get_status_code() < 200:
            # 100 Continue and the like: the answer proper follows.
            began, data = self._began, _divided(self._data)[2]
            self._begin_answer()
            self._began, self._data = began, data
        else:
            self._complete = True
            # Asked here: the parser forgets the answer's head when this returns.
            self._keep = self._terms.keep_alive and self._parser.should_keep_alive()


def head_of(beginning: bytes) -> bytes:
    """Return status line and headers out of the beginning of an answer."""
    return _divided(beginning)[0]


def _is_http(beginning: bytes) -> bool:
    """Tell whether an answer may be one of HTTP/1, whatever is wrong with it."""
    return b"HTTP/".startswith(beginning.lstrip(b"\r\n")[:5])


def _with_one_length(beginning: bytes) -> tuple[bytes, bytes] | None:
    """Return an answer's head without repeats of the same length (RFC 9110, 8.6), and the rest.

    ``None`` where the head is not whole.
    """
    head, gap, rest = _divided(beginning)
    if not gap:
        return None
    lines: dict[bytes, bytes] = {}
    for number, line in enumerate(head.split(b"\n")):
        name, _, value = line.partition(b":")
        length = name.strip().lower() == b"content-length"
        lines.setdefault(value.strip() if length else b"\n%d" % number, line)
    before = beginning[: len(beginning) - len(beginning.lstrip(b"\r\n"))]
    return before + b"\n".join(lines.values()) + gap, rest


def _divided(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return head, empty line and the rest of an answer; line ends may lack their CR."""
    data = data.lstrip(b"\r\n")
    end = data.find(b"\n\r\n")
    bare = data.find(b"\n\n", 0, end if end >= 0 else len(data))
    return data.partition(b"\n\n" if bare >= 0 else b"\n\r\n")


def _too_long(part: str, most: int) -> str:
    option = {"body": "--servebench-max-body", "headers": "--servebench-max-headers"}[part]
    return f"an answer with more than {most} bytes of {part} ({option})"


def _how(error: Exception | None) -> str:
    return "the server closed the connection" if error is None else f"the connection broke: {error}"


def _what(error: Exception) -> str:
    if isinstance(error, httptools.HttpParserUpgrade):
        return "an answer that changes the protocol"
    if isinstance(error.__context__, ValueError):
        return str(error.__context__)
    return f"an answer that is not HTTP: {error}"
