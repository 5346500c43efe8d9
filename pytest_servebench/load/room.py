"""How many connections a server serves at once, as far as its answers tell.

Many servers serve a connection until it ends, and only so many of them at once: one
(``http.server.HTTPServer``), or one for each thread or process. To these, a kept connection that
lies idle is a place taken: what comes over any other one waits for its end. What a server holds is
found out by use alone, for a connection that has not carried a request yet proves nothing.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

_LEAST_PATIENCE: Final = 100_000_000  # ns; a busy machine holds a server up for tens of ms
_PATIENCE: Final = 3  # mean service times
_SMOOTHING: Final = 1 / 8
_OVERTAKEN: Final = 2  # times; once may be the order in which a server that was held up goes on
_CONFIRMATIONS: Final = 2  # one may be chance


@dataclass
class _Waiting:
    """A connection whose first request has not been answered."""

    sent: int
    patient_until: int
    overtaken_at: int
    overtaken: int = 0  # times, one after the other, by a request that was sent later


class Room:
    """Tells when a kept connection must end, so that those behind it are served.

    Attributes:
        held: the most connections that were seen to be served at once.
        limited: whether the server has been seen to serve no more than ``held``: one more was
            answered only when one of them had ended.

    All times are in ns of the monotonic clock.
    """

    __slots__ = ("_answered", "_answers", "_confirmed", "_made", "_patience", "_service",
                 "_waiting", "held", "limited")  # fmt: skip

    def __init__(self) -> None:
        """Know nothing yet."""
        self.held = 0
        self.limited = False
        self._waiting: dict[Hashable, _Waiting] = {}  # the longest first
        self._answered: set[Hashable] = set()
        self._service = 0.0
        self._patience = _LEAST_PATIENCE
        self._made = 0
        self._answers = 0
        self._confirmed = 0

    @property
    def all_known(self) -> bool:
        """Tell whether every open connection has been answered before."""
        return not self._waiting

    @property
    def keeps_none(self) -> bool:
        """Tell whether the server ends every connection with its answer."""
        return self._answers > 0 and not self.held

    def sent_first(self, connection: Hashable, now: int) -> None:
        """Take it that a new connection's first request was sent."""
        self._waiting[connection] = _Waiting(now, now + self._patience, now)

    def answered(self, connection: Hashable, sent: int, keep: bool, now: int) -> None:
        """Take it that a connection's request was answered; unless ``keep``, it has ended.

        While every open connection :attr:`is known <all_known>`, this need not be told of answers
        over those that are kept.
        """
        took = now - sent
        self._service += (took - self._service) * (_SMOOTHING if self._answers else 1.0)
        self._answers += 1
        before = self._patience
        self._patience = max(_LEAST_PATIENCE, int(_PATIENCE * self._service))
        waiting = self._waiting.pop(connection, None)
        if waiting is None:
            oldest = next(iter(self._waiting.values()), None)
            if oldest is not None and sent > oldest.overtaken_at:
                oldest.overtaken += 1
                oldest.overtaken_at = now
            if not keep:
                self._answered.discard(connection)
            return
        # Answered as soon as there was room, after a long wait: that was what it waited for.
        if self._made - waiting.sent >= before and now - self._made <= before:
            self._confirmed += 1
            self.limited = self._confirmed >= _CONFIRMATIONS
        if keep:
            self._answered.add(connection)
            if len(self._answered) > self.held:
                self.held = len(self._answered)
                self.limited = False
                self._confirmed = 0

    def ended(self, connection: Hashable) -> None:
        """Take it that a connection ended."""
        self._waiting.pop(connection, None)
        self._answered.discard(connection)

    def wanted(self, now: int, *, idle: bool) -> bool:
        """Tell whether a kept connection should end now, in favour of one that waits.

        ``idle``: whether it has not just been answered, but lies idle.
        """
        if not self._waiting or len(self._waiting) + len(self._answered) <= self.held:
            return False
        oldest = next(iter(self._waiting.values()))
        late = now >= oldest.patient_until and (idle or oldest.overtaken >= _OVERTAKEN)
        return self.limited or late

    def made(self, now: int) -> None:
        """Take it that a kept connection was ended because room was :meth:`wanted`."""
        self._made = now
        # Where this does not help, it waits for something else: it is tried ever more seldom.
        waiting = next(iter(self._waiting.values()))
        waiting.patient_until = now + 2 * (now - waiting.sent)
