"""Waking up at absolute times, with a timerfd and with the fallback."""

import asyncio
import dataclasses
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from pytest_servebench.load import engine as engine_module
from pytest_servebench.load import pacing
from pytest_servebench.load.pacing import (
    LoopPacer,
    TimerfdPacer,
    make_pacer,
    set_priority,
    stop_tracers,
)
from pytest_servebench.load.runner import run_load
from pytest_servebench.load.target import Target
from pytest_servebench.system import python_child
from tests.load.in_process import run_engine
from tests.load.test_misbehaving import OK, always, serving, spec_for

SPEC = spec_for(0, rate=100.0, duration=0.3, buffer_size=50)


@pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux's")
@pytest.mark.parametrize("kind", [TimerfdPacer, LoopPacer])
def test_pacer_wakes_at_each_time_and_then_no_more(
    kind: type[TimerfdPacer] | type[LoopPacer],
) -> None:
    async def run() -> list[int]:
        start = time.monotonic_ns()
        due = [start + delay * 1_000_000 for delay in (5, 10, 10, 40)]
        woken = []

        def wake() -> int | None:
            now = time.monotonic_ns()
            while due and due[0] <= now:
                woken.append(now - due.pop(0))
            return due[0] if due else None

        pacer = kind(asyncio.get_running_loop(), wake)
        pacer.wake_at(due[0])
        await asyncio.sleep(0.2)
        pacer.close()
        pacer.close()  # closing twice is harmless
        return woken

    woken = asyncio.run(run())
    assert len(woken) == 4
    assert min(woken) >= 0  # never early


class Machine:
    """A clock that moves on when it is read, and an event loop whose wake-ups are late."""

    def __init__(self) -> None:
        self.now = 10**9
        self.reader: Callable[[], None]

    def clock(self) -> int:
        self.now += 50
        return self.now

    def add_reader(self, _: int, reader: Callable[[], None]) -> None:
        self.reader = reader

    def remove_reader(self, _: int) -> None: ...


@pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux's")
def test_the_timer_is_ahead_by_the_third_quartile_of_the_lateness(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine()
    monkeypatch.setattr(pacing, "_clock", machine.clock)
    pacer = TimerfdPacer(cast(asyncio.AbstractEventLoop, machine), lambda: None)
    monkeypatch.setattr(pacer, "_settime", lambda *_: None)

    def sleep(time: int) -> tuple[int, int]:
        """Set the timer; return the time, and how far ahead of it the timer expires."""
        pacer.wake_at(due := machine.now + time)
        return due, due - pacer._value[2] * 10**9 - pacer._value[3]

    def run(*latenesses: int) -> list[int]:
        """Return how late the wake-ups were in the end."""
        lags = []
        for lateness in latenesses * (1000 // len(latenesses)):
            due, ahead = sleep(10**6)
            machine.now = due - ahead + lateness
            machine.reader()
            lags.append(machine.now - due)
        assert min(lags) >= 0  # never early
        return lags[-100:]

    assert max(run(10_000, 20_000, 30_000, 40_000)) < 11_000
    assert 30_000 < sleep(10**6)[1] < 40_000
    assert sleep(100_000)[1] == 0  # a processor that is still awake
    due, _ = sleep(10**9)
    machine.reader()  # for an expiry of before: it does not wait for the new one
    assert machine.now < due - 9 * 10**8
    assert max(run(1_000)) < 1_500  # on a machine that has become prompt
    run(5_000_000)  # and on one that has become busy
    assert sleep(10**6)[1] == 45_000
    pacer.close()


def test_fallback_where_there_is_no_timerfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())  # has no such function

    async def run() -> str:
        return make_pacer(asyncio.get_running_loop(), lambda: None).name

    assert asyncio.run(run()) == "event loop timers"


def test_the_engine_runs_on_asyncio_and_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "make_pacer", LoopPacer)
    with serving(always(OK)) as port:
        spec = dataclasses.replace(SPEC, target=Target("127.0.0.1", port))
        made, records, _ = run_engine(spec, asyncio.run)
    assert made.pacing == "event loop timers"
    assert records.counts()["ok"] == len(records) > 10
    assert (records.enqueued >= records.scheduled).all()


def test_the_generator_runs_without_uvloop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError('not here')\n")
    path = [str(tmp_path), *python_child.package_path("pytest_servebench")]
    monkeypatch.setattr(python_child, "package_path", lambda _: path)
    with serving(always(OK)) as port:
        result = run_load(dataclasses.replace(SPEC, target=Target("127.0.0.1", port)))
    assert result.generator.event_loop == "asyncio"
    assert result.records.counts()["ok"] == len(result.records)


def test_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(os, "sched_setscheduler", lambda *what: asked.append(what))
    assert set_priority("normal") == "normal"
    assert not asked
    assert set_priority("auto") == set_priority("realtime") == "SCHED_FIFO 1"
    assert [what[1] for what in asked] == [os.SCHED_FIFO] * 2


def test_priority_that_the_system_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert set_priority("auto") == "normal"
    with pytest.raises(PermissionError):
        set_priority("realtime")


def test_tracers_are_stopped() -> None:
    before = sys.gettrace(), sys.getprofile()
    try:
        sys.settrace(lambda *_: None)
        sys.setprofile(lambda *_: None)
        stop_tracers()
        assert (sys.gettrace(), sys.getprofile()) == (None, None)
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
