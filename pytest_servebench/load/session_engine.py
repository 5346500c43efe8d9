"""The generator of sessions: open loop between sessions, closed loop within one.

Sessions begin as the schedule says. Each later turn arrives a think time after the end of the
previous turn, and is handled like any arrival: it goes to an idle worker or into the buffer, or is
dropped. A session whose user thinks holds no worker.
"""

from __future__ import annotations

import time
from array import array
from heapq import heappop, heappush, heapreplace
from random import Random
from typing import Final

from pytest_servebench.load.engine import NO_MORE, Engine
from pytest_servebench.load.histories import Histories
from pytest_servebench.load.job import Job
from pytest_servebench.load.journal import JournalWriter
from pytest_servebench.load.store import NEVER, Outcome, RecordStore
from pytest_servebench.load.transports.base import Completion
from pytest_servebench.load.worker import Worker

_clock = time.monotonic_ns
_OK: Final = Outcome.OK  # looking up an enum member is slow


class SessionEngine(Engine):
    """A separate engine, so that loads without sessions do no extra work per request.

    The store has the first turns in the order of their arrivals, and after them all later ones,
    session by session; these get their arrival time when the previous turn has ended.
    """

    __slots__ = (
        "_begun", "_following", "_histories", "_kept", "_lot", "_think", "_thinking", "_window",
    )  # fmt: skip

    def __init__(self, job: Job, store: RecordStore, journal: JournalWriter | None = None) -> None:
        """See :class:`Engine`; ``job.think`` says which requests are later turns."""
        super().__init__(job, store, journal)
        begun = len(self._arrivals)
        while begun and self._arrivals[begun - 1] == NEVER:
            begun -= 1
        self._begun = self._expected = begun
        self._window = store.window
        self._think = job.think
        self._following = _following(self._payloads, begun, job.think)
        self._thinking: list[tuple[int, int]] = []  # a heap of when which row arrives
        self._histories = Histories(job) if job.reader else None
        self._sampled: set[int] = set()
        self._kept: list[
            tuple[float, int]
        ] = []  # a heap of random numbers and rows, the highest first
        self._lot = Random(sum(job.sampled)).random

    def _arrive(self) -> int | None:
        """See :class:`Engine`; turns and beginnings are taken up in the order of their times."""
        arrivals, start, thinking = self._arrivals, self._start, self._thinking
        size = self._begun
        now = _clock() - start
        self.woken(start + now)
        self._due = NO_MORE  # what ends meanwhile leaves the others to this loop
        while True:
            index = self._next
            begins = arrivals[index] if index < size else NO_MORE
            when = min(begins, thinking[0][0]) if thinking else begins
            if when > now:
                break
            if when == begins:
                self._next = index + 1
            else:
                _, index = heappop(thinking)
            self._take_up(index, now)
            now = _clock() - start
        if when == NO_MORE:
            return None
        self._due = start + when
        return self._due

    def _take_up(self, index: int, now: int) -> None:
        self._enqueued[index] = now
        if self._idle:
            self._dispatch(self._idle.pop(), index, now)
        elif len(self._buffer) < self._job.buffer_size:
            self._buffer.append(index)
        else:
            self._outcome[index] = Outcome.DROPPED
            self._done[index] = now
            self._ended += 1
            if self._histories:
                self._histories.ends(index)

    def _dispatch(self, worker: Worker, index: int, now: int) -> None:
        if self._histories is None or (request := self._histories.take(index)) is None:
            super()._dispatch(worker, index, now)
            return
        self._dequeued[index] = now
        worker.send(index, request, self._start + now + self._timeout)

    def finished(self, worker: Worker, index: int, completion: Completion) -> None:
        """See :class:`Engine`; if the request succeeded, the session's next turn gets its time.

        A turn that would arrive after the window is not sent, as no session begins there either.
        """
        if self._job.sampled and not self._warming:
            self._draw(index)
        super().finished(worker, index, completion)
        if not (self._warming or self._goes_on(index, completion)) and self._histories:
            self._histories.ends(index)

    def _draw(self, index: int) -> None:
        """Draw whether an answer is kept, although the number of turns is not known in advance.

        Each gets a random number, and those with the lowest ones are kept: in the end, all answers
        are equally likely to be kept (reservoir sampling; Vitter 1985, ACM TOMS 11:37).
        """
        mine = (-self._lot(), index)
        if len(self._kept) < len(self._job.sampled):
            heappush(self._kept, mine)
        elif mine > self._kept[0]:
            _, given_up = heapreplace(self._kept, mine)
            self._sampled.discard(given_up)
            self.answers.pop(given_up, None)
            self.heads.pop(given_up, None)
        else:
            return
        self._sampled.add(index)

    def _goes_on(self, index: int, completion: Completion) -> bool:
        """Schedule the turn after one; return whether there is any."""
        if completion.outcome is not _OK or not (row := self._following[index]):
            return False
        request = self._payloads[row]
        when = self._done[index] + self._think[request]
        if when >= self._window:
            return False
        if self._histories:
            body = completion.content()
            if not self._histories.goes_on(index, row, request, body):
                return False  # an unreadable answer is a failure, which is found after the load
        self._arrivals[row] = when
        self._expected += 1
        heappush(self._thinking, (when, row))
        if self._start + when < self._due:
            self._due = self._start + when
            self._pacer.wake_at(self._due)
        return True


def _following(payloads: memoryview[int], begun: int, think: tuple[int, ...]) -> array[int]:
    """Return the row of each row's next turn; 0 for a last one."""
    following = array("q", bytes(8 * len(payloads)))
    further = begun
    for first in range(begun):
        row, request = first, payloads[first] + 1
        while request < len(think) and think[request] != NEVER:
            following[row] = further
            row, request, further = further, request + 1, further + 1
    return following
