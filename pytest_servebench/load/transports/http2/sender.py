"""The sending half of a connection: streams, windows, and what waits for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from pytest_servebench.load.transports.http2.channel import HELD, IDLE, Channel
from pytest_servebench.load.transports.http2.frames import (
    DATA,
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    ENABLE_PUSH,
    END_STREAM,
    INITIAL_WINDOW_SIZE,
    LARGEST_FRAME,
    LARGEST_NUMBER,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    NUMBER,
    SETTING,
    ConnectionFault,
    ErrorCode,
    frame,
)

_NO_LIMIT: Final = 2**32
_ident: Final = NUMBER.pack


class Sender:
    """Writes requests as far as the server's settings and windows let it.

    Attributes:
        streams: open streams, by number.
        held: channels with calls that wait for a stream; closed ones may be among them.
        limit: streams that the server allows at once.
        unsent: channels with bodies that wait for a window.
        next: number of the next stream.
        window: bytes that the server takes on the connection.
        most_listed: bytes of a request's header list that the server advises; more are sent all the
            same, as many servers take them.
    """

    __slots__ = ("_first", "_initial", "_largest", "_write", "held", "limit", "most_listed",
                 "next", "streams", "unsent", "window")  # fmt: skip

    def __init__(self, write: Callable[[bytes], None]) -> None:
        """Send by ``write``."""
        self._write = write
        self._first = True
        self._initial = DEFAULT_WINDOW
        self._largest = DEFAULT_FRAME
        self.limit = _NO_LIMIT
        self.streams: dict[int, Channel] = {}
        self.held: deque[Channel] = deque()
        self.unsent: deque[Channel] = deque()
        self.next = 1
        self.window = DEFAULT_WINDOW
        self.most_listed = _NO_LIMIT

    @property
    def exhausted(self) -> bool:
        """Return whether there are no more numbers for streams."""
        return self.next > LARGEST_NUMBER

    def hold(self, channel: Channel) -> None:
        """Let the channel's request wait for a stream."""
        channel.stream = HELD
        self.held.append(channel)
        channel.caller.held()

    def start(self, channel: Channel) -> None:
        """Write the channel's request, as far as the windows let it."""
        request = channel.request
        size = request.size
        stream = self.next
        self.next = stream + 2
        channel.stream = stream
        self.streams[stream] = channel
        window = self.window - size
        own = self._initial - size
        if request.whole and window >= 0 <= own and not (self.unsent or self._first):
            self.window = window
            channel.window = own
            channel.unsent = 0
            ident, write = _ident(stream), self._write
            if size:
                whole = (request.opening, ident, request.middle, ident, request.body)
                write(b"".join(whole))
            else:
                write(request.opening + ident + request.middle)
            return
        channel.window = self._initial
        channel.unsent = size
        self._write(request.headers(stream, first=self._first))
        self._first = False
        if size:
            self.unsent.append(channel)
            self.send_bodies()

    def forget(self, channel: Channel) -> None:
        """End a call's stream."""
        del self.streams[channel.stream]
        channel.stream = IDLE
        if channel.unsent:
            channel.unsent = 0
            self.unsent.remove(channel)

    def send_bodies(self) -> None:
        """Write as much of the waiting bodies as the windows allow, the oldest first."""
        frames: list[bytes | memoryview] = []
        waiting: deque[Channel] = deque()
        for channel in self.unsent:
            body, stream = channel.request.body, channel.stream
            while channel.unsent:
                size = min(channel.unsent, self._largest, self.window, channel.window)
                if size <= 0:
                    waiting.append(channel)
                    break
                start = len(body) - channel.unsent
                channel.unsent -= size
                channel.window -= size
                self.window -= size
                flags = 0 if channel.unsent else END_STREAM
                frames.append(frame(DATA, flags, stream, bytes(body[start : start + size])))
        self.unsent = waiting
        if frames:
            self._write(b"".join(frames))

    def release(self) -> None:
        """Send held requests for which there are streams now."""
        while self.held and len(self.streams) < self.limit and not self.exhausted:
            channel = self.held.popleft()
            if channel.stream == HELD:  # not closed meanwhile
                channel.caller.released()
                self.start(channel)

    def apply(self, settings: bytes) -> None:
        """Apply the server's settings.

        Raises:
            ConnectionFault: a value is not allowed (RFC 9113, 6.5.2).
        """
        for name, value in SETTING.iter_unpack(settings):
            if name == INITIAL_WINDOW_SIZE:
                if value > LARGEST_NUMBER:
                    raise ConnectionFault(
                        ErrorCode.FLOW_CONTROL_ERROR, f"an initial window of {value} bytes"
                    )
                self._resize(value - self._initial)
                self._initial = value
            elif name == MAX_FRAME_SIZE:
                if not DEFAULT_FRAME <= value <= LARGEST_FRAME:
                    raise ConnectionFault(
                        ErrorCode.PROTOCOL_ERROR, f"frames of at most {value} bytes"
                    )
                self._largest = value
            elif name == MAX_CONCURRENT_STREAMS:
                self.limit = value
            elif name == ENABLE_PUSH and value:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "push enabled by the server")
            elif name == MAX_HEADER_LIST_SIZE:
                self.most_listed = value
            # Nothing depends on the server's table, as ours is empty.

    def _resize(self, change: int) -> None:
        for channel in self.streams.values():
            channel.window += change
            if channel.window > LARGEST_NUMBER:
                raise ConnectionFault(
                    ErrorCode.FLOW_CONTROL_ERROR, "an initial window that overflows a stream's"
                )

    def widen(self, size: int) -> None:
        """Widen the connection's window.

        Raises:
            ConnectionFault: it becomes too wide, or no wider (RFC 9113, 6.9).
        """
        if not size:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window update of 0 bytes")
        self.window += size
        if self.window > LARGEST_NUMBER:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window update that overflows")
