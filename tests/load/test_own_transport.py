"""A second transport is one module and its name: the engine knows nothing of either."""

import asyncio
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_servebench.load.runner import run_load
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.store import Outcome
from pytest_servebench.load.target import Target
from pytest_servebench.load.transports import TRANSPORTS
from pytest_servebench.load.transports.base import Caller, Completion, Terms
from tests.load.echo_transport import FRAME
from tests.load.in_process import make_load

ECHO = "tests.load.echo_transport:Echo"


class Server:
    """Echoes frames after 20 to 60 ms: out of order. ``!`` is refused, and ``?`` ends the link."""

    def __init__(self) -> None:
        self.port = self.connections = self.at_once = self.most_at_once = 0
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _run(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        dice, tasks = random.Random(1), set()
        try:
            while True:
                number, length = FRAME.unpack(await reader.readexactly(FRAME.size))
                payload = await reader.readexactly(length)
                if payload == b"?" and self.connections == 1:
                    writer.transport.abort()
                    return
                wait = dice.uniform(0.02, 0.06)
                tasks.add(asyncio.ensure_future(self._answer(writer, number, payload, wait)))
        except asyncio.IncompleteReadError:
            pass
        finally:
            for task in tasks:
                task.cancel()

    async def _answer(
        self, writer: asyncio.StreamWriter, number: int, payload: bytes, wait: float
    ) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(wait)
        self.at_once -= 1
        status = b"\x01" if payload == b"!" else b"\x00"
        writer.write(FRAME.pack(number, 1 + len(payload)) + status + payload)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.start()
    yield server
    server.stop()


def spec_for(server: Server, *requests: bytes, transport: str = "echo") -> LoadSpec:
    return LoadSpec(
        target=Target("127.0.0.1", server.port), requests=requests, rate=100.0, duration=0.5,
        buffer_size=50, workers=8, seed=2, warmup=0.0, timeout=5.0, drain=2.0,
        transport=transport,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRANSPORTS, "echo", ECHO)


def test_channels_may_share_one_connection(server: Server) -> None:
    requests = (b"a", b"bc" * 5000, b"")
    made = make_load(spec_for(server, *requests))
    assert made.records.ok.all()
    assert server.connections == 1
    assert server.most_at_once > 2
    asked = {index: requests[made.payloads[index]] for index in made.answers}
    assert len(asked) >= 20
    assert made.answers == asked
    assert set(made.heads.values()) == {b"RAW"}
    assert made.received == sum(len(requests[number]) for number in made.payloads)


def test_the_transport_says_what_is_a_success(server: Server) -> None:
    made = make_load(spec_for(server, b"a", b"!"))
    refused = [requests == 1 for requests in made.payloads]
    assert (~made.records.ok).tolist() == refused
    assert made.records.status.tolist() == [int(one) for one in refused]
    assert made.failures == {"error_status: echo status 1": sum(refused)}


def test_what_a_lost_link_carried_goes_over_the_next(server: Server) -> None:
    made = make_load(spec_for(server, *[b"a"] * 9, b"?"))
    assert made.records.ok.all()
    assert server.connections == 2
    assert made.resent >= 1


GAP = 2_000_000  # ns between arrivals


class Batches:
    """A transport without a server: four answers in one turn of the event loop, slowly read."""

    shared = True
    opened = 0

    def __init__(self, target: Target, terms: Terms, loop: Any, woken: Any) -> None:
        self._loop = loop
        self._waiting: list[BatchChannel] = []

    async def prepare(self) -> None:
        pass

    async def open(self, caller: Caller) -> Any:
        return BatchChannel(self, caller)

    def head(self, head: bytes) -> bytes:
        return head

    def send(self, channel: "BatchChannel") -> None:
        self._waiting.append(channel)
        if len(self._waiting) == 4:
            batch, self._waiting = self._waiting, []
            self._loop.call_soon(self._answer, batch)

    def _answer(self, batch: list["BatchChannel"]) -> None:
        for channel in batch:
            ended = time.monotonic_ns()
            while time.monotonic_ns() < ended + 3 * GAP:
                pass
            if not channel.closed:
                channel.caller.answered(Completion(Outcome.OK, ended, ended, keep=True))


class BatchChannel:
    def __init__(self, transport: Batches, caller: Caller) -> None:
        self._transport = transport
        self.caller = caller
        self.closed = False

    def send(self, request: bytes, now: int) -> None:
        self._transport.send(self)

    def close(self) -> None:
        self.closed = True


def test_arrivals_do_not_wait_for_all_answers_that_have_come(server: Server) -> None:
    spec = replace(
        spec_for(server, b"", transport=f"{__name__}:Batches"), rate=1e9 / GAP, duration=0.1,
        workers=50, drain=0.1,
    )  # fmt: skip
    records = make_load(spec).records
    first = np.sort(records.done[records.ok])[:4]
    assert ((records.enqueued > first[0]) & (records.enqueued < first[3])).any()


def test_the_process_of_the_load_finds_it_and_imports_little_else(server: Server) -> None:
    load = run_load(spec_for(server, b"abc", transport="tests.load.echo_transport:Telling"))
    assert load.records.ok.all()
    assert set(load.answers.values()) == {b"abc"}
    loaded = {name.partition(".")[0] for name in next(iter(load.heads.values())).decode().split()}
    others = loaded - sys.stdlib_module_names - {"__main__", "tests"}
    assert others == {"pytest_servebench", "httptools", "uvloop"}, "no NumPy, psutil and the like"
    assert not loaded & {"argparse", "decimal", "email", "http", "tempfile", "zipfile"}
