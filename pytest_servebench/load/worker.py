"""A worker: it sends one request at a time over one channel, opened when first needed."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol

from pytest_servebench.load.limits import own_limit
from pytest_servebench.load.room import Room
from pytest_servebench.load.store import Outcome
from pytest_servebench.load.target import explained
from pytest_servebench.load.transports.base import (
    Channel,
    Completion,
    Loss,
    PartsChannel,
    Transport,
)

_clock = time.monotonic_ns
_BAD: Final = Outcome.BAD_RESPONSE  # looking up an enum member is slow
_LATE: Final = "no answer in time"
FREE: Final = -1


class Owner(Protocol):
    """What gives requests to workers."""

    opening: int
    resent: int

    def note_sent(self, index: int) -> int:
        """Stamp a request as written; return the stamp, in ns of the monotonic clock."""

    def note_held(self, index: int) -> None:
        """Note that a request was not sent after all: it waits for the server to take more."""

    def own_failure(self, name: str) -> None:
        """Note that a connection failed on a limit of this machine, such as ``"EMFILE"``."""

    def lost_idle(self, worker: Worker) -> None:
        """Note that an idle worker has lost its connection."""

    def finished(self, worker: Worker, index: int, completion: Completion) -> None:
        """Record the end of a worker's request."""


def _tell(opening: asyncio.Task[None]) -> None:
    """Tell the event loop of a fault of our own; nobody awaits a task that opens a connection."""
    if not opening.cancelled() and (fault := opening.exception()) is not None:
        context = {"message": "opening a connection failed", "exception": fault}
        opening.get_loop().call_exception_handler(context)


def _received(channel: Channel) -> Completion | None:
    return channel.received() if isinstance(channel, PartsChannel) else None


class Worker:
    """Idle, or carrying the request with index :attr:`request`.

    A worker without a connection is idle too: it connects when it gets a request. If the server
    cannot be reached, only that request fails (``connect_error``). No connection is opened without
    a request: on some servers an idle connection blocks others.

    Attributes:
        request: index of the request, or ``FREE``.
        deadline: when it is given up, ns of the monotonic clock.
        channel: over which a request can be written at once; ``None``: it has to be opened first.
    """

    __slots__ = (
        "_held", "_loop", "_opening", "_owner", "_payload", "_resent", "_room", "_transport",
        "_used", "_written", "channel", "deadline", "request",
    )  # fmt: skip

    def __init__(
        self, owner: Owner, loop: asyncio.AbstractEventLoop, transport: Transport, room: Room
    ) -> None:
        """Work for ``owner``; ``room`` tracks how many connections the server serves."""
        self._owner = owner
        self._loop = loop
        self._transport = transport
        self._room = room
        self.channel: Channel | None = None
        self._opening: asyncio.Task[None] | None = None
        self._payload = b""
        self._used = False
        self._resent = False
        self._held = False
        self._written = 0
        self.request = FREE
        self.deadline = 0

    @property
    def connecting(self) -> bool:
        """Return whether its request waits for a connection."""
        return self._opening is not None and self.request != FREE

    @property
    def takes_any(self) -> bool:
        """Return whether that request may use a kept connection as well.

        A second try may not: it could fail as the first one did.
        """
        return self.connecting and not self._resent

    def send(self, request: int, payload: bytes, deadline: int, *, resent: bool = False) -> None:
        """Send ``payload`` as request number ``request``, to be answered by ``deadline``.

        ``resent``: whether that was tried before.
        """
        self.request = request
        self._payload = payload
        self._resent = resent
        self.deadline = deadline
        channel = self.channel
        if channel is None:
            self._connect()
            return
        # Stamped first: a server on the same CPU may answer as soon as the request is written.
        self._written = now = self._owner.note_sent(request)
        self._held = False
        if not self._used:
            self._room.sent_first(channel, now)
        channel.send(payload, now)

    def take_over(self, other: Worker) -> None:
        """Send the request for which ``other`` is still connecting; ``other`` keeps connecting."""
        assert self.channel is not None
        assert other.channel is None
        request, other.request = other.request, FREE
        self.send(request, other._payload, other.deadline, resent=other._resent)

    def withdraw(self) -> None:
        """Drop the request, whether it was sent or not, with its connection."""
        self.request = FREE
        self._end_connection()

    def make_room(self, now: int) -> None:
        """Close an idle connection: another one waits for its slot at the server."""
        self._end_connection()
        self._room.made(now)

    def give_up(self) -> None:
        """Time the request out, and close its connection."""
        reason, received = _LATE, self.received()
        if self.channel is None:
            reason = "no connection in time"
        elif self._held:
            reason = "not sent in time: the server allows no more requests at once"
        elif received is not None and received.parts is not None and received.parts.told:
            reason = "the answer did not end in time"
        self._end_connection()
        self._fail(Outcome.TIMEOUT, reason, received=received)

    def received(self) -> Completion | None:
        """Return what has arrived of the current answer, if answers are streamed."""
        return None if self.channel is None else _received(self.channel)

    def _end_connection(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
            self._owner.opening -= 1
        if self.channel is not None:
            self._room.ended(self.channel)
            self.channel.close()
            self.channel = None

    def _connect(self) -> None:
        if self._opening is None:
            self._owner.opening += 1
            self._opening = self._loop.create_task(self._open())
            self._opening.add_done_callback(_tell)

    async def _open(self) -> None:
        opening = self._opening
        try:
            channel = await self._transport.open(self)
        except OSError as error:
            if opening is self._opening:
                self._could_not_open(error)
            return
        if opening is not self._opening:  # it was cancelled too late
            channel.close()
            return
        self._opening = None
        self._owner.opening -= 1
        self.channel = channel
        self._used = False
        self.send(self.request, self._payload, self.deadline, resent=self._resent)

    def _could_not_open(self, error: OSError) -> None:
        self._opening = None
        self._owner.opening -= 1
        if (name := own_limit(error)) is not None:
            self._owner.own_failure(name)
        self._fail(Outcome.CONNECT_ERROR, explained(error) or type(error).__name__)

    def _fail(
        self, outcome: Outcome, reason: str, began: int = 0, received: Completion | None = None
    ) -> None:
        request, self.request = self.request, FREE
        end = received or Completion(outcome, began, 0)
        end.outcome, end.ended, end.reason = outcome, _clock(), reason
        self._owner.finished(self, request, end)

    # -- what the channel reports -------------------------------------------------------------

    def answered(self, completion: Completion) -> None:
        """End the request."""
        keep = completion.keep
        if completion.outcome is _BAD and completion.ended > self.deadline:
            # The next check of deadlines would find it: some servers reset a call that is late.
            completion.outcome, completion.reason = Outcome.TIMEOUT, _LATE
        if not keep or not self._used or self._room.waiting:
            self._settle(keep, completion.ended)
        self._used = True
        request, self.request = self.request, FREE
        self._owner.finished(self, request, completion)

    def _settle(self, keep: bool, now: int) -> None:
        """Decide whether to keep the channel if that is not clear from the start."""
        channel, room = self.channel, self._room
        assert channel is not None
        room.answered(channel, self._written, keep, now)
        if not keep:
            self.channel = None
        elif room.wanted(now, idle=False):
            self.make_room(now)

    def lost(self, loss: Loss, reason: str, began: int) -> None:
        """End the request that was in flight."""
        if self.channel is None:
            return  # lost while opening, which _open handles
        channel, self.channel = self.channel, None
        self._room.ended(channel)
        if self.request == FREE:
            self._owner.lost_idle(self)
            return
        if loss is Loss.UNSENT:
            self._connect()
            return
        if loss is Loss.UNSEEN and self.refused():
            self._connect()
            return
        broken = loss is Loss.BROKEN
        outcome = Outcome.BAD_RESPONSE if broken else Outcome.CONNECT_ERROR
        self._fail(outcome, reason, began, _received(channel))

    def refused(self) -> bool:
        """Return whether to send the request again: once."""
        if self._resent:
            return False
        self._resent = True
        self._owner.resent += 1
        return True

    def held(self) -> None:
        """Note that the request waits within its channel."""
        self._held = True
        self._owner.note_held(self.request)

    def released(self) -> None:
        """Note that it is being written."""
        self._held = False
        self._written = self._owner.note_sent(self.request)
