"""Answers that came while the generator could not run: the kernel knows for how long they lay."""

import asyncio
import dataclasses
import socket
import sys
import tempfile
import time

import numpy as np
import pytest

from pytest_servebench.load.engine import Engine
from pytest_servebench.load.records import Outcome, new_store
from pytest_servebench.load.tcp_info import unread_ns
from pytest_servebench.load.transports.http2 import connection
from tests.load.http2_wire import Talk, answer
from tests.load.in_process import run_engine
from tests.load.test_misbehaving import OK, always, serving, spec_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells it on Linux")

STALL = 0.06


@pytest.mark.slow
@pytest.mark.parametrize("timeout", [5.0, 0.05])
def test_what_lay_unread_is_known_and_no_timeout(timeout: float) -> None:
    """The event loop is held up again and again, while the server goes on in threads."""

    def stall() -> None:
        time.sleep(STALL)
        asyncio.get_running_loop().call_later(0.1, stall)

    with serving(always(OK, after=0.02)) as port:
        spec = spec_for(port, rate=60.0, duration=1.5, workers=8, warmup=0.2, timeout=timeout,
                        drain=5.0)  # fmt: skip
        engine, records, _ = run_engine(spec, begin=stall)
    assert engine.unread
    for index, nanoseconds in engine.unread.items():
        assert records.outcome[index] == Outcome.OK
        # The kernel counts in ticks.
        assert 5e6 < nanoseconds <= records.done[index] - records.sent[index] + 10e6
    punctual = dataclasses.replace(
        records, unread={i: ns / 1e9 for i, ns in engine.unread.items()}
    ).without_lag(0.01)
    assert (punctual.done[records.ok] >= records.scheduled[records.ok]).all()


def test_before_its_first_data_an_engine_has_slept_since_it_was_made() -> None:
    spec = spec_for(1, rate=1.0, duration=1.0)

    async def naps() -> list[int]:
        with tempfile.TemporaryFile() as file:
            store = new_store(file, np.zeros(1, np.int64), np.zeros(1, np.uint32), 1)
            engine = Engine(spec.job(frozenset()), store)
            now = time.monotonic_ns()
            found = [engine.woken(now + 1_000_000 * number) for number in range(3_000)]
            store.close()
            return found

    told = asyncio.run(naps())
    assert max(told) < 2e9
    assert told[-1] == 0


def test_connections_of_which_the_kernel_says_nothing() -> None:
    assert unread_ns(None) == 0
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert unread_ns(ours) == 0


def test_what_lay_unread_did_so_until_it_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two answers come in one read: the second is asked for when the first has taken its time."""
    talk, lay = Talk(2), 50_000_000
    now = read = time.monotonic_ns() + 1_000_000_000

    def ask_kernel(_: object) -> int:
        nonlocal now
        now += 20_000_000
        return lay + now - read

    monkeypatch.setattr(connection, "unread_ns", ask_kernel)
    monkeypatch.setattr(connection, "_clock", lambda: now)
    talk.connection._use = dataclasses.replace(talk.connection._use, woken=lambda _: True)
    for channel in range(2):
        talk.send(channel=channel)
    talk.feed(answer(1) + answer(3))
    assert [caller.end.unread for caller in talk.callers] == [lay, lay]
