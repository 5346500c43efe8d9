"""A channel: one call at a time, each on a stream of its own of a connection."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from pytest_servebench.load.store import Outcome
from pytest_servebench.load.transports.base import Caller, Completion, Loss, Parts, Terms
from pytest_servebench.load.transports.dozing import Dozing

if TYPE_CHECKING:
    from pytest_servebench.load.transports.http2.heads import Head
    from pytest_servebench.load.transports.http2.requests import Ready

IDLE: Final = 0
"""The stream of a channel without a call."""
HELD: Final = -1
"""The stream of a call that waits for one."""
CLOSED: Final = -2
"""The stream of a channel that its user has closed."""


class Carrier(Protocol):
    """A connection, as its channels see it.

    Attributes:
        leaving: whether it takes no more requests.
        ready: returns a request in frames.
    """

    leaving: bool
    ready: Callable[[bytes], Ready]

    def send(self, channel: Channel) -> None:
        """Send the request of one of the channels."""

    def leave(self, channel: Channel) -> None:
        """Let a channel go, and cancel its call."""


class Channel:
    """A channel, and the state of its call.

    Attributes:
        caller: whom it reports to.
        connection: ``None`` once the channel is lost or closed.
        stream: of the call, or :data:`IDLE`, :data:`HELD` or :data:`CLOSED`.
        request: of the last call.
        since: when it was handed over, ns of the monotonic clock.
        unsent: bytes of the request's body that wait for a window.
        window: bytes that the server takes on the stream; may be negative.
        began: when the first byte of the final answer came, or 0.
        interim: whether an interim answer (1xx) came.
        listed: bytes of the answer's header lists.
        head: the final answer's first header block, once it has come.
        trailers: the last one, if there was another.
        body: pieces of the answer's body.
        size: of the body, bytes.
        credit: bytes of DATA frames that the stream's window has not got back.
    """

    __slots__ = (
        "began", "body", "caller", "connection", "credit", "head", "interim", "listed", "request",
        "since", "size", "stream", "trailers", "unsent", "window",
    )  # fmt: skip

    request: Ready

    def __init__(self, caller: Caller, connection: Carrier) -> None:
        self.caller = caller
        self.connection: Carrier | None = connection
        self.stream = IDLE
        self.since = self.unsent = self.window = 0
        self.begin_answer()

    def begin_answer(self) -> None:
        """Forget the last answer."""
        self.began = self.listed = self.size = self.credit = 0
        self.interim = False
        self.head: Head | None = None
        self.trailers: Head | None = None
        self.body: list[bytes] = []

    def send(self, request: bytes, now: int) -> None:
        """Send a request, or hold it until the server takes more of them."""
        self.since = now
        connection = self.connection
        if connection is None or connection.leaving:
            self.leave()
            self.caller.lost(Loss.UNSENT, "the connection is being closed", 0)
        else:
            ready = connection.ready
            self.request = ready(request)
            connection.send(self)

    def content(self) -> bytes:
        """Return the body."""
        return self.body[0] if len(self.body) == 1 else b"".join(self.body)

    def end(self, outcome: Outcome, now: int, reason: str) -> Completion:
        """Return the end of a call without a whole answer."""
        return Completion(outcome, self.began, now, keep=True, reason=reason)

    def close(self) -> None:
        """Cancel the call; the connection is closed with its last channel."""
        self.leave()
        self.stream = CLOSED

    def leave(self) -> None:
        """Detach from the connection."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.leave(self)


class StreamedChannel(Channel):
    """A channel that keeps when each part of its answer's body was read.

    Attributes:
        most: parts whose times are told.
        dozing: tells whether a part was read late.
        told: takes the body instead of ``body``; see :class:`.Parts`.
        late: ns for which one of them lay unread at most, according to the kernel.
    """

    __slots__ = ("dozing", "late", "most", "told")

    def __init__(self, caller: Caller, connection: Carrier, most: int, dozing: Dozing) -> None:
        self.most = most
        self.dozing = dozing
        super().__init__(caller, connection)

    def begin_answer(self) -> None:
        """Forget the last answer."""
        super().begin_answer()
        self.told: list[Any] = []
        self.late = 0

    def parts(self) -> Parts:
        """Return what has come of the body, and when."""
        return Parts(self.most, self.told, self.size, self.late)

    def content(self) -> bytes:
        """Return nothing: parts are joined where that is asked for; HTTP is judged without."""
        return b""

    def end(self, outcome: Outcome, now: int, reason: str) -> Completion:
        """Return the end of a call without a whole answer, and what has come."""
        end = self.received()
        end.outcome, end.ended, end.keep, end.reason = outcome, now, True, reason
        return end

    def received(self) -> Completion:
        """See :class:`~pytest_servebench.load.transports.base.PartsChannel`."""
        begun = Completion(Outcome.UNFINISHED, self.began, 0, parts=self.parts())
        if self.head is not None:
            begun.status, begun.head = self.head.status, (self.head, None)
        return begun


ChannelMaker = Callable[[Caller, Carrier], Channel]


def channel_maker(terms: Terms) -> ChannelMaker:
    """Return what makes the channels of a run: those of streamed answers keep their parts."""
    if not terms.most_parts:
        return Channel
    return partial(StreamedChannel, most=terms.most_parts, dozing=Dozing())


def loss_of(channel: Channel, *, broken: bool) -> tuple[Loss, str]:
    """Return what the end of its connection means for a channel, and when it came.

    ``broken``: the connection has ended by a violation of the protocol.
    """
    if channel.stream == IDLE:
        return Loss.QUIET, ""
    if channel.stream == HELD:
        return Loss.UNSEEN, ""
    if broken:
        return Loss.BROKEN, ""
    if channel.began or channel.interim:
        return Loss.BROKEN, " in the middle of an answer"
    return Loss.QUIET, " before an answer"
