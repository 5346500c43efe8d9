"""The engine against servers whose queues have exact answers."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.load.store import RecordStore
from simulation import known, queueing

StartKnown = Callable[[int, str], known.Known]

pytestmark = pytest.mark.servers


@pytest.fixture
def start_known(tmp_path: Path) -> Iterator[StartKnown]:
    with ExitStack() as stack:
        yield lambda slots, law: stack.enter_context(known.serve(tmp_path, slots, law, seed=7))


def load(server: known.Known, **spec: Any) -> Records:
    return server.load(duration=12.0, seed=3, timeout=10.0, drain=5.0, **spec).records


def undisturbed(measure: Callable[[], Records], service: float) -> tuple[Records, float]:
    """Return the first of six measurements in which the server was as fast as it was told.

    Where others have the processors, its services take longer than the queue's law says. If they
    always had, it is the least disturbed one. Beside it stands the mean service that the queue
    really had, in seconds: the drawn one and the way there and back.
    """
    measured: list[tuple[float, Records]] = []
    for _ in range(6):
        records = measure()
        measured.append((float(records.service_time().mean()), records))
        if measured[-1][0] < 1.1 * service:
            break
    mean, records = min(measured, key=lambda one: one[0])
    assert mean == pytest.approx(service, rel=0.15)
    return records, mean


def mean_and_error(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean and its standard error by batch means, which neighbours' likeness needs."""
    batches = np.array([batch.mean() for batch in np.array_split(values, 25)])
    return float(values.mean()), float(batches.std(ddof=1) / np.sqrt(len(batches)))


def test_mmck_drop_rate_and_mean_wait(start_known: StartKnown) -> None:
    mean, workers, buffer_size, rate = 0.005, 2, 4, 360.0
    server = start_known(workers, f"exponential:{mean}")
    records, service = undisturbed(
        lambda: load(server, rate=rate, buffer_size=buffer_size, workers=workers), mean
    )
    exact = queueing.mmck(rate, 1 / service, workers, workers + buffer_size)
    dropped, error = mean_and_error((records.outcome == Outcome.DROPPED).astype(float))
    assert dropped == pytest.approx(exact.blocking, abs=4 * error)
    assert error < 0.3 * exact.blocking
    wait, error = mean_and_error(records.queue_wait())
    assert wait == pytest.approx(exact.mean_wait, abs=4 * error + 0.1 * exact.mean_wait)
    assert sum(records.counts().values()) == len(records)


def test_md1_mean_wait(start_known: StartKnown) -> None:
    mean, rate = 0.004, 150.0
    server = start_known(1, f"fixed:{mean}")
    records, service = undisturbed(
        lambda: load(server, rate=rate, buffer_size=1000, workers=1), mean
    )
    assert records.counts()["ok"] == len(records)
    wait, error = mean_and_error(records.queue_wait())
    assert wait == pytest.approx(queueing.md1_mean_wait(rate, service), abs=4 * error)


def test_waiting_for_a_frozen_server_is_in_the_latencies(start_known: StartKnown) -> None:
    """All who arrive while a server stops for a while have waited."""
    frozen, rate = 1.0, 100.0
    events = [(1.0, signal.SIGSTOP), (1.0 + frozen, signal.SIGCONT)]
    server = start_known(4, "fixed:0.002")

    def freeze(store: RecordStore) -> None:
        if store.start == NEVER:
            return
        while events and (left := store.start / 1e9 + events[0][0] - time.monotonic()) < 0.1:
            time.sleep(max(0.0, left))
            os.kill(server.pid, events.pop(0)[1])

    records = server.load(
        freeze, rate=rate, duration=3.0, buffer_size=500, workers=4, seed=3, timeout=10.0,
        drain=5.0,
    ).records  # fmt: skip
    latency = records.latency()
    assert records.counts()["ok"] == len(records)
    # Arrivals in the frozen second waited half of it on average, though most of them were sent
    # only after it: a closed loop would show four slow requests, one for each connection.
    waited = latency > 0.05
    assert waited.sum() > 0.7 * rate * frozen
    assert latency[waited].mean() == pytest.approx(frozen / 2, rel=0.4)
    assert latency.max() > 0.8 * frozen
    assert (records.service_time() > 0.1).sum() <= 4
