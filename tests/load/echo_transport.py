"""A transport of the tests' own: an echo in frames, all channels over one connection.

A frame is a number (4 bytes), a length (4) and a payload. The answer has the number of its request,
a status (1 byte: 0 for success) and the payload again; answers may overtake each other.
"""

import asyncio
import itertools
import struct
import sys
import time
from collections.abc import Callable
from typing import Final, cast

from pytest_servebench.load.dialer import Dialer
from pytest_servebench.load.store import Outcome
from pytest_servebench.load.target import Target
from pytest_servebench.load.transports import transport_factory
from pytest_servebench.load.transports.base import Caller, Completion, Loss, Terms

FRAME: Final = struct.Struct(">II")


class Link(asyncio.Protocol):
    def __init__(self, woken: Callable[[int], int]) -> None:
        self.waiting: dict[int, Channel] = {}
        self.numbers = itertools.count()
        self.transport: asyncio.Transport | None = None
        self._woken = woken
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self._woken(now)
        self._data += data
        while len(self._data) >= FRAME.size:
            number, length = FRAME.unpack_from(self._data)
            end = FRAME.size + length
            if len(self._data) < end:
                return
            frame, self._data = self._data[FRAME.size : end], self._data[end:]
            if (channel := self.waiting.pop(number, None)) is not None:
                channel.answer(frame, now)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        waiting, self.waiting = self.waiting, {}
        for channel in waiting.values():
            channel.caller.lost(Loss.UNSEEN, "the link broke", 0)


class Channel:
    def __init__(self, link: Link, caller: Caller) -> None:
        self.caller = caller
        self._link = link
        self._number = -1

    def send(self, request: bytes, now: int) -> None:
        link = self._link
        if link.transport is None:  # which an idle channel has not been told
            self.caller.lost(Loss.UNSEEN, "the link broke", 0)
            return
        self._number = next(link.numbers)
        link.waiting[self._number] = self
        link.transport.write(FRAME.pack(self._number, len(request)) + request)

    def answer(self, frame: bytes, now: int) -> None:
        status = frame[0]
        end = Completion(Outcome.OK, now, now, status, b"raw", frame[1:], keep=True)
        if status:
            end.outcome, end.reason = Outcome.ERROR_STATUS, f"echo status {status}"
        self.caller.answered(end)

    def close(self) -> None:
        self._link.waiting.pop(self._number, None)


class Echo:
    shared = True

    def __init__(
        self,
        target: Target,
        terms: Terms,
        loop: asyncio.AbstractEventLoop,
        woken: Callable[[int], int],
    ) -> None:
        self._dialer = Dialer(target, loop)
        self._woken = woken
        self._link: Link | None = None
        self.opened = 0
        self._lock = asyncio.Lock()

    async def prepare(self) -> None:
        await self._dialer.look_up()

    async def open(self, caller: Caller) -> Channel:
        async with self._lock:
            if self._link is None or self._link.transport is None:
                self._link = await self._dialer.open(lambda: Link(self._woken))
                self.opened += 1
            return Channel(self._link, caller)

    def head(self, head: bytes) -> bytes:
        return head.upper()


class Telling(Echo):
    """Tells what its process has imported, HTTP/1.1 included, in the head of each answer."""

    def head(self, head: bytes) -> bytes:
        transport_factory("http/1.1")
        return " ".join(
            name for name, module in sys.modules.items() if getattr(module, "__file__", None)
        ).encode()
