"""What is made of the samples of a server's processes."""

import os
import subprocess
import sys
import time

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.measure.monitor import ResourceMonitor, _cpu_seconds, _due


def watched(*samples: tuple[float, float]) -> ResourceMonitor:
    """Return a monitor that has taken these samples: time and CPU time in seconds."""
    monitor = ResourceMonitor(list)
    monitor._cpu = {7: samples[-1][1]}
    monitor._samples = [
        (when, cpu, 1e6, 2 * when, 4 * when, 2 * when, 0.0) for when, cpu in samples
    ]
    return monitor


def test_the_peak_is_never_below_the_mean() -> None:
    # All the work was done before the first sample in the window, and after the last one.
    seen = watched((-0.1, 0.0), (0.2, 0.06), (0.45, 0.06), (0.7, 0.1)).resources(0.0, 0.6)
    assert seen.cpu_mean == pytest.approx(100 * (0.04 + 0.04 * 0.6) / 0.6)
    assert seen.series["cpu"] == [0.0]
    assert seen.cpu_peak == seen.cpu_mean


def test_the_peak_is_the_highest_between_two_samples() -> None:
    monitor = watched((0.0, 0.0), (0.25, 0.0), (0.5, 0.2), (0.75, 0.25), (1.0, 0.25))
    monitor._cpu = {7: 0.3}
    seen = monitor.resources(0.0, 1.0)
    assert seen.cpu_mean == pytest.approx(25.0)
    assert seen.cpu_peak == pytest.approx(80.0)


def test_what_others_used_is_all_but_the_servers_and_the_generators(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    monitor = watched((0.0, 0.0), (1.0, 0.5), (2.0, 1.0))
    # Two processors' worth was busy: half of one with the server, a quarter with the generator.
    assert monitor.resources(0.0, 2.0, generator=0.25).others_share == pytest.approx(1.25 / 4)
    monitor._cpus = (1, 3)
    seen = monitor.resources(0.0, 2.0, generator=0.25)
    assert seen.others_share == pytest.approx(1.25 / 2)
    assert seen.crowded
    alone = monitor.resources(0.0, 2.0, generator=1.6)
    assert (alone.others_share, alone.crowded) == (0.0, False)


@pytest.mark.parametrize(("generator", "others"), [(0.2, 0.6), (0.5, 0.6), (0.9, 0.2)])
def test_a_generator_beside_a_pinned_servers_processors_hides_no_other_program(
    generator: float, others: float
) -> None:
    monitor = ResourceMonitor(list, (0,))
    monitor._cpu = {7: 0.6}
    # Of the server's processor 0.9 s in a second are used, of another one 0.6 s.
    monitor._samples = [
        (t, 0.3 * t, 1e6, 1.5 * t, 2 * t, 0.9 * t, 0.1 * t) for t in (0.0, 1.0, 2.0)
    ]
    seen = monitor.resources(0.0, 2.0, generator=generator)
    assert seen.others_share == pytest.approx(others)


@pytest.mark.slow
def test_a_program_that_runs_beside_is_seen_on_its_processor() -> None:
    one = min(os.sched_getaffinity(0))
    busy = subprocess.Popen(["taskset", "-c", str(one), sys.executable, "-c", "while True: pass"])
    try:
        begun = time.monotonic()
        with ResourceMonitor(lambda: [os.getpid()], (one,)) as monitor:
            while psutil.Process(busy.pid).cpu_times().user < 0.3:
                time.sleep(0.05)
        seen = monitor.resources(begun, time.monotonic())
    finally:
        busy.kill()
        busy.wait()
    assert seen.crowded


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


def test_work_before_the_sample_at_the_start_does_not_count() -> None:
    monitor = watched((0.8, 0.0), (1.001, 0.19), (1.25, 0.19), (1.501, 0.24), (1.6, 0.3))
    seen = monitor.resources(1.0, 1.5)
    assert seen.cpu_mean == pytest.approx(100 * 0.05 / 0.5)
    assert seen.series["time"] == [0.25, 0.501]
    assert seen.series["cpu"] == pytest.approx([0.0, 100 * 0.05 / 0.251], abs=0.01)


def test_a_sample_soon_after_the_end_is_none_of_the_windows() -> None:
    monitor = watched((1.0, 0.0), (1.25, 0.0), (1.5, 0.0), (1.52, 0.02))
    seen = monitor.resources(1.0, 1.5)
    assert seen.series["cpu"] == [0.0, 0.0]
    assert seen.cpu_peak == seen.cpu_mean == 0.0


def test_steps_that_are_too_short_are_put_together() -> None:
    # The second sample was late, so that the next one came at once; and so was the last but one.
    monitor = watched((1.0, 0.0), (1.49, 0.1), (1.5, 0.11), (1.75, 0.11), (1.99, 0.2), (2.0, 0.21))
    seen = monitor.resources(1.0, 2.0)
    assert seen.series["time"] == [0.49, 0.75, 1.0]
    assert seen.series["cpu"] == pytest.approx(
        [100 * 0.1 / 0.49, 100 * 0.01 / 0.26, 100 * 0.1 / 0.25], abs=0.01
    )
    assert seen.cpu_mean == pytest.approx(21.0)


def test_a_window_of_one_step() -> None:
    seen = watched((1.0, 0.0), (1.04, 0.01), (1.1, 0.02)).resources(1.0, 1.1)
    assert seen.series["time"] == [0.1]
    assert seen.cpu_mean == pytest.approx(20.0)


def test_what_a_process_did_before_it_was_expected_does_not_count() -> None:
    known: list[int] = []
    with ResourceMonitor(lambda: known) as monitor:
        while not monitor._samples:
            time.sleep(0.01)
        known.append(os.getpid())  # a process that starts during the warm-up
        monitor.expect(start := time.monotonic() + 0.05, start + 0.3)
        while time.monotonic() < start + 0.3:
            time.sleep(0.01)
    at_start = next(cpu for when, cpu, *_ in monitor._samples if when >= start)
    assert at_start > 0.1  # what this process has taken so far


def test_cpu_times_where_the_clock_of_a_process_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(_: int) -> float:
        raise PermissionError

    own = psutil.Process()
    exact = _cpu_seconds(own)
    monkeypatch.setattr(time, "clock_gettime", forbidden)
    assert _cpu_seconds(own) == pytest.approx(exact, rel=0.2)
