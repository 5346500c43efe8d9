"""All frames but HEADERS and DATA, and the beginning of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from pytest_servebench.load.transports.http2.frames import (
    ACK,
    DEFAULT_WINDOW,
    ENABLE_PUSH,
    END_HEADERS,
    FRAME_HEADER,
    GOAWAY,
    HEADER_SIZE,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    LARGEST_NUMBER,
    MAX_HEADER_LIST_SIZE,
    NUMBER,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTING,
    SETTINGS,
    WINDOW_UPDATE,
    ConnectionFault,
    ErrorCode,
    error_name,
    frame,
    window_update,
)
from pytest_servebench.load.transports.refusals import too_long
from pytest_servebench.text.safe import clean

if TYPE_CHECKING:
    import asyncio

    from pytest_servebench.load.transports.http2.channel import Channel
    from pytest_servebench.load.transports.http2.sender import Sender

ALPN: Final = "h2"
_SHOWN: Final = 60  # characters of what a server says
_MOST_PIECES: Final = 1000  # of a header block
# Length of the payload, and whether it belongs to a stream (True), to the connection (False), or to
# either (None): RFC 9113, section 6.
_FORMS: Final[dict[int, tuple[int | None, bool | None]]] = {
    PRIORITY: (5, True),
    RST_STREAM: (4, True),
    SETTINGS: (None, False),
    PING: (8, False),
    GOAWAY: (None, False),
    WINDOW_UPDATE: (4, None),
}


class Owner(Protocol):
    """A connection, as what reads its frames sees it.

    Attributes:
        last: the last stream that the server takes.
        failure: why the connection has ended; empty while it has not.
        settled: to be done once the server's first settings came.
    """

    last: int
    failure: str
    settled: asyncio.Future[None]

    @property
    def link(self) -> Any:
        """Return its socket, as the event loop gives it, if it has one."""

    def write(self, data: bytes) -> None:
        """Write frames."""

    def answered(self, channel: Channel, now: int, woken: int) -> None:
        """Judge a complete answer."""

    def give_up(self, channel: Channel, code: ErrorCode, reason: str, now: int) -> None:
        """End a call whose answer cannot be used, and its stream."""

    def was_reset(self, channel: Channel, code: int, now: int) -> None:
        """End a call that the server has reset."""

    def departs(self, last: int, farewell: str) -> None:
        """Note that the server takes no stream above ``last``, and why if it says so."""

    def abandoned(self, stream: int) -> bool:
        """Return whether frames on a stream that is not open may still come."""


class Block:
    """A header block in several frames.

    Attributes:
        stream: that it is for.
        ends: whether it ends the stream.
        since: when its first byte came.
    """

    def __init__(self, stream: int, first: bytes, ends: int, since: int) -> None:
        self.stream = stream
        self.ends = ends
        self.since = since
        self._pieces = [first]
        self._size = len(first)

    def add(self, piece: bytes, flags: int, most: int) -> bool:
        """Append a piece; return whether it was the last.

        Raises:
            ConnectionFault: there are more than ``most`` bytes, or too many pieces.
        """
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > most:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, too_long("headers", most))
        if len(self._pieces) > _MOST_PIECES:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, f"a header block in more than {_MOST_PIECES} frames"
            )
        return bool(flags & END_HEADERS)

    def whole(self) -> bytes:
        """Return the block."""
        return b"".join(self._pieces)


def greeting(max_headers: int) -> bytes:
    """Return what a client sends first.

    The windows are as wide as they can be: what is measured is the server, not our window; the
    size of an answer is limited otherwise.
    """
    settings = (
        (HEADER_TABLE_SIZE, 0),
        (ENABLE_PUSH, 0),
        (INITIAL_WINDOW_SIZE, LARGEST_NUMBER),
        (MAX_HEADER_LIST_SIZE, max_headers),
    )
    payload = b"".join(SETTING.pack(name, value) for name, value in settings)
    return (
        PREFACE + frame(SETTINGS, 0, 0, payload) + window_update(0, LARGEST_NUMBER - DEFAULT_WINDOW)
    )


def check_greeting(data: bytes) -> None:
    """Check that what a server sends first may be HTTP/2; ``ConnectionFault`` if it is not."""
    if len(data) < HEADER_SIZE:
        return
    _, _, kind, flags, stream = FRAME_HEADER.unpack_from(data)
    if kind != SETTINGS or flags & ACK or stream:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, not_http2(data))


def not_http2(data: bytes) -> str:
    """Say what a server speaks instead of HTTP/2."""
    line = clean(data[: 4 * _SHOWN].partition(b"\n")[0].decode("latin-1"))[:_SHOWN]
    if data.startswith(b"HTTP/"):
        return f"the server speaks HTTP/1.1, not HTTP/2: {line}"
    return f"the server does not speak HTTP/2; it says {line!r}"


def unpadded(payload: bytes, flags: int) -> bytes:
    """Return the payload of DATA or HEADERS without padding and priority.

    Raises:
        ConnectionFault: there is not that much of it.
    """
    start, end = 0, len(payload)
    if flags & PADDED:
        start = 1
        end -= payload[0] if payload else 0
    if flags & PRIORITIZED:
        start += 5
    if start > end:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame with more padding than content")
    return payload[start:end]


def take_control(
    connection: Owner,
    sender: Sender,
    kind: int,
    flags: int,
    stream: int,
    payload: bytes,
    now: int,
) -> None:
    """Take up a frame other than HEADERS, CONTINUATION, DATA and whole WINDOW_UPDATE.

    Raises:
        ConnectionFault: it may not come here, or like this.
    """
    if kind == PUSH_PROMISE:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a push, which was not enabled")
    if (form := _FORMS.get(kind)) is None:
        return  # an extension
    length, of_stream = form
    if of_stream is not None and of_stream != bool(stream):
        raise ConnectionFault(
            ErrorCode.PROTOCOL_ERROR, f"a frame of type {kind} on stream {stream}"
        )
    if length is not None and len(payload) != length:
        raise ConnectionFault(
            ErrorCode.FRAME_SIZE_ERROR, f"a frame of type {kind} with {len(payload)} bytes"
        )
    if kind == PING:
        if not flags & ACK:
            connection.write(frame(PING, ACK, 0, payload))
    elif kind == SETTINGS:
        _settle(connection, sender, flags, payload)
    elif kind == RST_STREAM:
        if (channel := sender.streams.get(stream)) is not None:
            connection.was_reset(channel, NUMBER.unpack(payload)[0], now)
        else:
            check_opened(sender, stream)
    elif kind == GOAWAY:
        _go_away(connection, payload)


def widen(connection: Owner, sender: Sender, stream: int, payload: bytes, now: int) -> None:
    """Widen the window of a stream.

    Raises:
        ConnectionFault: it was never opened.
    """
    size = NUMBER.unpack(payload)[0] & LARGEST_NUMBER
    channel = sender.streams.get(stream)
    if channel is None:
        check_opened(sender, stream)
        return
    channel.window += size
    if not size:
        reason = "an answer that is malformed: a window update of 0 bytes"
        connection.give_up(channel, ErrorCode.PROTOCOL_ERROR, reason, now)
    elif channel.window > LARGEST_NUMBER:
        reason = "an answer that is malformed: a window update that overflows"
        connection.give_up(channel, ErrorCode.FLOW_CONTROL_ERROR, reason, now)


def check_opened(sender: Sender, stream: int) -> None:
    """Refuse what comes on a stream that was never opened; on one that has ended it may."""
    if not stream & 1 or stream >= sender.next:
        raise ConnectionFault(
            ErrorCode.PROTOCOL_ERROR, f"a frame on stream {stream}, which was never opened"
        )


def _settle(connection: Owner, sender: Sender, flags: int, payload: bytes) -> None:
    if flags & ACK:
        if payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "acknowledged settings with content")
        return
    if len(payload) % SETTING.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"settings of {len(payload)} bytes")
    sender.apply(payload)
    connection.write(frame(SETTINGS, ACK, 0))
    if not connection.settled.done():
        connection.settled.set_result(None)


def _go_away(connection: Owner, payload: bytes) -> None:
    if len(payload) < 2 * NUMBER.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a GOAWAY of {len(payload)} bytes")
    last = NUMBER.unpack_from(payload)[0] & LARGEST_NUMBER
    if last > connection.last:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a GOAWAY that revokes an earlier one")
    (code,) = NUMBER.unpack_from(payload, NUMBER.size)
    said = ""
    if code:
        more = clean(payload[2 * NUMBER.size :].decode("utf-8", "replace"))[:_SHOWN]
        said = f", with {error_name(code)}" + (f": {more}" if more else "")
    connection.departs(last, said)
