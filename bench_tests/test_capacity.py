"""The capacity of each server: the highest rate that keeps the SLO, with its interval.

Deselected by default, as a search takes minutes: ``pytest bench_tests/ -m capacity``.
"""

from __future__ import annotations

import pytest

from pytest_servebench import FindCapacity, RunningServer


@pytest.mark.capacity
@pytest.mark.slo("p99<100ms", "success_rate>=99%")
@pytest.mark.servebench(buffer_sizes=50, capacity_budget="4min", capacity_range=(5, 2000))
def test_capacity(model_server: RunningServer, find_capacity: FindCapacity) -> None:
    find_capacity(model_server)
