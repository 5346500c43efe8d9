"""The interface between the engine and a transport.

The engine decides when a request is sent, and by which worker. A worker asks the transport for a
channel when it has none, and sends one request at a time over it. The transport decides what goes
over the wire, which answers are successes, and whether channels share a connection.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pytest_servebench.load.store import Outcome
from pytest_servebench.load.target import Target

if TYPE_CHECKING:  # the parent of the generator needs no event loop
    import asyncio


@dataclass(frozen=True)
class Terms:
    """Settings for every channel of a run, as far as a transport supports them.

    Attributes:
        keep_alive: whether to reuse a connection after an answer, if the server allows it.
        max_headers: most bytes of status line and headers; a longer answer is given up.
        max_body: most bytes of body; a longer answer is given up.
        streams: most channels that share a connection, where the transport lets them.
        timeout: seconds after which a request is given up; 0: never. Some transports tell the
            server.
        most_parts: most :class:`Parts` of an answer's body; 0: answers are not streamed, and none
            are kept.
    """

    keep_alive: bool = True
    max_headers: int = 64 * 2**10
    max_body: int = 16 * 2**20
    streams: int = 1
    timeout: float = 0.0
    most_parts: int = 0


class WrongProtocolError(ConnectionResetError):
    """The server speaks another protocol than the transport's; the message says which."""


class Loss(enum.Enum):
    """How a channel ended without an answer."""

    UNSENT = enum.auto()
    """Nothing of the request was sent: it has to go over another channel."""
    UNSEEN = enum.auto()
    """The server has not seen the request: it may be sent again, once."""
    QUIET = enum.auto()
    """Before the first byte of an answer, or between two requests."""
    BROKEN = enum.auto()
    """In the middle of an answer, or by a violation of the protocol."""


@dataclass(slots=True)
class Parts:
    """What arrived of an answer's body, and when.

    Attributes:
        most: pieces whose times are kept, at least 1.
        told: pieces of the body, each followed by the time of its read, ns of the monotonic clock;
            one read may bring several.
        size: of the body, bytes.
        late: ns for which one of them lay unread at most, according to the kernel.
    """

    most: int
    told: list[Any]
    size: int
    late: int = 0

    def body(self) -> bytes:
        """Return the pieces as one."""
        return b"".join(self.told[::2])

    def merge(self) -> int:
        """Make one of the pieces beyond the most and the last of them; return how many were merged.

        It has the last one's time.
        """
        if (merged := len(self.told) // 2 - self.most) <= 0:
            return 0
        first = 2 * self.most - 2
        self.told[first:-1] = [b"".join(self.told[first::2])]
        return merged


# Not frozen, which would take twice as long: every request creates one.
@dataclass(slots=True)
class Completion:
    """How a request ended: with an answer, or without.

    Attributes:
        outcome: ``OK``, or the kind of failure.
        began: when the first byte of the answer arrived, ns of the monotonic clock; 0: none did.
        ended: when the answer was complete, or the request given up.
        status: the transport's status, such as HTTP's; 0 if there is none.
        head: what came before the body, as :meth:`Transport.head` takes it; ``None``: nothing.
        body: of the answer; empty if there are parts of it.
        keep: whether the channel takes another request; otherwise it is closed.
        reason: why it failed.
        unread: ns for which the answer lay unread, according to the kernel.
        parts: of the body, if answers are streamed.
    """

    outcome: Outcome
    began: int
    ended: int
    status: int = 0
    head: Any = None
    body: bytes = b""
    keep: bool = False
    reason: str = ""
    unread: int = 0
    parts: Parts | None = None

    def content(self) -> bytes:
        """Return the body, with or without parts."""
        return self.body if self.parts is None else self.parts.body()


class Caller(Protocol):
    """What sends requests over a channel."""

    def answered(self, completion: Completion) -> None:
        """Receive the answer to the last request sent."""

    def lost(self, loss: Loss, reason: str, began: int) -> None:
        """Note that the channel was lost without an answer; it reports nothing more.

        ``began`` is when the first byte of an answer arrived, or 0.
        """

    def refused(self) -> bool:
        """Return whether to send the request again over the channel: the server has not seen it."""

    def held(self) -> None:
        """Note that the request waits until the server takes more of them: it is not sent yet."""

    def released(self) -> None:
        """Note that a request which was held, or refused, is being written now."""


class Channel(Hashable, Protocol):
    """Carries one request at a time; it may share a connection with others."""

    def send(self, request: bytes, now: int) -> None:
        """Send a request at ``now``, in ns of the monotonic clock; its end goes to the caller."""

    def close(self) -> None:
        """Close at once, with any request in flight; nothing more is reported."""


@runtime_checkable
class PartsChannel(Channel, Protocol):
    """A channel that keeps the parts of its answers."""

    def received(self) -> Completion:
        """Return what has arrived of the current answer; asked before or after it is closed.

        Outcome, end and reason are the caller's to fill in.
        """
        ...


class Transport(Protocol):
    """Opens channels to one server.

    Attributes:
        shared: whether channels may share a connection: then closing one makes no room at the
            server for another.
        opened: number of connections opened so far.
    """

    shared: bool
    opened: int

    async def prepare(self) -> None:
        """Prepare once, before the load."""

    async def open(self, caller: Caller) -> Channel:
        """Return a channel that reports to ``caller``.

        Raises:
            OSError: it cannot be opened; the message says why.
        """

    def head(self, head: Any) -> bytes:
        """Return a completion's head in the form that answer checks see.

        Only few answers are checked: what takes time to make of a head is made here.
        """


TransportFactory = Callable[
    [Target, Terms, "asyncio.AbstractEventLoop", Callable[[int], int]], Transport
]
"""Makes the transport of one run.

It gets the server's address, the terms, the running event loop, and a function to call with the
time, in ns of the monotonic clock, whenever data arrives: the function returns for how many ns this
process may have slept before, or been kept from running; 0 if it has not.
"""
