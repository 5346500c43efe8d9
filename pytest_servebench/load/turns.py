"""Sessions of several turns: which requests belong to which, and how they ended.

In the store, the first turns come in the order of their arrivals, and after them all later ones,
session by session, whether they will be sent or not. Records have those that were sent, in the
order of their arrivals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.choice import Chosen
from pytest_servebench.load.records_file import part_of
from pytest_servebench.load.store import NEVER, Outcome

Integers = npt.NDArray[np.int32]

_PREFIX: Final = "turn_"  # of the columns' names in a file
_COLUMNS: Final = ("session", "number", "planned")


def beginnings(think: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the requests that begin a conversation, ascending; of the others, ``think`` is set."""
    return np.flatnonzero(np.equal(think, NEVER))


@dataclass(frozen=True)
class Turns:
    """Which turn of which session each of n requests is.

    In a records file the columns are ``turn_session``, ``turn_number`` and ``turn_planned``.

    Attributes:
        session: number of the session, from 0 in the order in which they began; shape ``(n,)``.
        number: which turn of it, from 0; shape ``(n,)``.
        planned: how many turns its conversation has; shape ``(n,)``.
    """

    session: Integers
    number: Integers
    planned: Integers

    @property
    def dependent(self) -> npt.NDArray[np.bool_]:
        """Return which requests are later turns; shape ``(n,)``."""
        return self.number > 0

    def span(self, scheduled: npt.NDArray[np.int64]) -> float:
        """Return how long a session lasts, from its first arrival to its last, in ns.

        The mean over all requests: a session with many requests counts for each of them.

        Args:
            scheduled: arrivals of the n requests, ns; shape ``(n,)``.
        """
        if not len(scheduled):
            return 0.0
        first = np.full(int(self.session.max()) + 1, np.iinfo(np.int64).max)
        last = np.zeros_like(first)
        np.minimum.at(first, self.session, scheduled)
        np.maximum.at(last, self.session, scheduled)
        return float((last - first)[self.session].mean())

    def rows(self, which: npt.NDArray[np.int64]) -> Turns:
        """Return those of some rows, in that order."""
        return Turns(self.session[which], self.number[which], self.planned[which])

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays by their names in a records file."""
        return {_PREFIX + name: getattr(self, name) for name in _COLUMNS}

    @classmethod
    def read(cls, path: Path, arrivals: int) -> Turns | None:
        """Read them from a records file of that many requests; ``None`` if it has none.

        Raises:
            OSError: the file cannot be read.
            ValueError: they are not what :meth:`columns` returned.
        """
        if (part := part_of(path, _PREFIX, "session")) is None:
            return None
        turns = cls(**part.columns(dict.fromkeys(_COLUMNS, (np.int32, 1)), arrivals))
        if (problem := turns._problem()) is not None:
            part.refuse(problem)
        return turns

    def _problem(self) -> str | None:
        if (self.session < 0).any() or (self.session >= max(1, len(self.session))).any():
            return "session is not the number of a session"
        if (self.number < 0).any() or (self.number >= self.planned).any():
            return "number is not that of a planned turn"
        order = np.lexsort((self.number, self.session))
        session, number = self.session[order], self.number[order]
        follows = np.diff(session, prepend=-1) == 0
        if (number != np.where(follows, np.roll(number, 1) + 1, 0)).any():
            return "number has gaps, or repeats"
        return None


def laid_out(begun: Chosen, think: Sequence[int]) -> tuple[Chosen, Turns]:
    """Return the request of each row of the store, and which turn of which session it is.

    Args:
        begun: the first request of each session, in the order of their arrivals; shape ``(s,)``.
        think: of each request, ns from the end of the turn before, ``NEVER`` if it begins a
            conversation.
    """
    firsts = beginnings(think)
    lengths = np.diff(firsts, append=len(think))
    planned = lengths[np.searchsorted(firsts, begun)]
    further = planned - 1
    session = np.repeat(np.arange(len(begun)), further)
    number = np.arange(len(session)) - np.repeat(np.cumsum(further) - further, further) + 1
    payloads = np.concatenate([begun, (begun[session] + number).astype(np.uint32)])
    turns = Turns(
        *(
            np.concatenate(parts).astype(np.int32)
            for parts in (
                (np.arange(len(begun)), session),
                (np.zeros(len(begun)), number),
                (planned, planned[session]),
            )
        )
    )
    return payloads, turns


def asked(scheduled: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the rows of the store that were sent, in the order of their arrivals."""
    rows = np.flatnonzero(scheduled != NEVER)
    return rows[np.argsort(scheduled[rows], kind="stable")]


@dataclass(frozen=True)
class SessionCounts:
    """How sessions ended: each was completed, failed, or cut off by the end of the window.

    Attributes:
        begun: sessions, as many as the arrival process scheduled.
        completed: every turn was sent and succeeded.
        failed: a turn did not succeed: it was dropped, failed, or was still in flight at the end of
            the drain. Most sessions end with that turn; a fault of a streamed answer that was found
            after the load did not end its session.
        cut: none failed, but the next turn would have arrived after the window.
        dependent: requests that were later turns.
        lost_turns: later turns that were not sent because an earlier one failed.
        late_turns: later turns that were not sent because they would have arrived after the window.
    """

    begun: int
    completed: int
    failed: int
    cut: int
    dependent: int
    lost_turns: int
    late_turns: int

    @classmethod
    def of(cls, turns: Turns, outcome: npt.NDArray[np.uint8]) -> Self:
        """Count.

        Args:
            turns: of the n requests that were asked.
            outcome: of each; shape ``(n,)``.
        """
        # The turn of each session that was sent last.
        last = np.lexsort((turns.number, turns.session))
        last = last[np.append(np.diff(turns.session[last]) != 0, True)[: len(last)]]
        left = turns.planned[last] - 1 - turns.number[last]
        lost = outcome[last] != Outcome.OK
        failed = np.isin(turns.session[last], turns.session[outcome != Outcome.OK])
        return cls(
            begun=len(last),
            completed=int((~failed & (left == 0)).sum()),
            failed=int(failed.sum()),
            cut=int((~failed & (left > 0)).sum()),
            dependent=int(turns.dependent.sum()),
            lost_turns=int(left[lost].sum()),
            late_turns=int(left[~lost].sum()),
        )
