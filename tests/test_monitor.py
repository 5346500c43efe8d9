"""What is made of the samples of a server's processes."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.monitor import ResourceMonitor, _due


def test_the_peak_is_never_below_the_mean() -> None:
    monitor = ResourceMonitor(list)
    monitor._cpu = {7: 0.1}
    # All the work was done before the first sample in the window, and after the last one.
    for moment, cpu in ((-0.1, 0.0), (0.2, 0.06), (0.45, 0.06), (0.7, 0.1)):
        monitor._samples.append((moment, cpu, 1e6, 2 * moment, 4 * moment))
    seen = monitor.resources(0.0, 0.6)
    assert seen.cpu_mean == pytest.approx(100 * (0.04 + 0.04 * 0.6) / 0.6)
    assert seen.series["cpu"] == [0.0]
    assert seen.cpu_peak == seen.cpu_mean


def test_the_peak_is_the_highest_between_two_samples() -> None:
    monitor = ResourceMonitor(list)
    monitor._cpu = {7: 0.3}
    for moment, cpu in ((0.0, 0.0), (0.25, 0.0), (0.5, 0.2), (0.75, 0.25), (1.0, 0.25)):
        monitor._samples.append((moment, cpu, 1e6, 2 * moment, 4 * moment))
    seen = monitor.resources(0.0, 1.0)
    assert seen.cpu_mean == pytest.approx(25.0)
    assert seen.cpu_peak == pytest.approx(80.0)


@given(st.floats(0, 50), st.floats(0.01, 60), st.floats(-5, 100))
def test_samples_are_regular_and_leave_out_no_end_of_the_window(
    start: float, length: float, last: float
) -> None:
    window = (start, start + length)
    due = _due(last, window)
    assert last < due <= last + 0.375 + 1e-9  # half an interval more, where one was late
    for end in window:
        assert not last < end < due - 1e-9
    interval = length / -(-length // 0.25)
    assert due - last >= interval / 2 - 1e-9 or due in window


_BUSY_THEN_IDLE = """
import sys, time
print("up", flush=True)
sys.stdin.readline()
until = time.process_time() + 0.4
while time.process_time() < until:
    pass
print("idle", flush=True)
sys.stdin.readline()
"""


def test_work_before_the_window_does_not_count() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _BUSY_THEN_IDLE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        with ResourceMonitor(lambda: [process.pid]) as monitor:
            print(file=process.stdin, flush=True)
            process.stdout.readline()
            start = time.monotonic() + 0.05
            monitor.expect(start, start + 1.0)
            time.sleep(1.1)
        print(file=process.stdin, flush=True)
    seen = monitor.resources(start, start + 1.0)
    assert seen.cpu_mean is not None
    assert seen.cpu_mean < 1.0  # percent; without a sample at the start, some 3 to 6
    assert seen.series["time"] == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=0.1)
