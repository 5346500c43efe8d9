"""Waking up at absolute times, within microseconds.

A ``timerfd`` on the monotonic clock, watched by the event loop, wakes within tens of microseconds
once the kernel's timer slack is set to 1 ns; the loop's own timers have steps of milliseconds.
Most of that lateness is the same each time, so the timer is set that much ahead. Without
``timerfd`` (macOS), the loop's timers are the fallback.
"""

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_TIMERSLACK: Final = 29
_CLOCK_MONOTONIC: Final = 1
_TFD_TIMER_ABSTIME: Final = 1
_NANOSECONDS: Final = 1_000_000_000
_clock: Final = time.monotonic_ns
# ns by which the timer is set further ahead after a wake-up that was later, and less far after one
# that was in time: their ratio makes it the third quartile of all wake-ups' lateness (stochastic
# approximation of a quantile: H. Robbins and S. Monro, 1951).
_FURTHER: Final = 750
_LESS: Final = 250
# The most that is waited for actively. At high rates a processor hardly sleeps, and most wake-ups
# are sooner than this; at low rates they are later, and it bounds the CPU time.
_FURTHEST: Final = 45_000
_SLEEP: Final = 200_000  # ns; after less, a processor is still awake, and wakes in time


Wake = Callable[[], int | None]
"""Does what is due and returns the next time to wake up, in ns; ``None``: no further wake-up."""


class TimerfdPacer:
    """Calls back at absolute times of the monotonic clock, in ns, by ``timerfd``; one at a time.

    It is never early: where the timer expires before the time, the rest is waited for actively, for
    at most 45 µs.
    """

    name = "timerfd"

    __slots__ = ("_ahead", "_due", "_expiry", "_fd", "_loop", "_reference", "_settime", "_value",
                 "_wake")  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Wake) -> None:
        """Register with ``loop``; ``OSError`` or ``AttributeError`` without timerfd."""
        # ctypes on every version: os.timerfd_create needs Python 3.13, and one path is enough.
        libc = ctypes.CDLL(None, use_errno=True)
        # Without releasing the GIL, which would cost more than so short a call.
        self._settime = ctypes.PyDLL(None).timerfd_settime
        self._settime.restype = None
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        # struct itimerspec: the interval, and the time of expiry, each in seconds and ns.
        spec = (ctypes.c_long * 4)()
        self._value = memoryview(spec).cast("B").cast("l")
        self._reference = ctypes.byref(spec)
        self._ahead = 0  # ns by which the timer is set before the time
        self._due = 0  # the time
        self._expiry = 0  # when the timer expires; 0: not ahead of the time
        self._loop = loop
        self._wake = wake
        loop.add_reader(self._fd, self._expired)

    def _expired(self) -> None:
        # It may still be called for an expiry before the timer was set anew.
        if self._expiry and (late := _clock() - self._expiry) >= 0:
            if late >= self._ahead:
                self._ahead = min(self._ahead + _FURTHER, _FURTHEST)
            else:
                self._ahead = max(self._ahead - _LESS, 0)
                while _clock() < self._due:
                    pass
        # Setting the timer also clears its expiry: it need not be read.
        wake = self._wake
        self.wake_at(wake())

    def wake_at(self, when: int | None) -> None:
        """Call back at ``when``, replacing any pending time; ``None``: cancel it."""
        value, settime = self._value, self._settime
        self._expiry = 0
        if when is None:
            value[2] = value[3] = 0
        else:
            if when - _clock() > _SLEEP:
                self._due = when
                self._expiry = when = when - self._ahead
            # A time of zero would disarm the timer.
            value[2], value[3] = divmod(when or 1, _NANOSECONDS)
        settime(self._fd, _TFD_TIMER_ABSTIME, self._reference, None)

    def close(self) -> None:
        """Stop calling back."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


class LoopPacer:
    """Pacing by the event loop's own timers, to the millisecond."""

    name = "event loop timers"

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Wake) -> None:
        self._loop = loop
        self._wake = wake
        self._handle: asyncio.TimerHandle | None = None

    def _expired(self) -> None:
        self.wake_at(self._wake())

    def wake_at(self, when: int | None) -> None:
        """Call back at ``when``, replacing any pending time; ``None``: cancel it."""
        self.close()
        if when is not None:
            self._handle = self._loop.call_at(when / _NANOSECONDS, self._expired)

    def close(self) -> None:
        """Stop calling back."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


def make_pacer(loop: asyncio.AbstractEventLoop, wake: Wake) -> TimerfdPacer | LoopPacer:
    """Return the best pacer that this system has."""
    try:
        return TimerfdPacer(loop, wake)
    except (AttributeError, OSError):
        return LoopPacer(loop, wake)


def set_priority(wanted: str) -> str:
    """Schedule this process ahead of the server if the system allows it; return the priority.

    Otherwise, with few cores, the server holds the CPU for milliseconds at a time, and the
    generator's lateness would look like the server's latency. The generator never spins for more
    than 45 µs: its real-time priority cannot starve anything.

    Raises:
        PermissionError: ``wanted`` is ``"realtime"`` and the system does not allow it.
    """
    if wanted == "normal" or not hasattr(os, "sched_setscheduler"):
        return "normal"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        if wanted == "realtime":
            raise
        return "normal"
    return "SCHED_FIFO 1"


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when ``parent`` ends, however it ends (Linux)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call
        sys.exit(1)


def stop_tracers() -> None:
    """Turn off tracing and profiling of this process.

    A debugger that follows child processes attaches through the command that starts them. Its
    overhead would make the generator late, and the machine look slower.
    """
    sys.settrace(None)
    sys.setprofile(None)
    monitoring: Any = getattr(sys, "monitoring", None)  # of Python 3.12
    for tool in range(6) if monitoring is not None else ():
        if monitoring.get_tool(tool) is not None:
            monitoring.set_events(tool, monitoring.events.NO_EVENTS)
