"""A connection: its channels and their calls, from the first byte to the end."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from pytest_servebench.load.store import Outcome
from pytest_servebench.load.target import NO_HTTP2
from pytest_servebench.load.tcp_info import LEAST_UNREAD, unread_ns
from pytest_servebench.load.transports.base import (
    Caller,
    Completion,
    Loss,
    Terms,
    WrongProtocolError,
)
from pytest_servebench.load.transports.http2.channel import (
    CLOSED,
    IDLE,
    Channel,
    ChannelMaker,
    StreamedChannel,
    loss_of,
)
from pytest_servebench.load.transports.http2.control import ALPN, greeting, not_http2
from pytest_servebench.load.transports.http2.frames import (
    GOAWAY,
    LARGEST_NUMBER,
    NUMBER,
    ConnectionFault,
    ErrorCode,
    error_name,
    frame,
    reset,
)
from pytest_servebench.load.transports.http2.heads import Head, Heads
from pytest_servebench.load.transports.http2.receiver import Receiver
from pytest_servebench.load.transports.http2.requests import Ready
from pytest_servebench.load.transports.http2.sender import Sender
from pytest_servebench.load.transports.http2.verdicts import Judge

_clock = time.monotonic_ns
_OK: Final = Outcome.OK  # looking up an enum member is slow
_BAD: Final = Outcome.BAD_RESPONSE
_MOST_RESET: Final = 10_000  # streams that we ended, and whose frames may still come
_REFUSED: Final = "the server refused the stream"
_IF_TLS: Final = " before it said anything (the URL of a server with TLS: grpcs:// or https://)"
_IF_ASKED: Final = (
    " before it said anything (if it wants a certificate of its clients: --servebench-tls-cert)"
)
_NO_BODY: Final = (204, 304)


@dataclass(frozen=True, slots=True)
class Use:
    """What all connections of a run share.

    Attributes:
        terms: settings.
        judge: tells successes from failures.
        ready: returns a request in frames.
        heads: reads header blocks.
        woken: see :data:`.TransportFactory`.
        channel: makes the channel of a caller.
        dropped: called when a connection takes no more channels.
        framing: bytes around the content of an answer, which do not count as its body.
    """

    terms: Terms
    judge: Judge
    ready: Callable[[bytes], Ready]
    heads: Heads
    woken: Callable[[int], int]
    channel: ChannelMaker
    dropped: Callable[[Connection], None] = lambda _: None
    framing: int = 0


class Connection(asyncio.Protocol):
    """Carries the calls of its channels.

    Attributes:
        channels: that use it.
        leaving: whether it takes no more requests.
        ready: returns a request in frames.
        last: the last stream that the server takes.
        settled: done once the server's first settings came, or the connection failed.
        failure: why it has ended; empty while it has not.
        foreign: whether that is because the server does not speak HTTP/2.
    """

    __slots__ = (
        "_encrypted", "_farewell", "_heard", "_keeps", "_receiver", "_reset", "_sender",
        "_transport", "_use", "channels", "failure", "foreign", "last", "leaving", "ready",
        "settled",
    )  # fmt: skip

    def __init__(self, use: Use, loop: asyncio.AbstractEventLoop) -> None:
        self._use = use
        self.ready = use.ready
        self._transport: asyncio.Transport | None = None
        self._reset: dict[int, None] | None = {}  # None: too many to know them all
        self._keeps = use.terms.keep_alive
        self._farewell = ""  # what is unusual about the server's GOAWAY
        self._heard = 0  # when the server last sent anything
        self.channels: set[Channel] = set()
        self.leaving = False
        self.last = LARGEST_NUMBER
        self.settled: asyncio.Future[None] = loop.create_future()
        self.failure = ""
        self.foreign = False

    # -- the transport below ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: HTTP/2 must have been chosen by ALPN, if there is TLS."""
        self._transport = cast(asyncio.Transport, transport)
        # Not before: they refer to this object, and only the connection's end takes them from it.
        self._sender = Sender(self._transport.write)
        self._receiver = Receiver(
            self, self._sender, self._use.heads, self._use.terms, self._use.framing
        )
        link = transport.get_extra_info("socket")
        if link is not None and link.family in (socket.AF_INET, socket.AF_INET6):
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Without TLS, a request goes out when it is sent, not at the end of the loop iteration.
        self._transport.set_write_buffer_limits(high=0)
        tls = transport.get_extra_info("ssl_object")
        self._encrypted = tls is not None
        if tls is not None and tls.selected_alpn_protocol() != ALPN:
            self._lose(NO_HTTP2, foreign=True)
        else:
            self.write(greeting(self._use.terms.max_headers))

    @property
    def link(self) -> Any:
        """Return its socket, as the event loop gives it, if it has one."""
        return None if self._transport is None else self._transport.get_extra_info("socket")

    def write(self, data: bytes) -> None:
        """Write frames."""
        if self._transport is not None:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Take up frames."""
        now = _clock()  # before reading: its time is not the server's
        ask = self._use.woken
        woken = ask(now)
        self._heard = now
        if self.failure:
            return
        try:
            self._receiver.receive(data, now, woken)
        except ConnectionFault as fault:
            self._end(fault.code, str(fault))
            return
        sender = self._sender
        if sender.unsent and not self.failure:
            sender.send_bodies()
        if sender.held and not self.leaving:
            self._release()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every channel."""
        if not self.failure:
            said = self._receiver.unread
            if said.startswith(b"HTTP/") and not self._receiver.greeted:
                self._lose(not_http2(said), foreign=True)
            else:
                broke = f"the connection broke: {exc}"
                closed = "the server closed the connection" if exc is None else broke
                if not self._receiver.greeted:
                    closed += _IF_ASKED if self._encrypted else _IF_TLS
                self._lose(closed)
        # With garbage collection off, cycles would live to the end of the run.
        self._transport = None
        del self._sender, self._receiver

    def check(self) -> None:
        """Check that the connection takes requests.

        Raises:
            ConnectionResetError: it does not; ``WrongProtocolError`` if the server does not speak
                HTTP/2.
        """
        if self.leaving:
            raise (WrongProtocolError if self.foreign else ConnectionResetError)(self.failure)

    def close(self) -> None:
        """Close at once; nothing more is reported."""
        for channel in self.channels:
            channel.connection = None
        self.channels.clear()
        self._close("closed")

    def _close(self, failure: str, *, farewell: bool = False) -> None:
        self._retire()
        self.failure = failure
        if not self.settled.done():
            self.settled.set_result(None)
        if self._transport is not None:
            # A farewell may go out, unless the server does not read. Otherwise nothing is waited
            # for: within TLS, closing would be, for the server's consent.
            if farewell and not self._transport.get_write_buffer_size():
                self._transport.close()
            else:
                self._transport.abort()

    def _end(self, code: ErrorCode, reason: str) -> None:
        """End the connection because of a violation."""
        if self._receiver.greeted:
            self.write(frame(GOAWAY, 0, 0, NUMBER.pack(0) + NUMBER.pack(code)))
            reason = f"an answer that is not valid HTTP/2: {reason}"
        self._lose(reason, broken=True, foreign=not self._receiver.greeted)

    def _lose(self, reason: str, *, broken: bool = False, foreign: bool = False) -> None:
        """End the connection, and every channel with it.

        Args:
            reason: for it.
            broken: whether it is a violation.
            foreign: whether the server does not speak HTTP/2.
        """
        self.foreign = foreign
        reason += self._farewell
        self._close(reason, farewell=broken)
        channels, self.channels = list(self.channels), set()
        losses = [
            (loss, reason + where + (self._excess(channel) if channel.stream > 0 else ""))
            for channel in channels
            for loss, where in [loss_of(channel, broken=broken)]
        ]
        for channel in channels:
            channel.connection, channel.stream = None, IDLE
        for channel, (loss, why) in zip(channels, losses, strict=True):
            if channel.stream != CLOSED:  # by what the end of another has led to
                channel.caller.lost(loss, why, channel.began)

    # -- channels -----------------------------------------------------------------------------

    def join(self, caller: Caller) -> Channel:
        """Return a new channel."""
        channel = self._use.channel(caller, self)
        self.channels.add(channel)
        return channel

    def send(self, channel: Channel) -> None:
        """Send the request of one of the channels."""
        channel.begin_answer()
        sender = self._sender
        if sender.held or len(sender.streams) >= sender.limit:
            sender.hold(channel)
            return
        sender.start(channel)
        if sender.next > LARGEST_NUMBER:
            self._depart()

    def leave(self, channel: Channel) -> None:
        """Release a channel, and cancel its call."""
        self.channels.discard(channel)
        given_up = channel.stream > 0
        if given_up:
            self._abandon(channel, ErrorCode.CANCEL)
        channel.stream = IDLE
        if not self.channels:
            self._close("closed")
        elif given_up and self._heard < channel.since and not self.leaving:
            self._depart()  # perhaps the connection is broken: the next calls use another one
        elif not self.leaving:
            self._release()

    def _release(self) -> None:
        self._sender.release()
        if self._sender.exhausted:
            self._depart()

    def _retire(self) -> None:
        """Take no more channels and no more requests."""
        if not self.leaving:
            self.leaving = True
            self._use.dropped(self)

    def departs(self, last: int, farewell: str) -> None:
        """Note that the server takes no stream above ``last``, and why if it says so."""
        self.last, self._farewell = last, farewell
        self._depart()

    def _depart(self) -> None:
        """Let the calls in flight end, and everything else go elsewhere."""
        self._retire()
        reason = f"the server closed the connection{self._farewell}"
        if not self.channels:
            self._close(reason)
        for channel in list(self.channels):
            stream = channel.stream
            if channel.connection is None or 0 < stream <= self.last:
                continue
            if stream > 0:
                loss = Loss.UNSEEN
                self._sender.forget(channel)
            else:
                loss = Loss.QUIET if stream == IDLE else Loss.UNSENT
            channel.leave()
            channel.caller.lost(loss, reason, 0)

    # -- the ends of calls --------------------------------------------------------------------

    def answered(self, channel: Channel, now: int, woken: int) -> None:
        """Judge a complete answer."""
        head, content = channel.head, channel.content()
        assert head is not None
        if channel.unsent:  # an early answer: the rest of the request is not wanted
            self._abandon(channel, ErrorCode.CANCEL)
        else:
            del self._sender.streams[channel.stream]
            channel.stream = IDLE
        judge = self._use.judge
        outcome, status, reason = judge(head, channel.trailers, content)
        if 0 <= head.length != channel.size and not _needs_none(channel.request, head):
            outcome = _BAD
            reason = f"a body of {channel.size} bytes with a content-length of {head.length}"
        heads = (head, channel.trailers)
        completion = Completion(outcome, channel.began, now, status, heads, content, True, reason)
        if isinstance(channel, StreamedChannel):
            completion.parts = channel.parts()
        # Asking the kernel takes some µs.
        if woken and now - channel.since > LEAST_UNREAD:
            # It knows the age as of now; other answers of the read may have been judged since.
            completion.unread = max(0, unread_ns(self.link) - (_clock() - now))
        if outcome is _OK and self._keeps and not self.leaving:
            channel.caller.answered(completion)
        else:
            self._report(channel, completion)

    def give_up(self, channel: Channel, code: ErrorCode, reason: str, now: int) -> None:
        """End a call whose answer cannot be used, and its stream."""
        self._abandon(channel, code)
        self._report(channel, channel.end(_BAD, now, reason))

    def was_reset(self, channel: Channel, code: int, now: int) -> None:
        """End a call that the server has reset."""
        self._sender.forget(channel)
        outcome = _BAD
        if code == ErrorCode.REFUSED_STREAM and not (channel.began or channel.interim):
            if self.leaving:
                channel.leave()
                channel.caller.lost(Loss.UNSEEN, _REFUSED, 0)
                return
            if channel.caller.refused():
                channel.caller.released()
                self.send(channel)
                return
            outcome = Outcome.CONNECT_ERROR
        reason = f"the server reset the stream: {error_name(code)}"
        self._report(channel, channel.end(outcome, now, reason))

    def _report(self, channel: Channel, completion: Completion) -> None:
        if completion.outcome is not _OK:
            completion.reason += self._excess(channel)
        if self.leaving or not self._keeps:
            completion.keep = False
            channel.leave()
        channel.caller.answered(completion)

    def _excess(self, channel: Channel) -> str:
        """Say that a request has more header fields than the server takes (RFC 9113, 10.5.1)."""
        most = self._sender.most_listed
        listed = channel.request.listed
        if listed <= most:
            return ""
        return (
            f"; the request's header fields take {listed} bytes, and the server "
            f"advises at most {most} (MAX_HEADER_LIST_SIZE): send fewer or shorter ones"
        )

    def _abandon(self, channel: Channel, code: ErrorCode) -> None:
        """End a call's stream before its time."""
        stream = channel.stream
        self._sender.forget(channel)
        if self._reset is not None:
            self._reset[stream] = None
            if len(self._reset) > _MOST_RESET:
                self._reset = None
        self.write(reset(stream, code))

    def abandoned(self, stream: int) -> bool:
        """Return whether frames on a stream that is not open may still come."""
        return stream > self.last or self._reset is None or stream in self._reset


def _needs_none(request: Ready, head: Head) -> bool:
    """Return whether the answer has no body, whatever its content-length says."""
    return request.for_head or head.status in _NO_BODY
