"""The measuring device's verdict on itself: pure cases, and processes that are really held back."""

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest

from pytest_servebench.load import readings
from pytest_servebench.load.readings import Reading
from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.load.runner import LoadResult, run_load
from pytest_servebench.load.store import RecordStore
from pytest_servebench.load.validity import invalid_reason, lag_p99
from simulation.cases import calm_generator
from tests.load.test_misbehaving import OK, always, read_request, serving, spec_for
from tests.processes import GENERATOR, children_with

MAX_LAG = 0.010
NO_PAUSES = np.zeros(500)


def records(lag_ms: list[float], wait_ms: float = 0.0) -> Records:
    """Return requests 10 ms apart, taken up so late, that waited so long for a worker."""
    n = len(lag_ms)
    scheduled = np.arange(n, dtype=np.int64) * 10_000_000
    enqueued = scheduled + (np.array(lag_ms) * 1e6).astype(np.int64)
    dequeued = enqueued + int(wait_ms * 1e6)
    done = dequeued + 1_000_000
    return Records(
        scheduled=scheduled, enqueued=enqueued, dequeued=dequeued, sent=dequeued, first_byte=done,
        done=done, outcome=np.full(n, Outcome.OK, dtype=np.uint8),
        status=np.full(n, 200, dtype=np.int16), window=n * 10_000_000,
    )  # fmt: skip


def reason(rows: Records, pauses: npt.NDArray[np.float64] = NO_PAUSES, **changes: Any) -> str:
    """Return why a case is invalid; ``changes`` are of a calm generator."""
    return invalid_reason(rows, calm_generator(**changes), pauses, MAX_LAG) or ""


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(records([0.1] * 500), id="punctual"),
        pytest.param(records([0.1] * 500, wait_ms=5000), id="waiting for a busy server"),
        pytest.param(records([0.1] * 499 + [30]), id="one accident"),
        pytest.param(records([0.1] * 450 + [30] * 50), id="a tenth of the arrivals"),
        pytest.param(records([0.1] * 4 + [30]), id="one of five"),
        pytest.param(records([0.1] * 499 + [150]), id="a long pause, left to the clauses"),
    ],
)
def test_lateness_that_is_borne(rows: Records) -> None:
    assert reason(rows) == ""


def test_more_than_a_tenth_of_the_arrivals_late_makes_it_other_traffic() -> None:
    many = reason(records([0.1] * 449 + [30] * 51))
    assert "51 of 500 arrivals were more than 10 ms late (worst 30.0 ms)" in many
    assert "--servebench-max-lag" in many


def test_pauses_tell_where_hardly_anything_arrives() -> None:
    pauses = np.array([0.0001] * 440 + [0.05] * 60)
    assert "it paused 60 times for more than 10 ms" in reason(records([0.1] * 3), pauses)


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"throttled_seconds": 1.5}, ("CPU quota", "1.50 s")),
        ({"cpu_share": 0.97}, ("it used 97 %",)),
        ({"steal": 0.2}, ("steal", "20 %", "host")),
        ({"waited_seconds": 3.0}, ("it waited 3.00 s", "other processes", "priority: normal")),
        ({"waited_seconds": None}, ("counters do not show why",)),
    ],
)
def test_the_cause_is_named(changes: dict[str, Any], facts: tuple[str, ...]) -> None:
    found = reason(records([20.0] * 500), **changes)
    assert all(fact in found for fact in facts)
    assert "lower the rate" in found
    assert "allow real-time priority" in found  # which this one did not have


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stops": 1}, "was stopped by a signal once"),
        ({"stops": 3}, "was stopped by a signal 3 times"),
        ({"suspended_seconds": 12.0}, "the machine was suspended for 12.0 s"),
        ({"unaccounted": 7}, "7 of 10 arrivals were never taken up"),
    ],
)
def test_what_is_invalid_whatever_the_lag(changes: dict[str, Any], words: str) -> None:
    assert words in reason(records([0.1] * 10), **changes)


def test_a_clock_that_runs_backwards_is_invalid() -> None:
    good = records([0.1] * 10)
    good.done[3] = good.scheduled[3] - 1
    assert "1 requests were done before they arrived" in reason(good)


def test_lateness_while_idle_and_while_busy_are_told_apart() -> None:
    idle, busy = records([1.0] * 100), records([9.0] * 100, wait_ms=1)
    assert [round(lag, 6) if lag else lag for lag in lag_p99(idle)] == [0.001, None]
    assert [round(lag, 6) if lag else lag for lag in lag_p99(busy)] == [None, 0.009]
    idle.enqueued[:] = NEVER
    assert lag_p99(idle) == (None, None)


def test_readings_grow_and_give_shares() -> None:
    before = Reading.take()
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        pass
    strain = Reading.take().since(before)
    assert strain["elapsed"] >= 0.2
    assert 0 < strain["cpu_seconds"] <= strain["elapsed"] * 1.5
    for name in ("steal", "cpu_pressure", "memory_pressure", "io_pressure"):
        assert strain[name] is None or 0 <= strain[name] <= 1.5
    assert (away := strain["suspended_seconds"]) is None or abs(away) < 0.05


def test_readings_do_without_what_a_system_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(readings, "_read", lambda path: "")
    monkeypatch.setattr("sys.platform", "darwin")
    strain = Reading.take().since(Reading.take())
    unknown = {name for name, value in strain.items() if value is None}
    assert unknown >= {"waited_seconds", "throttled_seconds", "cpu_pressure", "suspended_seconds"}


@pytest.mark.parametrize(
    ("groups", "files", "seconds"),
    [
        ("0::/", {"cpu.stat": "usage_usec 1\nthrottled_usec 2500000\n"}, 2.5),
        ("0::/a/b", {"a/b/cpu.stat": "throttled_usec 1000000\n",
                     "a/cpu.stat": "throttled_usec 500000\n"}, 1.5),
        ("4:memory:/x\n2:cpu,cpuacct:/x", {"cpu/x/cpu.stat": "throttled_time 3000000000\n"}, 3.0),
        ("1:name=systemd:/", {}, None),
    ],
)  # fmt: skip
def test_throttling_is_read_from_either_version_of_control_groups(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    groups: str,
    files: dict[str, str],
    seconds: float | None,
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    own = tmp_path / "own"
    own.write_text(groups)
    read = readings._read
    monkeypatch.setattr(readings, "_CGROUPS", tmp_path)
    monkeypatch.setattr(
        readings, "_read", lambda path: read(own if path == Path("/proc/self/cgroup") else path)
    )
    assert readings._throttled() == (None if seconds is None else pytest.approx(seconds))


# -- really held back ---------------------------------------------------------------------------


def load(port: int, watch: Callable[[RecordStore], None] = lambda _: None) -> LoadResult:
    spec = spec_for(port, rate=100.0, duration=1.5, buffer_size=1000, drain=3.0)
    return run_load(spec, watch)


def generator_process() -> psutil.Process:
    return children_with(GENERATOR)[0]


def verdict(result: LoadResult) -> str | None:
    return invalid_reason(result.records, result.generator, result.pauses, MAX_LAG)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.02, 0.3])
def test_a_stopped_generator_is_invalid_however_short_the_stop(seconds: float) -> None:
    stopped = threading.Event()

    def stop(store: RecordStore) -> None:
        if store.start != NEVER and not stopped.is_set():
            stopped.set()
            child = generator_process()
            child.suspend()
            time.sleep(seconds)
            child.resume()

    with serving(always(OK)) as port:
        result = load(port, stop)
    found = verdict(result)
    assert found is not None
    assert "was stopped by a signal once" in found
    assert sum(result.records.counts().values()) == len(result.records)


def test_a_server_that_answers_nothing_for_a_while_is_valid() -> None:
    seen = itertools.count()

    def freezing(link: socket.socket) -> None:
        while True:
            read_request(link)
            if next(seen) == 20:
                time.sleep(0.7)
            link.sendall(OK)

    with serving(freezing) as port:
        result = load(port)
    assert verdict(result) is None
    assert result.records.latency().max() > 0.3


@pytest.mark.slow
def test_the_generator_ignores_ctrl_c() -> None:
    # What becomes of a load on Ctrl-C is pytest's decision; see test_interrupted too.
    interrupted = threading.Event()

    def interrupt(store: RecordStore) -> None:
        if store.start != NEVER and not interrupted.is_set():
            interrupted.set()
            os.kill(generator_process().pid, signal.SIGINT)

    with serving(always(OK)) as port:
        result = load(port, interrupt)
    assert result.records.counts()["ok"] == len(result.records)
