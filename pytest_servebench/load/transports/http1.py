"""HTTP/1.1: a connection carries one request at a time, and reads its answer."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable
from typing import Any, Final, cast

import httptools

from pytest_servebench.load.dialer import Dialer
from pytest_servebench.load.store import Outcome
from pytest_servebench.load.target import Target
from pytest_servebench.load.tcp_info import LEAST_UNREAD, unread_ns
from pytest_servebench.load.transports.base import Caller, Completion, Loss, Parts, Terms
from pytest_servebench.load.transports.dozing import Dozing
from pytest_servebench.load.transports.http1_heads import (
    divided,
    head_of,
    is_http,
    with_one_length,
)
from pytest_servebench.load.transports.refusals import SPEAKS_HTTP2, is_http2, refusal, too_long

_clock = time.monotonic_ns
_OK: Final = Outcome.OK  # looking up an enum member is slow
_CODING: Final = re.compile(
    rb"^transfer-encoding[ \t]*:(.*(?:\n[ \t].*)*)", re.MULTILINE
)  # with its continuation lines
_LENGTH: Final = re.compile(rb"^content-length[ \t]*:", re.MULTILINE)
_LOCATION: Final = re.compile(rb"^location[ \t]*:(.*)", re.IGNORECASE | re.MULTILINE)
_RACE: Final = 100_000_000  # ns after sending in which a close may have crossed the request


class Http1:
    """Each channel is its own connection."""

    shared = False

    def __init__(
        self,
        target: Target,
        terms: Terms,
        loop: asyncio.AbstractEventLoop,
        woken: Callable[[int], int],
    ) -> None:
        """Open connections to ``target``; ``OptionError`` for unusable certificates."""
        self._dialer = Dialer(target, loop)
        self._terms = terms
        self._woken = woken
        self._dozing = Dozing()
        self.opened = 0

    async def prepare(self) -> None:
        """Look up the server's name."""
        await self._dialer.look_up()

    async def open(self, caller: Caller) -> Connection:
        """Return a new connection."""
        connection = await self._dialer.open(lambda: self._connection(caller))
        self.opened += 1
        if connection.closed:
            reason = connection.reason or "the server closed the connection at once"
            raise ConnectionResetError(reason)
        return connection

    def _connection(self, caller: Caller) -> Connection:
        if self._terms.most_parts:
            return StreamedConnection(caller, self._terms, self._woken, self._dozing)
        return Connection(caller, self._terms, self._woken)

    def head(self, head: bytes | None) -> bytes:
        """Return status line and headers."""
        return head_of(head or b"")


class Connection(asyncio.Protocol):
    """Sends requests and reads answers until the connection is lost or closed."""

    __slots__ = (
        "_awaiting", "_began", "_body", "_caller", "_complete", "_data", "_headers_done",
        "_interim", "_keep", "_lenient", "_now", "_parser", "_sent", "_size", "_status", "_surplus",
        "_terms", "_transport", "_unread", "_used", "_woken", "_woken_after", "reason",
    )  # fmt: skip

    def __init__(self, caller: Caller, terms: Terms, woken: Callable[[int], int]) -> None:
        self._caller: Caller | None = caller
        self._terms = terms
        self._woken = woken
        self._sent = self._status = self._now = self._woken_after = 0
        self._used = False  # whether a request was answered over it
        self.reason = ""  # why it was lost
        self._transport: asyncio.Transport | None = None
        self._awaiting = False
        self._begin_answer()

    def _begin_answer(self) -> None:
        self._began = 0  # when the first byte of the final answer came
        self._interim = False  # whether a 100 Continue or the like came before it
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
        # Without TLS, a request goes out when it is sent, not at the end of the loop iteration.
        self._transport.set_write_buffer_limits(high=0)

    @property
    def closed(self) -> bool:
        """Return whether the connection is closed for sending."""
        return self._caller is None

    def send(self, request: bytes, now: int) -> None:
        """Write a request; the answer goes to the caller."""
        assert self._transport is not None
        self._awaiting = True
        self._sent = now
        self._transport.write(request)

    def close(self) -> None:
        """Close at once, and ignore what still arrives."""
        self._caller = None
        if self._transport is not None:
            self._transport.abort()

    def _lose(self, loss: Loss, reason: str) -> None:
        caller = self._caller
        self.reason = reason
        self.close()
        if caller is not None:
            caller.lost(loss, reason, self._began)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the caller; an HTTP/1.0 answer may end like this too."""
        if self._caller is not None:
            self._end(exc)
        # The parser and the transport refer to this object: with garbage collection off, the
        # cycle would live to the end of the run.
        del self._parser
        self._transport = None

    def _end(self, exc: Exception | None) -> None:
        assert self._caller is not None
        if self._headers_done and exc is None and self._ends_with_connection():
            self._take_answer(_clock(), False)
        elif self._began or self._interim:
            self._lose(Loss.BROKEN, f"{_how(exc)} in the middle of an answer")
        else:
            # A server may close a kept connection at any time, while a request is on its way
            # (RFC 9112, 9.3.1): it has not seen the request.
            crossed = self._used and self._awaiting and _clock() - self._sent < _RACE
            loss = Loss.UNSEEN if crossed else Loss.QUIET
            self._lose(loss, f"{_how(exc)} before an answer")

    def data_received(self, data: bytes) -> None:
        """Read a part of an answer."""
        if self._caller is None:
            return
        if not self._awaiting:
            # Out of sync: this could be taken for the answer to the next request.
            http2 = is_http2(data)
            self._lose(Loss.QUIET, SPEAKS_HTTP2 if http2 else "an answer to no request")
            return
        now = self._now = _clock()  # before parsing: its time is not the server's
        ask = self._woken
        woken = self._woken_after = ask(now)
        if not self._began:
            self._began = now
        try:
            if self._headers_done:
                self._parser.feed_data(data)
            else:
                self._data += data
                self._read(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                self._lose(Loss.BROKEN, SPEAKS_HTTP2 if is_http2(self._data) else _what(error))
                return
            self._surplus = True  # garbage after a good answer
        if not self._began and (self._complete or self._data):
            self._began = now  # in one piece with an interim answer
        if self._complete:
            self._take_answer(now, woken)
        elif not self._headers_done and len(self._data) > self._terms.max_headers:
            self._lose(Loss.BROKEN, too_long("headers", self._terms.max_headers))

    def _read(self, data: bytes) -> None:
        if self._lenient and not self._headers_done:
            self._read_head(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._headers_done or self._lenient or not is_http(self._data):
                raise
        else:
            return
        # Not strictly valid: read it again as leniently as common clients do. Doing so from the
        # start would cost every answer the checks of _refuse_ambiguity.
        self._lenient = True
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,  # continued lines
            lenient_optional_cr_before_lf=True,
            lenient_chunked_length=True,
        )
        self._read_head(self._data)

    def _read_head(self, data: bytes) -> None:
        """Read an answer that may repeat its Content-Length, once its head is complete."""
        self._unread += data
        if (parts := with_one_length(self._unread)) is None:
            return
        head, rest = parts
        self._unread = b""
        self._parser.feed_data(head)
        # Separately from the head: after a 100 Continue, the rest is another head.
        if rest:
            self._read(rest)

    def _take_answer(self, now: int, woken: int) -> None:
        caller, transport = self._caller, self._transport
        assert caller is not None
        assert transport is not None
        # After an early answer, the rest of the request is still being sent.
        keep = self._keep and not self._surplus and not transport.get_write_buffer_size()
        status, head = self._status, self._data
        completion = Completion(_OK, self._began, now, status, head, b"", keep)
        self._put_body(completion)
        if not 200 <= status < 300:
            completion.outcome = Outcome.ERROR_STATUS
            aim = _LOCATION.search(head_of(head))
            completion.reason = refusal(status, aim and aim[1])
        # Asking the kernel takes some µs.
        if woken and now - self._sent > LEAST_UNREAD:
            completion.unread = unread_ns(transport.get_extra_info("socket"))
        self._awaiting = False
        self._used = True
        self._begin_answer()
        if not keep:
            self.close()
        caller.answered(completion)

    def _put_body(self, answer: Completion) -> None:
        body = self._body
        answer.body = body[0] if len(body) == 1 else b"".join(body)

    def _ends_with_connection(self) -> bool:
        """Return whether the answer ends with the connection (HTTP/1.0)."""
        head = head_of(self._data).lower()
        return not _LENGTH.search(head) and b"chunked" not in head

    # -- what the parser calls ----------------------------------------------------------------

    def on_headers_complete(self) -> None:
        """Note that the head is complete."""
        self._headers_done = True
        self._status = self._parser.get_status_code()
        most = self._terms.max_headers
        if len(self._data) > most and len(head_of(self._data)) > most:
            raise ValueError(too_long("headers", most))
        if self._lenient:
            self._refuse_ambiguity()

    def _refuse_ambiguity(self) -> None:
        """Raise ``ValueError`` for an answer that another reader might end elsewhere."""
        head = head_of(self._data).lower()
        if b"\0" in head:
            raise ValueError("an answer with a NUL byte in its headers")
        codings = _CODING.findall(head)
        if any(b"\n" in coding.strip() for coding in codings):
            raise ValueError("an answer whose Transfer-Encoding spans several lines")
        if not codings or not _LENGTH.search(head):
            return
        if [coding.strip() for coding in codings] != [b"chunked"]:
            raise ValueError(
                "an answer with a Content-Length and a Transfer-Encoding that is not chunked"
            )
        # Chunked wins (RFC 9112, 6.3); but the connection is closed after such an answer.
        self._surplus = True

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        if self._complete:
            return
        size = self._size + len(body)
        if size > self._terms.max_body:
            raise ValueError(too_long("body", self._terms.max_body))
        self._size = size
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Note that the answer is complete.

        The next request is sent only when all received data is parsed: a second answer to this
        request cannot be taken for the answer to the next.
        """
        if self._complete:
            self._surplus = True  # a second answer to one request
        elif self._status < 200:
            # 100 Continue and the like: the final answer follows.
            data = divided(self._data)[2]
            self._begin_answer()
            self._interim, self._data = True, data
        else:
            self._complete = True
            # Asked here: the parser forgets the answer's head when this returns.
            self._keep = self._terms.keep_alive and self._parser.should_keep_alive()


class StreamedConnection(Connection):
    """Keeps when each part of an answer's body was read."""

    __slots__ = ("_dozing", "_late", "_told")

    def __init__(
        self, caller: Caller, terms: Terms, woken: Callable[[int], int], dozing: Dozing
    ) -> None:
        self._dozing = dozing
        super().__init__(caller, terms, woken)

    def _begin_answer(self) -> None:
        super()._begin_answer()
        self._told: list[Any] = []  # instead of _body: see Parts
        self._late = 0

    def _put_body(self, answer: Completion) -> None:
        answer.parts = Parts(self._terms.most_parts, self._told, self._size, self._late)

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body, and when it came."""
        # Of Connection's own: a call for each part would cost more than the rest of this.
        if self._complete:
            return
        size = self._size + len(body)
        if size > self._terms.max_body:
            raise ValueError(too_long("body", self._terms.max_body))
        self._size = size
        told = self._told
        told.append(body)
        told.append(self._now)
        if self._woken_after:
            assert self._transport is not None
            link = self._transport.get_extra_info("socket")
            self._late = max(self._late, self._dozing.late(self._woken_after, link))

    def received(self) -> Completion:
        """See :class:`.base.PartsChannel`."""
        begun = Completion(Outcome.UNFINISHED, self._began, 0)
        self._put_body(begun)
        if self._headers_done:
            begun.status, begun.head = self._status, self._data
        return begun


def _how(error: Exception | None) -> str:
    return "the server closed the connection" if error is None else f"the connection broke: {error}"


def _what(error: Exception) -> str:
    if isinstance(error, httptools.HttpParserUpgrade):
        return "an answer that upgrades the protocol"
    if isinstance(error.__context__, ValueError):
        return str(error.__context__)
    return f"an answer that is not HTTP: {error}"
