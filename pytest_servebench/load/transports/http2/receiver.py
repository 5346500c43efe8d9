"""The receiving half of a connection: frames, and the answers that they bring."""

from __future__ import annotations

from typing import Final

from pytest_servebench.load.transports.base import Terms
from pytest_servebench.load.transports.http2.channel import Channel, StreamedChannel
from pytest_servebench.load.transports.http2.control import (
    Block,
    Owner,
    check_greeting,
    check_opened,
    take_control,
    unpadded,
    widen,
)
from pytest_servebench.load.transports.http2.frames import (
    CONTINUATION,
    DATA,
    DEFAULT_FRAME,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER,
    HEADER_SIZE,
    HEADERS,
    LARGEST_NUMBER,
    NUMBER,
    PADDED,
    PRIORITIZED,
    WINDOW_UPDATE,
    ConnectionFault,
    ErrorCode,
    window_update,
)
from pytest_servebench.load.transports.http2.heads import Head, Heads
from pytest_servebench.load.transports.http2.sender import Sender
from pytest_servebench.load.transports.refusals import too_long

_unpack: Final = FRAME_HEADER.unpack_from
_pack: Final = FRAME_HEADER.pack
_RETURNED: Final = 2**20  # bytes after which the server's window on the connection is widened again
_RETURNED_TO_STREAM: Final = 2**30
_FORM: Final = END_HEADERS | PADDED | PRIORITIZED
_MOST_IDLE: Final = 10_000  # frames in a row that bring no call further


class Receiver:
    """Reads frames in whatever pieces they come.

    Attributes:
        unread: the beginning of a frame whose rest has not come.
        greeted: whether the server's first settings came.
    """

    __slots__ = ("_block", "_connection", "_credit", "_heads", "_idle", "_most_body", "_sender",
                 "_since", "_terms", "greeted", "unread")  # fmt: skip

    def __init__(
        self, connection: Owner, sender: Sender, heads: Heads, terms: Terms, framing: int
    ) -> None:
        """Read for ``connection``; ``framing`` bytes of a body are not counted."""
        self._connection = connection
        self._sender = sender
        self._terms = terms
        self._most_body = terms.max_body + framing
        self._heads = heads
        self._since = 0  # when the first byte of unread came
        self._block: Block | None = None  # a header block that is not whole
        self._credit = 0  # bytes that the connection's window has not got back
        self._idle = 0
        self.unread = b""
        self.greeted = False

    def receive(self, data: bytes, now: int, woken: int) -> None:
        """Take up what came at ``now``.

        Raises:
            ConnectionFault: it violates the protocol.
        """
        since = now
        if self.unread:
            data, since, self.unread = self.unread + data, self._since, b""
        if not self.greeted:
            check_greeting(data)
        at, size = 0, len(data)
        connection = self._connection
        while size - at >= HEADER_SIZE:
            high, low, kind, flags, stream = _unpack(data, at)
            length = high << 8 | low
            if length > DEFAULT_FRAME:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            end = at + HEADER_SIZE + length
            if end > size:
                break
            payload = data[at + HEADER_SIZE : end]
            stream &= LARGEST_NUMBER
            if self._block is None and kind == DATA:
                self._take_data(stream, payload, flags, now, woken)
            elif self._block is None and kind == HEADERS and flags & _FORM == END_HEADERS:
                self._take_block(stream, payload, flags & END_STREAM, since, now, woken)
            elif self._block is None and kind == WINDOW_UPDATE and length == NUMBER.size:
                self._take_update(stream, payload, now)  # with most answers
            else:
                self._take_other(kind, flags, stream, payload, since, now, woken)
            at, since = end, now
            if connection.failure:
                return
        if at < size:
            self._keep(data[at:], since, now, woken)
        if self._credit > _RETURNED:
            connection.write(window_update(0, self._credit))
            self._credit = 0

    def _keep(self, unread: bytes, since: int, now: int, woken: int) -> None:
        """Keep the beginning of a frame; what it brings of a body is a part of that already."""
        self.unread, self._since = unread, since
        if len(unread) <= HEADER_SIZE or self._block is not None:
            return
        high, low, kind, flags, stream = _unpack(unread)
        stream &= LARGEST_NUMBER
        if kind == DATA and not flags & PADDED and stream in self._sender.streams:
            # As if there were two frames.
            payload = unread[HEADER_SIZE:]
            left = (high << 8 | low) - len(payload)
            self.unread = _pack(left >> 8, left & 0xFF, DATA, flags, stream)
            self._take_data(stream, payload, 0, now, woken)

    def _note_idle(self) -> None:
        self._idle += 1
        if self._idle > _MOST_IDLE:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, "a flood of frames that bring no answer"
            )

    def _take_other(
        self, kind: int, flags: int, stream: int, payload: bytes, since: int, now: int, woken: int
    ) -> None:
        """Take up a frame that is neither DATA nor a plain and whole HEADERS."""
        block = self._block
        if block is not None or kind == CONTINUATION:
            if block is None or kind != CONTINUATION or stream != block.stream:
                raise ConnectionFault(
                    ErrorCode.PROTOCOL_ERROR, "a header block that is not continued"
                )
            if block.add(payload, flags, self._terms.max_headers):
                self._block = None
                self._take_block(stream, block.whole(), block.ends, block.since, now, woken)
        elif kind == HEADERS:
            payload = unpadded(payload, flags)
            if flags & END_HEADERS:
                self._take_block(stream, payload, flags & END_STREAM, since, now, woken)
            else:
                self._block = Block(stream, payload, flags & END_STREAM, since)
        else:
            self._note_idle()
            self.greeted = True  # it began with settings
            take_control(self._connection, self._sender, kind, flags, stream, payload, now)

    def _take_update(self, stream: int, payload: bytes, now: int) -> None:
        """Take up a wider window."""
        if not self._sender.unsent:
            self._note_idle()
        if stream:
            widen(self._connection, self._sender, stream, payload, now)
        else:
            self._sender.widen(NUMBER.unpack(payload)[0] & LARGEST_NUMBER)

    def _take_block(
        self, stream: int, block: bytes, ends: int, since: int, now: int, woken: int
    ) -> None:
        channel = self._sender.streams.get(stream)
        if channel is None:
            self._note_stray(stream)
            return
        known = self._heads.known
        head = known(block)
        if head is None:
            try:
                head = self._heads.read(block)
            except ValueError as error:
                raise ConnectionFault(
                    ErrorCode.COMPRESSION_ERROR, f"a header block that cannot be read ({error})"
                ) from None
        connection, most = self._connection, self._terms.max_headers
        channel.listed += head.size
        if channel.listed > most:
            connection.give_up(channel, ErrorCode.CANCEL, too_long("headers", most), now)
        elif head.opens and channel.head is None:
            channel.began, channel.head = since, head
            self._idle = 0
            if ends:
                connection.answered(channel, now, woken)
        elif head.closes and ends and channel.head is not None:
            channel.trailers = head
            self._idle = 0
            connection.answered(channel, now, woken)
        elif fault := _misplaced(channel, head, ends):
            reason = f"an answer that is malformed: {fault}"
            connection.give_up(channel, ErrorCode.PROTOCOL_ERROR, reason, now)
        else:
            channel.interim = True

    def _take_data(self, stream: int, payload: bytes, flags: int, now: int, woken: int) -> None:
        length = len(payload)
        self._credit += length  # padding counts, and what nobody awaits any more
        if flags & PADDED:
            payload = unpadded(payload, PADDED)
        if not stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a body on stream 0")
        channel = self._sender.streams.get(stream)
        if channel is None:
            self._note_stray(stream)
            return
        connection = self._connection
        if channel.head is None:
            reason = "an answer that is malformed: a body before its header fields"
            connection.give_up(channel, ErrorCode.PROTOCOL_ERROR, reason, now)
            return
        channel.credit += length
        if payload:
            self._idle = 0
            size = channel.size + len(payload)
            if size > self._most_body:
                reason = too_long("body", self._terms.max_body)
                connection.give_up(channel, ErrorCode.CANCEL, reason, now)
                return
            channel.size = size
            if isinstance(channel, StreamedChannel):
                # Here: a call for each part would cost more than the rest of this.
                told = channel.told
                told.append(payload)
                told.append(now)
                if woken:
                    late = channel.dozing.late(woken, connection.link)
                    channel.late = max(channel.late, late)
            else:
                channel.body.append(payload)
        else:
            self._note_idle()
        if flags & END_STREAM:
            connection.answered(channel, now, woken)
        elif channel.credit > _RETURNED_TO_STREAM:
            connection.write(window_update(stream, channel.credit))
            channel.credit = 0

    def _note_stray(self, stream: int) -> None:
        """Allow a part of an answer on a stream that is not open, if it may come.

        Raises:
            ConnectionFault: it may not (RFC 9113, 5.1).
        """
        self._note_idle()
        check_opened(self._sender, stream)
        if not self._connection.abandoned(stream):
            raise ConnectionFault(
                ErrorCode.STREAM_CLOSED, f"a frame on stream {stream}, which has ended"
            )


def _misplaced(channel: Channel, head: Head, ends: int) -> str:
    """Return what is malformed about a header block at this place of an answer."""
    if head.fault:
        return head.fault
    if channel.head is not None:
        if head.status:
            return "a second status"
        return "" if ends else "header fields in the middle of the body"
    if not head.status:
        return "no status"
    if head.status == 101 or (head.status < 200 and ends):
        return f"a final status of {head.status}"
    return ""
