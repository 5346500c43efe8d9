"""What is made of the samples of a server's processes."""

from __future__ import annotations

import pytest

from pytest_servebench.monitor import ResourceMonitor


def test_the_peak_is_never_below_the_mean() -> None:
    monitor = ResourceMonitor(list)
    monitor._cpu = {7: 0.1}
    # All the work was done before the first sample in the window, and after the last one.
    for time, cpu in ((-0.1, 0.0), (0.2, 0.06), (0.45, 0.06), (0.7, 0.1)):
        monitor._samples.append((time, cpu, 1e6, 2 * time, 4 * time))
    seen = monitor.resources(0.0, 0.6)
    assert seen.cpu_mean == pytest.approx(100 * (0.04 + 0.04 * 0.6) / 0.6)
    assert seen.series["cpu"] == [0.0]
    assert seen.cpu_peak == seen.cpu_mean


def test_the_peak_is_the_highest_between_two_samples() -> None:
    monitor = ResourceMonitor(list)
    monitor._cpu = {7: 0.3}
    for time, cpu in ((0.0, 0.0), (0.25, 0.0), (0.5, 0.2), (0.75, 0.25), (1.0, 0.25)):
        monitor._samples.append((time, cpu, 1e6, 2 * time, 4 * time))
    seen = monitor.resources(0.0, 1.0)
    assert seen.cpu_mean == pytest.approx(25.0)
    assert seen.cpu_peak == pytest.approx(80.0)
