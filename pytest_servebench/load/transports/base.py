"""The seam between the engine and what is spoken with a server.

The engine decides when a request is sent, and by which worker. A worker asks the transport for a
channel when it has none, and sends one request at a time over it. What goes over the wire, which
answers are successes, and whether channels share a connection is the transport's own.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

from pytest_servebench.load.records import Outcome
from pytest_servebench.load.target import Target


@dataclass(frozen=True)
class Terms:
    """What holds for every channel of a run, as far as a transport knows of such a thing.

    Attributes:
        keep_alive: whether a connection is kept after an answer, if the server keeps it.
        max_headers: bytes of an answer's status line and headers, beyond which it is given up.
        max_body: bytes of an answer's body, beyond which it is given up.
    """

    keep_alive: bool = True
    max_headers: int = 64 * 2**10
    max_body: int = 16 * 2**20


class Loss(enum.Enum):
    """How a channel ended without an answer."""

    UNSEEN = enum.auto()
    """The server has not seen the request, which may be sent again."""
    QUIET = enum.auto()
    """Before the first byte of an answer, or between two requests."""
    BROKEN = enum.auto()
    """In the middle of an answer, or by something that is not of the protocol."""


# Not frozen, which would take twice as long: one is made for every request.
@dataclass(slots=True)
class Completion:
    """How a request ended: with an answer, or without.

    Attributes:
        outcome: ``OK``, or the kind of failure.
        began: when the first byte of the answer came, ns of the monotonic clock; 0: none did.
        ended: when the answer was whole, or the request given up.
        status: the transport's own word for the outcome, such as HTTP's; 0 where there is none.
        head: what came before the body, as it came; see :meth:`Transport.head`.
        body: of the answer.
        keep: whether the channel takes another request; else it has ended with this one.
        reason: why it failed.
        unread: ns for which the answer had lain unread, as far as the kernel tells.
    """

    outcome: Outcome
    began: int
    ended: int
    status: int = 0
    head: bytes = b""
    body: bytes = b""
    keep: bool = False
    reason: str = ""
    unread: int = 0


class Caller(Protocol):
    """Who sends requests over a channel."""

    def answered(self, completion: Completion) -> None:
        """Take the answer to the request that was sent last."""

    def lost(self, loss: Loss, reason: str, began: int) -> None:
        """Take it that the channel is gone without an answer; it reports nothing more.

        ``began`` is when the first byte of one came, or 0.
        """


class Channel(Hashable, Protocol):
    """Carries one request at a time; it may share a connection with others."""

    def send(self, request: bytes, now: int) -> None:
        """Send a request at ``now``, in ns of the monotonic clock; its caller is told the end."""

    def close(self) -> None:
        """End at once, with the request under way; the caller is told nothing more."""


class Transport(Protocol):
    """Opens channels to one server."""

    async def prepare(self) -> None:
        """Do what is done once, before the load."""

    async def open(self, caller: Caller) -> Channel:
        """Return a channel that reports to ``caller``.

        Raises:
            OSError: there is none; the message says why.
        """

    def head(self, head: bytes) -> bytes:
        """Return a completion's head as it is shown to whoever checks the answer."""


TransportFactory = Callable[
    [Target, Terms, asyncio.AbstractEventLoop, Callable[[int], bool]], Transport
]
"""Makes the transport of one run.

It is given the server's address, the terms, the running event loop, and what it must call with the
time, in ns of the monotonic clock, whenever data comes in: it tells whether this process may have
slept, or been kept from running, until then.
"""
