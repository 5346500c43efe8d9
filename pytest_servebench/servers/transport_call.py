"""One request over one of the load's own transports, in an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Final

from pytest_servebench.errors import BadResponseError
from pytest_servebench.load.dialer import DialError
from pytest_servebench.load.store import Outcome
from pytest_servebench.load.target import Target, explained
from pytest_servebench.load.transports import transport_factory
from pytest_servebench.load.transports.base import Completion, Loss, Terms, WrongProtocolError
from pytest_servebench.protocols.base import Answer, Request
from pytest_servebench.servers.no_answer import NoAnswerError, too_long

_ANSWERED: Final = (Outcome.OK, Outcome.ERROR_STATUS, Outcome.TIMEOUT)
"""Outcomes of answers with a status: gRPC's DEADLINE_EXCEEDED is a timeout."""

_REMEDIES: Final = {
    "grpc": "give its port for gRPC, or its REST API with http://HOST:PORT",
    "http": "send HttpRequest to it, or give its port for HTTP/2",
}
"""Scheme to what to do about a server that does not speak HTTP/2."""


class TransportCall:
    """One request and its answer, which another thread may cut short.

    Attributes:
        outcome: the answer, or why there is none.
    """

    def __init__(self, target: Target, request: Request, timeout: float, most: int) -> None:
        self._target = target
        self._request = request
        self._timeout = timeout
        self._most = most
        self._lock = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Answer]] | None = None
        self._cut = False
        self.outcome: Answer | NoAnswerError = NoAnswerError("no answer")

    def run(self) -> None:
        """Send the request, and wait for the answer."""
        try:
            with asyncio.Runner() as runner:
                self.outcome = runner.run(self._guarded(runner.get_loop()))
        except asyncio.CancelledError:
            self.outcome = NoAnswerError(self.lateness())
        except NoAnswerError as error:
            self.outcome = error
        except Exception as error:  # none may be lost in a thread
            self.outcome = NoAnswerError(str(error) or type(error).__name__, final=True)

    def cut(self) -> None:
        """End all waits, and with them the connection."""
        with self._lock:
            self._cut = True
            if self._running is not None:
                loop, task = self._running
                with contextlib.suppress(RuntimeError):  # it has ended
                    loop.call_soon_threadsafe(task.cancel)

    def lateness(self) -> str:
        """Return what to say when time is up."""
        return f"no answer within {self._timeout:.3g} s"

    async def _guarded(self, loop: asyncio.AbstractEventLoop) -> Answer:
        task = loop.create_task(self._answer(loop))
        with self._lock:
            if self._cut:
                task.cancel()
            self._running = (loop, task)
        return await task

    async def _answer(self, loop: asyncio.AbstractEventLoop) -> Answer:
        request = self._request
        make = transport_factory(request.transport)
        terms = Terms(keep_alive=False, max_body=self._most, timeout=self._timeout)
        transport = make(self._target, terms, loop, lambda _: False)
        await transport.prepare()
        caller = _Caller(loop)
        try:
            channel = await transport.open(caller)
        except WrongProtocolError as error:
            raise NoAnswerError(f"{error}; {_REMEDIES[request.scheme]}", final=True) from None
        except OSError as error:
            final = isinstance(error, DialError) and error.final
            raise NoAnswerError(explained(error), final=final) from None
        try:
            channel.send(request.prepared(self._target, keep_alive=False), time.monotonic_ns())
            done = await caller.done
        finally:
            channel.close()
        return self._read(done, transport.head(done.head))

    def _read(self, done: Completion, head: bytes) -> Answer:
        if done.outcome not in _ANSWERED:
            # A call that ended before an answer began may get one as soon as the server is up.
            final = done.outcome == Outcome.BAD_RESPONSE and bool(done.began)
            raise NoAnswerError(done.reason, final=final)
        try:
            answer: Answer = self._request.answer(done.status, head, done.body)
        except BadResponseError as error:
            raise NoAnswerError(str(error), final=True) from None
        if len(answer.body) > self._most:
            raise too_long(self._most)
        return answer


class _Caller:
    """Awaits the end of one call."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[Completion] = loop.create_future()

    def answered(self, completion: Completion) -> None:
        if not self.done.done():
            self.done.set_result(completion)

    def lost(self, loss: Loss, reason: str, began: int) -> None:  # noqa: ARG002 - the interface's
        if not self.done.done():
            self.done.set_exception(NoAnswerError(reason))

    def refused(self) -> bool:
        """Ask no more often than that."""
        return False

    def held(self) -> None:
        """Wait on: there is a timeout."""

    def released(self) -> None:
        """Wait for the answer."""
