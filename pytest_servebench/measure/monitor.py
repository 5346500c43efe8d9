"""CPU and memory of a server's process tree, and of its host, while a case runs."""

import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psutil

from pytest_servebench.runs.results import Resources

_INTERVAL: Final = 0.25  # seconds between samples
_RESCAN: Final = 8  # samples between two scans for new processes, the most expensive part
_LATE: Final = 0.05  # seconds after an end of the window in which a sample still counts for it


Times = npt.NDArray[np.float64]


class ResourceMonitor:
    """Samples a process tree from its own thread, between enter and exit.

    CPU comes from cumulative times: nothing between two samples is missed, and a process that ends
    keeps the time that it had when last seen. Memory is the sum of the resident sets: shared pages
    are counted once per process.

    Both ends of the window get a sample, see :meth:`expect`: the warm-up just before it keeps the
    server as busy as possible, and must not count.
    """

    def __init__(self, pids: Callable[[], list[int]], cpus: Sequence[int] = ()) -> None:
        """Watch the processes that ``pids`` returns, and the ``cpus`` on which they may run.

        Without ``cpus``, these are all of the machine's.
        """
        self._pids = pids
        self._cpus = tuple(cpus)
        self._processes: dict[int, psutil.Process] = {}
        self._cpu: dict[int, float] = {}
        self._samples: list[tuple[float, ...]] = []  # one of each column that resources() reads
        self._window: tuple[float, float] | None = None
        self._stopped = self._expected = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._watch, name="servebench-monitor", daemon=True)

    def __enter__(self) -> "ResourceMonitor":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def expect(self, start: float, end: float) -> None:
        """Take samples at both ends of a window, in seconds of the monotonic clock."""
        if self._window != (start, end):
            with self._changed:
                self._window = (start, end)
                self._expected = True
                self._changed.notify()

    def _watch(self) -> None:
        self._rescan()
        count = 0
        while not self._stopped:
            self._sample()
            count += 1
            if self._wait() or count % _RESCAN == 0:
                self._rescan()  # after a sample, which it must not delay
        self._sample()

    def _wait(self) -> bool:
        """Wait until the next sample is due, or until the end.

        Return ``True`` at once when a window is announced: its processes must be known by its
        start, or their earlier CPU time would count.
        """
        last = time.monotonic()
        with self._changed:
            while not self._stopped:
                if self._expected:
                    self._expected = False
                    return True
                left = _due(last, self._window) - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return False

    def _rescan(self) -> None:
        for pid in self._pids():
            if pid not in self._processes:
                try:
                    self._processes[pid] = psutil.Process(pid)
                except psutil.NoSuchProcess:
                    continue

    def _sample(self) -> None:
        memory = 0
        for pid, process in list(self._processes.items()):
            try:
                with process.oneshot():
                    self._cpu[pid] = _cpu_seconds(process)
                    memory += process.memory_info().rss
            except psutil.Error:
                del self._processes[pid]
        each = [_busy_and_total(times) for times in psutil.cpu_times(percpu=True)]
        busy, total = (sum(column) for column in zip(*each, strict=True))
        here = sum(each[cpu][0] for cpu in self._served_by(len(each)))
        used = sum(self._cpu.values())
        own = time.process_time()
        self._samples.append((time.monotonic(), used, float(memory), busy, total, here, own))

    def _served_by(self, processors: int) -> Sequence[int]:
        known = self._cpus and max(self._cpus) < processors
        return self._cpus if known else range(processors)

    def resources(self, start: float, end: float, *, generator: float = 0.0) -> Resources:
        """Return what was used between two times of the monotonic clock, in seconds.

        ``generator``: CPU time of the load generator in that time, as a share of one processor.
        """
        samples = np.array(self._samples)
        if len(samples) < 2:
            return Resources(None, None, None, None, None)
        when, cpu, memory, busy, total, here, own = samples.T
        window = np.interp([start, end], when, total)
        host = 100 * np.diff(np.interp([start, end], when, busy))[0] / max(np.diff(window)[0], 1e-9)
        first, last = _sampled(when, start), _sampled(when, end)
        inside = _whole_steps(when, first, last)
        if not self._cpu or len(inside) < 2:
            return Resources(None, None, None, None, float(host))
        spent = np.diff(np.interp([first, last], when, cpu))[0]
        times, used = when[inside], cpu[inside]
        load = 100 * np.diff(used) / np.diff(times)
        host_load = 100 * np.diff(busy[inside]) / np.maximum(np.diff(total[inside]), 1e-9)
        mean = float(100 * spent / (last - first))
        around, elsewhere, ours = (
            np.diff(np.interp([first, last], when, column))[0] / (last - first)
            for column in (here, busy - here, own)
        )
        # Where they ran is not known: the scheduler puts them where the server is not.
        ours = max(0.0, ours + generator - elsewhere)
        others = around - spent / (last - first) - ours
        return Resources(
            cpu_mean=mean,
            # In a short window, much happens before its first and after its last sample.
            cpu_peak=max(float(load.max()), mean),
            memory_mean=float(memory[inside].mean()),
            memory_peak=float(memory[inside].max()),
            host_cpu_mean=float(host),
            others_share=max(0.0, float(others)) / len(self._served_by(psutil.cpu_count() or 1)),
            series={
                "time": [round(float(value), 3) for value in times[1:] - start],
                "cpu": [round(float(value), 2) for value in load],
                "memory": [float(value) for value in memory[inside][1:]],
                "host_cpu": [round(float(value), 1) for value in host_load],
            },
        )


def _sampled(when: Times, time: float) -> float:
    """Return the time of the sample that counts for an end of the window, else ``time``."""
    later = when[when >= time]
    return float(later[0]) if len(later) and later[0] <= time + _LATE else time


def _whole_steps(when: Times, first: float, last: float) -> list[int]:
    """Return which samples between two times to use: CPU over too short a step is noise."""
    inside = np.flatnonzero((when >= first) & (when <= last)).tolist()
    kept = inside[:1]
    for index in inside[1:]:
        if when[index] - when[kept[-1]] >= _INTERVAL / 2:
            kept.append(index)
    if inside and kept[-1] != inside[-1]:  # the last sample ends the step before
        kept[1 if len(kept) == 1 else -1 :] = inside[-1:]
    return kept


def _due(last: float, window: tuple[float, float] | None) -> float:
    """Return when the sample after ``last`` is due: every interval, and at the window's ends."""
    if window is None:
        return last + _INTERVAL
    start, end = window
    interval = (end - start) / max(1, math.ceil((end - start) / _INTERVAL))
    # After a late sample, the one due immediately is skipped: its step would be too short.
    passed = math.floor((last - start) / interval + 0.5)
    return min([start + (passed + 1) * interval, *(time for time in window if time > last)])


def _busy_and_total(times: Any) -> tuple[float, float]:
    """Return the seconds in which a processor was busy, and all of them, from psutil."""
    # "user" already includes the "guest" times.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def _cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of a process with all its threads, including those that ended."""
    if sys.platform == "linux":
        # Its CPU clock, as in clock_getcpuclockid(3), counts nanoseconds; /proc has steps of
        # 10 ms, as much as a small server needs for a few requests.
        try:
            return time.clock_gettime(~process.pid << 3 | 2)
        except OSError:
            pass  # it has ended, or a system call filter forbids it
    times = process.cpu_times()
    return float(times.user + times.system)
