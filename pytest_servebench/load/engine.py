"""The open-loop load generator: a schedule, a bounded buffer, and W workers.

The server cannot delay an arrival: the generator wakes at each scheduled time and gives the request
to an idle worker, or to the buffer if all are busy, or drops it if the buffer is full too. With
buffer B and W workers this is an M/G/W/K queue with K = B + W.
"""

import asyncio
import dataclasses
import time
from collections import Counter, deque
from collections.abc import Set as AbstractSet
from typing import Final

from pytest_servebench.load.job import Job
from pytest_servebench.load.journal import JournalWriter
from pytest_servebench.load.limits import JOURNAL
from pytest_servebench.load.pacing import make_pacer
from pytest_servebench.load.readings import Reading
from pytest_servebench.load.room import Room
from pytest_servebench.load.store import NEVER, Outcome, Phase, RecordStore
from pytest_servebench.load.tcp_info import LEAST_UNREAD
from pytest_servebench.load.transports import transport_factory
from pytest_servebench.load.transports.base import Completion
from pytest_servebench.load.worker import FREE, Worker

_clock = time.monotonic_ns
_OK: Final = Outcome.OK  # looking up an enum member is slow
_NS: Final = 1_000_000_000
_LEAD: Final = 50_000_000  # ns from the preparations to the clock's start
_SHORTEST_TICK: Final = 0.005  # seconds between checks of the deadlines
_LONGEST_TICK: Final = 0.05
_PAUSE: Final = 1_000_000  # ns without activity, in which this process may not have run
# What lay unread then, and while what had accumulated was read, did so for twice as long at most.
_NAP: Final = LEAST_UNREAD // 2
_WARMUP_TICK: Final = 0.005
_CAUTIOUS_SHARE: Final = 0.25  # of the warm-up, before all workers are used
_WARMUP_PAUSE: Final = 0.02  # seconds after a failed warm-up request
_KEPT_REASONS: Final = 50
NO_MORE: Final = 2**63
"""A time in ns, later than any arrival."""


class Engine:
    """One run of load; create it in a running event loop and await :meth:`run`."""

    # A dictionary of so many attributes would be spread over memory. What each request needs comes
    # first, side by side: at low rates, a request's cost is the memory that it has to fetch.
    __slots__ = (  # noqa: RUF023 - by use
        "_arrivals", "_start", "_next", "_due", "_awake", "_in_doubt", "_nap", "_idle", "_buffer",
        "_enqueued", "_dequeued", "_sent", "_first_byte", "_done", "_outcome", "_status",
        "_requests", "_payloads", "_timeout", "_warming", "_ended", "_sampled", "opening",
        "received",
        "_all", "_expected", "_job", "_journal", "_loop", "_opened_before", "_pacer", "_room",
        "_store", "_tick", "_transport", "_warmed_up", "_warmup_end", "_width", "after", "answers",
        "before", "heads", "late_reading", "own_failures", "pacing", "pauses", "reasons", "resent",
        "unread",
    )  # fmt: skip

    def __init__(self, job: Job, store: RecordStore, journal: JournalWriter | None = None) -> None:
        """Prepare a run.

        Args:
            job: what load to make.
            store: the schedule, the choice of requests, and where the records go.
            journal: where streamed answers go.
        """
        self._timeout = int(job.timeout * _NS)
        self._tick = min(_LONGEST_TICK, max(_SHORTEST_TICK, job.timeout / 20))
        self.answers: dict[int, bytes] = {}
        self.heads: dict[int, bytes] = {}
        self.reasons: Counter[tuple[Outcome, str]] = Counter()
        self.pauses: list[int] = []
        self.unread: dict[int, int] = {}  # arrival to ns for which its answer lay unread
        self.late_reading: dict[int, int] = {}  # arrival to ns by which a part was read late
        self._awake = _clock()  # the first sleep has not been one since the machine's start
        self._in_doubt = self._nap = 0
        self.own_failures: Counter[str] = Counter()
        self.resent = 0
        self.opening = 0
        self.received = 0
        self.pacing = ""
        self.before = self.after = Reading.take()
        self._job = job
        self._store = store
        self._journal = journal
        self._requests = job.requests
        self._payloads = store.column("payload")
        self._sampled: AbstractSet[int] = job.sampled
        self._buffer: deque[int] = deque()
        # Last in, first out: a recently used worker is warm. Unconnected workers come last.
        self._idle: deque[Worker] = deque()
        self._arrivals = store.column("scheduled")
        self._enqueued = store.column("enqueued")
        self._dequeued = store.column("dequeued")
        self._sent = store.column("sent")
        self._first_byte = store.column("first_byte")
        self._done = store.column("done")
        self._outcome = store.column("outcome")
        self._status = store.column("status")
        self._next = 0
        self._due = NO_MORE  # when the next arrival is, ns of the monotonic clock
        self._expected = len(self._arrivals)
        self._ended = 0
        self._start = 0
        self._warming = False
        self._warmup_end = 0
        self._warmed_up = 0
        self._width = 0
        self._loop = asyncio.get_running_loop()
        make = transport_factory(job.transport)
        terms = dataclasses.replace(job.terms, timeout=job.timeout)
        self._transport = make(job.target, terms, self._loop, self.woken)
        self._room = Room(shared=self._transport.shared)
        self._opened_before = 0
        self._all: list[Worker] = []

    @property
    def connections(self) -> int:
        """Return how many connections were opened after the warm-up."""
        return self._transport.opened - self._opened_before

    async def run(self) -> None:
        """Warm up, generate the load, and drain."""
        await self._transport.prepare()
        self._all = [Worker(self, self._loop, self._transport, self._room)
                     for _ in range(self._job.workers)]  # fmt: skip
        self._idle.extend(self._all)
        if self._job.warmup > 0:
            await self._warm_up()
        self._pacer = pacer = make_pacer(self._loop, self._arrive)
        self.pacing = pacer.name
        self.before = Reading.take()
        # The warm-up does not count.
        self.resent = self.received = 0
        self._opened_before = self._transport.opened
        self.own_failures.clear()
        self._start = _clock() + _LEAD
        self._store.start = self._start
        self._store.phase = Phase.RUNNING
        if len(self._arrivals):
            pacer.wake_at(self._start + self._arrivals[0])
        await self._watch()
        pacer.close()
        self.after = Reading.take()
        for worker in self._all:
            if worker.request != FREE and (begun := worker.received()) is not None:
                self._note_begun(worker.request, begun)
            worker.withdraw()
        if self._journal is not None:
            self._journal.flush()
            if self._journal.lost:
                self.own_failures[JOURNAL] = self._journal.lost
        self._store.phase = Phase.FINISHED

    async def _watch(self) -> None:
        """Time out late requests until the last one, or the drain, has ended.

        The pauses between two checks show, whatever the rate, whether this process could run.
        """
        window_end = self._start + int(self._job.duration * _NS)
        last = window_end + int(self._job.drain * _NS)
        now = _clock()
        while now < last and (now < window_end or self._ended < self._expected):
            left = window_end - now
            planned = self._tick if left <= 0 else min(self._tick, max(left / _NS, 0.001))
            await asyncio.sleep(planned)
            woken = _clock()
            pause = woken - now - int(planned * _NS)
            self.pauses.append(pause)
            idle = woken - self._awake
            if (self.woken(woken) or idle > _PAUSE) and pause > _PAUSE:
                # Read what arrived meanwhile first: the server is not to blame for the delay.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            self._look_after()
            if self._journal is not None:
                self._journal.flush_some(woken)
            now = _clock()

    async def _warm_up(self) -> None:
        """Keep the workers busy, closed-loop, for the warm-up; then let all requests end.

        This opens the connections for the load. Each of them is used: an idle connection may take
        the slot of one with a request.
        """
        self._store.phase = Phase.WARMING_UP
        self._warming = True
        began = _clock()
        whole = int(self._job.warmup * _NS)
        self._warmup_end = began + whole
        while (now := _clock()) < self._warmup_end or len(self._idle) < len(self._all):
            if now < self._warmup_end:
                self._width = self._warm_up_width(now - began, whole)
                while self._idle and len(self._all) - len(self._idle) < self._width:
                    self._send_warm_up(self._idle.pop())
            else:
                # A connection that is still opening by now has warmed up nothing.
                for worker in self._all:
                    if worker.connecting:
                        worker.withdraw()
                        self._idle.appendleft(worker)
            await asyncio.sleep(_WARMUP_TICK)
            self._look_after()
        self._warming = False

    def _warm_up_width(self, elapsed: int, whole: int) -> int:
        """Return how many workers the warm-up uses: all, unless the server serves fewer.

        Until that is known, it uses twice as many as the server has served at once, for a time.
        """
        room = self._room
        if room.limited:
            return min(room.held + 1, len(self._all))  # one more, to check the limit
        if room.keeps_none or elapsed > whole * _CAUTIOUS_SHARE:
            return len(self._all)
        return 2 * room.held or 1

    def _send_warm_up(self, worker: Worker) -> None:
        number = self._warmed_up = self._warmed_up + 1
        # From the last one on: those of a trace come in order, and a server keeps prefixes.
        request = self._requests[-number % len(self._requests)]
        worker.send(number, request, _clock() + self._timeout)

    def _look_after(self) -> None:
        """Time out late requests, and close connections whose slot another one needs."""
        now = _clock()
        if len(self._idle) < len(self._all):
            for worker in self._all:
                if worker.request != FREE and worker.deadline < now:
                    worker.give_up()
        if self._room.waiting and self._room.wanted(now, idle=True):
            # The connection that has been idle the longest.
            unused = next((worker for worker in self._idle if worker.channel is not None), None)
            if unused is not None:
                unused.make_room(now)
                self.lost_idle(unused)

    # -- arrivals ---------------------------------------------------------------------------

    def _arrive(self) -> int | None:
        """Take up every arrival that is due; return when the next one is due."""
        arrivals, start = self._arrivals, self._start
        size = len(arrivals)
        index = self._next
        now = _clock() - start
        self.woken(start + now)
        self._due = NO_MORE  # what ends meanwhile leaves the others to this loop
        while index < size and arrivals[index] <= now:
            self._enqueued[index] = now
            if self._idle:
                self._dispatch(self._idle.pop(), index, now)
            elif len(self._buffer) < self._job.buffer_size:
                self._buffer.append(index)
            else:
                self._outcome[index] = Outcome.DROPPED
                self._done[index] = now
                self._ended += 1
            index += 1
            now = _clock() - start
        self._next = index
        if index == size:
            return None
        self._due = start + arrivals[index]
        return self._due

    def _dispatch(self, worker: Worker, index: int, now: int) -> None:
        self._dequeued[index] = now
        deadline = self._start + now + self._timeout
        worker.send(index, self._requests[self._payloads[index]], deadline)

    # -- what workers report ------------------------------------------------------------

    def woken(self, now: int) -> int:
        """Return for how many ns this process may have slept, or been kept from running.

        That is before ``now``, or so shortly before that what has accumulated meanwhile may not
        all be read; 0: it has not.
        """
        # A short one soon after a long one does not mean that all has been read.
        if (nap := now - self._awake) > _NAP and (nap > LEAST_UNREAD or now > self._in_doubt):
            self._in_doubt = now + nap
            self._nap = nap
        self._awake = now
        return self._nap if now <= self._in_doubt else 0

    def note_sent(self, index: int) -> int:
        """Stamp a request as written; return the stamp, in ns of the monotonic clock."""
        now = _clock()
        if not self._warming:
            self._sent[index] = now - self._start
        return now

    def note_held(self, index: int) -> None:
        """Take a stamp back: the request waits to be written."""
        if not self._warming:
            self._sent[index] = NEVER

    def finished(self, worker: Worker, index: int, completion: Completion) -> None:
        """Record the end of a request and give its worker the next one."""
        outcome = completion.outcome
        if self._warming:
            self._warmed(worker, outcome)
            return
        start = self._start
        if completion.began:
            self._first_byte[index] = completion.began - start
        self._done[index] = completion.ended - start
        self._outcome[index] = outcome
        self._status[index] = completion.status
        self._ended += 1
        self.received += len(completion.body)
        if completion.unread:
            self.unread[index] = completion.unread
        if index in self._sampled:
            self.answers[index] = completion.content()
            self.heads[index] = self._transport.head(completion.head)
        if outcome is not _OK:
            self._note_failure(completion)
        if self.opening and worker.channel is not None:
            worker = self._take_over(worker)
        if self._buffer:
            self._dispatch(worker, self._buffer.popleft(), _clock() - start)
        elif worker.channel is not None:
            self._idle.append(worker)
        else:
            self._make_idle(worker)
        if _clock() >= self._due:
            # Before the other answers that have come: the pacer's turn may be after them all.
            self._arrive()
        if completion.parts is not None:  # last: it takes time, which no request should wait for
            self.received += completion.parts.size
            self._keep(index, completion)

    def _note_begun(self, index: int, completion: Completion) -> None:
        """Record what had come of an answer when the drain ended."""
        if completion.began:
            self._first_byte[index] = completion.began - self._start
        self._status[index] = completion.status
        self._keep(index, completion)

    def _keep(self, index: int, completion: Completion) -> None:
        if completion.parts is not None and completion.parts.late:
            self.late_reading[index] = completion.parts.late
        if self._journal is not None:
            self._journal.add(index, completion)

    def _warmed(self, worker: Worker, outcome: Outcome) -> None:
        if outcome is not Outcome.OK:
            # A cold server may refuse its first requests; hammering it would not warm it sooner.
            self._loop.call_later(_WARMUP_PAUSE, self._make_idle, worker)
        elif _clock() < self._warmup_end and len(self._all) - len(self._idle) <= self._width:
            self._send_warm_up(worker)
        else:
            self._make_idle(worker)

    def _take_over(self, worker: Worker) -> Worker:
        """Send the oldest request that waits for a connection over a just freed worker's.

        Returns the worker that is free afterwards.
        """
        waiting = [other for other in self._all if other.takes_any]
        if not waiting:
            return worker
        oldest = min(waiting, key=lambda other: other.deadline)
        worker.take_over(oldest)
        return oldest

    def _note_failure(self, completion: Completion) -> None:
        """Count why a request failed."""
        kind = (completion.outcome, completion.reason)
        if kind not in self.reasons and len(self.reasons) >= _KEPT_REASONS:
            kind = (completion.outcome, "other reasons")
        self.reasons[kind] += 1

    def own_failure(self, name: str) -> None:
        """Count connections that failed on a limit of this machine."""
        self.own_failures[name] += 1

    def lost_idle(self, worker: Worker) -> None:
        """Move an idle worker that lost its connection behind the connected ones."""
        if worker in self._idle:
            self._idle.remove(worker)
            self._idle.appendleft(worker)

    def _make_idle(self, worker: Worker) -> None:
        if worker.channel is not None:
            self._idle.append(worker)
        else:
            worker.withdraw()
            self._idle.appendleft(worker)
