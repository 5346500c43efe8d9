"""A server that stops for a while: all who arrived meanwhile have waited."""

import os
import signal
import time
from pathlib import Path

import pytest

from pytest_servebench.load.records import NEVER
from pytest_servebench.load.store import RecordStore
from simulation import known

pytestmark = pytest.mark.servers


def test_waiting_for_a_frozen_server_is_in_the_latencies(tmp_path: Path) -> None:
    frozen, rate = 1.0, 100.0
    events = [(1.0, signal.SIGSTOP), (1.0 + frozen, signal.SIGCONT)]

    with known.serve(tmp_path, 4, "fixed:0.002", seed=7) as server:

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
