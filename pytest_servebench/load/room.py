"""How many connections a server serves at once, inferred from its answers.

Many servers serve a connection until it closes, and only a few at once: one
(``http.server.HTTPServer``), or one per thread or process. On these, an idle keep-alive connection
blocks a slot: requests over further connections wait until it closes. The limit can only be found
by use, as a connection that has carried no request yet proves nothing.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

_LEAST_PATIENCE: Final = 100_000_000  # ns; a busy machine delays a server by tens of ms
_PATIENCE: Final = 3  # mean service times
_SMOOTHING: Final = 1 / 8
_OVERTAKEN: Final = 2  # times; once may be the order in which a delayed server resumes
_CONFIRMATIONS: Final = 2  # one may be chance


@dataclass
class _Waiting:
    """A connection whose first request has not been answered."""

    sent: int
    patient_until: int
    overtaken_at: int
    overtaken: int = 0  # times in a row, by a request that was sent later


class Room:
    """Decides when to close a kept connection in favour of waiting ones.

    Attributes:
        held: the most connections seen to be served at once.
        limited: whether the server serves no more than ``held``: one more was answered only
            after one of them had closed.
        waiting: connections whose first request has not been answered, the longest first.

    Where connections are shared, ending a request's use of one makes no room for another: then
    nothing is ever :meth:`wanted`.

    All times are in ns of the monotonic clock.
    """

    __slots__ = ("_answered", "_answers", "_confirmed", "_made", "_patience", "_service",
                 "_shared", "held", "limited", "waiting")  # fmt: skip

    def __init__(self, *, shared: bool = False) -> None:
        self._shared = shared
        self.held = 0
        self.limited = False
        self.waiting: dict[Hashable, _Waiting] = {}
        self._answered: set[Hashable] = set()
        self._service = 0.0
        self._patience = _LEAST_PATIENCE
        self._made = 0
        self._answers = 0
        self._confirmed = 0

    @property
    def keeps_none(self) -> bool:
        """Return whether the server closes every connection after its answer."""
        return self._answers > 0 and not self.held

    def sent_first(self, connection: Hashable, now: int) -> None:
        """Note that a new connection's first request was sent."""
        self.waiting[connection] = _Waiting(now, now + self._patience, now)

    def answered(self, connection: Hashable, sent: int, keep: bool, now: int) -> None:
        """Note that a connection's request was answered; unless ``keep``, it was closed.

        While none is :attr:`waiting`, answers over kept connections need not be reported.
        """
        took = now - sent
        self._service += (took - self._service) * (_SMOOTHING if self._answers else 1.0)
        self._answers += 1
        before = self._patience
        self._patience = max(_LEAST_PATIENCE, int(_PATIENCE * self._service))
        waiting = self.waiting.pop(connection, None)
        if waiting is None:
            oldest = next(iter(self.waiting.values()), None)
            if oldest is not None and sent > oldest.overtaken_at:
                oldest.overtaken += 1
                oldest.overtaken_at = now
            if not keep:
                self._answered.discard(connection)
            return
        # Answered as soon as a slot was free, after a long wait: it waited for the slot.
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
        """Note that a connection closed."""
        self.waiting.pop(connection, None)
        self._answered.discard(connection)

    def wanted(self, now: int, *, idle: bool) -> bool:
        """Return whether to close a kept connection now, in favour of a waiting one.

        ``idle``: whether it is idle, rather than just answered.
        """
        if self._shared or not self.waiting or len(self.waiting) + len(self._answered) <= self.held:
            return False
        oldest = next(iter(self.waiting.values()))
        late = now >= oldest.patient_until and (idle or oldest.overtaken >= _OVERTAKEN)
        return self.limited or late

    def made(self, now: int) -> None:
        """Note that a kept connection was closed because a slot was :meth:`wanted`."""
        self._made = now
        # If this does not help, the request waits for something else: try less and less often.
        waiting = next(iter(self.waiting.values()))
        waiting.patient_until = now + 2 * (now - waiting.sent)
