"""The open-loop load generator: a schedule, a bounded buffer, and W workers.

Nothing that a server does moves an arrival: the generator wakes at each scheduled time, gives the
request to an idle worker, or to the buffer while all are busy, or drops it where the buffer is full
too. With buffer B and W workers this is the queue of an M/G/W/K system, K = B + W.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from pytest_servebench.load.device import Reading
from pytest_servebench.load.pacing import make_pacer
from pytest_servebench.load.records import Outcome, Phase, RecordStore
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.target import Dialer
from pytest_servebench.load.worker import FREE, Worker

_clock = time.monotonic_ns
_NS: Final = 1_000_000_000
_LEAD: Final = 50_000_000  # ns from the preparations to the clock's start, for all to get ready
_SHORTEST_TICK: Final = 0.005  # seconds between looks at deadlines
_LONGEST_TICK: Final = 0.05
_WARMUP_TICK: Final = 0.005
_WARMUP_PAUSE: Final = 0.02  # seconds after a request of the warm-up that failed
_KEPT_ERRORS: Final = 5
_KEPT_REASONS: Final = 50


class Engine:
    """One run of load; create it in a running event loop and await :meth:`run`."""

    def __init__(
        self, spec: LoadSpec, store: RecordStore, payloads: Sequence[int], sampled: set[int]
    ) -> None:
        """Prepare a run.

        Args:
            spec: what load to make.
            store: the schedule, and where the records go.
            payloads: for each arrival, the index of its request in ``spec.requests``.
            sampled: indices of the arrivals whose answers are kept.
        """
        self._timeout = int(spec.timeout * _NS)
        self._tick = min(_LONGEST_TICK, max(_SHORTEST_TICK, spec.timeout / 20))
        self.answers: dict[int, bytes] = {}
        self.error_answers: dict[int, bytes] = {}
        self.reasons: Counter[tuple[Outcome, str]] = Counter()
        self.pauses: list[int] = []
        self.resent = 0
        self.connections = 0
        self.received = 0
        self.pacing = ""
        self.before = self.after = Reading.take()
        self._spec = spec
        self._store = store
        self._requests = spec.requests
        self._payloads = payloads
        self._sampled = sampled
        self._buffer: deque[int] = deque()
        self._idle: list[Worker] = []
        self._arrivals = store.column("scheduled")
        self._enqueued = store.column("enqueued")
        self._dequeued = store.column("dequeued")
        self._sent = store.column("sent")
        self._first_byte = store.column("first_byte")
        self._done = store.column("done")
        self._outcome = store.column("outcome")
        self._status = store.column("status")
        self._next = 0
        self._ended = 0
        self._start = 0
        self._warming = False
        self._loop = asyncio.get_running_loop()
        self._all: list[Worker] = []

    async def run(self) -> None:
        """Connect, warm up, make the load, and drain."""
        dialer = Dialer(self._spec.target, self._loop)
        await dialer.look_up()
        self._all = [Worker(self, self._loop, dialer) for _ in range(self._spec.workers)]
        await self._warm_up()
        # A worker that has not got a connection by now is idle all the same: see Worker.
        self._idle = sorted(self._all, key=lambda worker: worker.connected)
        pacer = make_pacer(self._loop, self._arrive)
        self.pacing = pacer.name
        self.before = Reading.take()
        # What happened in the warm-up is nobody's business.
        self.resent = self.connections = self.received = 0
        self._start = _clock() + _LEAD
        self._store.start = self._start
        self._store.phase = Phase.RUNNING
        if len(self._arrivals):
            pacer.wake_at(self._start + self._arrivals[0])
        await self._watch()
        pacer.close()
        self.after = Reading.take()
        for worker in self._all:
            worker.stop()
        self._store.phase = Phase.FINISHED

    async def _watch(self) -> None:
        """Give up late requests until the last has ended, or the drain.

        The pauses between two looks tell, whatever the rate, whether this process could run.
        """
        window_end = self._start + int(self._spec.duration * _NS)
        last = window_end + int(self._spec.drain * _NS)
        now = _clock()
        while now < last and (now < window_end or self._ended < len(self._arrivals)):
            left = window_end - now
            planned = self._tick if left <= 0 else min(self._tick, max(left / _NS, 0.001))
            await asyncio.sleep(planned)
            woken = _clock()
            self.pauses.append(woken - now - int(planned * _NS))
            self._give_up_late()
            now = _clock()

    async def _warm_up(self) -> None:
        """Keep every worker busy, closed-loop, for the warm-up's time; then let all end."""
        self._store.phase = Phase.WARMING_UP
        # Even without a warm-up, connections are given a moment: the clock starts with them open.
        connect_by = _clock() + _NS
        while _clock() < connect_by and not all(worker.settled for worker in self._all):
            await asyncio.sleep(_WARMUP_TICK)
        if self._spec.warmup <= 0:
            return
        self._warming = True
        self._warmup_end = _clock() + int(self._spec.warmup * _NS)
        for number, worker in enumerate(self._all):
            self._send_warm_up(worker, number)
        while _clock() < self._warmup_end or any(worker.request != FREE for worker in self._all):
            await asyncio.sleep(_WARMUP_TICK)
            self._give_up_late()
        self._warming = False

    def _send_warm_up(self, worker: Worker, number: int) -> None:
        if not self._warming or worker.request != FREE or _clock() >= self._warmup_end:
            return
        request = self._requests[number % len(self._requests)]
        worker.send(number, request, _clock() + self._timeout)

    def _give_up_late(self) -> None:
        now = _clock()
        for worker in self._all:
            if worker.request != FREE and worker.deadline < now:
                worker.give_up()

    # -- arrivals ---------------------------------------------------------------------------

    def _arrive(self) -> int | None:
        """Take up every arrival whose time has come; return when the next one comes."""
        arrivals, start = self._arrivals, self._start
        size = len(arrivals)
        index = self._next
        now = _clock() - start
        while index < size and arrivals[index] <= now:
            self._next = index + 1
            self._enqueued[index] = now
            if self._idle:
                self._dispatch(self._idle.pop(), index, now)
            elif len(self._buffer) < self._spec.buffer_size:
                self._buffer.append(index)
            else:
                self._outcome[index] = Outcome.DROPPED
                self._done[index] = now
                self._ended += 1
            index += 1
            now = _clock() - start
        return start + arrivals[index] if index < size else None

    def _dispatch(self, worker: Worker, index: int, now: int) -> None:
        self._dequeued[index] = now
        deadline = self._start + now + self._timeout
        worker.send(index, self._requests[self._payloads[index]], deadline)

    # -- what workers report ------------------------------------------------------------

    def note_sent(self, index: int) -> int:
        """Stamp a request as written; return the stamp, in ns of the monotonic clock."""
        now = _clock()
        if not self._warming:
            self._sent[index] = now - self._start
        return now

    def finished(
        self,
        worker: Worker,
        index: int,
        outcome: Outcome,
        status: int,
        body: bytes,
        began: int,
        ended: int,
        reason: str = "",
    ) -> None:
        """Record the end of a request and give its worker the next one.

        ``began`` and ``ended``: first byte of the answer (0: none) and end of the request, in ns of
        the monotonic clock.
        """
        if self._warming:
            # A cold server may refuse its first requests; hammering it would not warm it sooner.
            if outcome is Outcome.OK:
                self._send_warm_up(worker, index)
            else:
                self._loop.call_later(_WARMUP_PAUSE, self._send_warm_up, worker, index)
            return
        start = self._start
        if began:
            self._first_byte[index] = began - start
        self._done[index] = ended - start
        self._outcome[index] = outcome
        self._status[index] = status
        self._ended += 1
        if index in self._sampled:
            self.answers[index] = body
        if outcome is not Outcome.OK:
            self._note_failure(index, outcome, status, body, reason)
        if self._buffer:
            self._dispatch(worker, self._buffer.popleft(), _clock() - start)
        else:
            self._make_idle(worker)

    def _note_failure(
        self, index: int, outcome: Outcome, status: int, body: bytes, reason: str
    ) -> None:
        """Keep why a request failed: kinds of failure, and some answers of HTTP errors."""
        kind = (outcome, reason or f"status {status}")
        if kind not in self.reasons and len(self.reasons) >= _KEPT_REASONS:
            kind = (outcome, "other reasons")
        self.reasons[kind] += 1
        if outcome is Outcome.HTTP_ERROR and len(self.error_answers) < _KEPT_ERRORS:
            self.error_answers[index] = body

    def connected(self, worker: Worker) -> None:
        """Prefer an idle worker that has a connection again over those that have none."""
        if worker in self._idle:
            self._idle.remove(worker)
            self._idle.append(worker)

    def lost_idle(self, worker: Worker) -> None:
        """Use an idle worker that lost its connection after those that have one."""
        if worker in self._idle:
            self._idle.remove(worker)
            self._idle.insert(0, worker)

    def _make_idle(self, worker: Worker) -> None:
        # Last in, first out: a worker used a moment ago is warm. Those unconnected go last.
        if worker.connected:
            self._idle.append(worker)
        else:
            self._idle.insert(0, worker)
