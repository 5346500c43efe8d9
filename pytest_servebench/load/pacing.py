"""Waking up at absolute times, within microseconds and without spinning.

A ``timerfd`` on the monotonic clock, watched by the event loop, wakes within tens of microseconds
once the kernel's timer slack is set to 1 ns; the loop's own timers have steps of milliseconds.
Without ``timerfd`` (macOS), the loop's timers are the fallback.
"""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_TIMERSLACK: Final = 29
_CLOCK_MONOTONIC: Final = 1
_TFD_TIMER_ABSTIME: Final = 1
_NANOSECONDS: Final = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


Wake = Callable[[], int | None]
"""Does what is due and returns the next time to wake up, in ns; ``None``: no further wake-up."""


class TimerfdPacer:
    """Calls back at absolute times of the monotonic clock, in ns, by ``timerfd``; one at a time."""

    name = "timerfd"

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Wake) -> None:
        """Register with ``loop``; ``OSError`` or ``AttributeError`` without timerfd."""
        # ctypes on every version: os.timerfd_create needs Python 3.13, and one path is enough.
        libc = ctypes.CDLL(None, use_errno=True)
        # Without releasing the GIL, which would cost more than so short a call.
        self._settime = ctypes.PyDLL(None).timerfd_settime
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        self._spec = _Itimerspec()
        self._value = self._spec.value
        self._reference = ctypes.byref(self._spec)
        self._loop = loop
        self._wake = wake
        loop.add_reader(self._fd, self._expired)

    def _expired(self) -> None:
        # Setting the timer also clears its expiry: it need not be read.
        self.wake_at(self._wake())

    def wake_at(self, when: int | None) -> None:
        """Call back at ``when``, replacing any pending time; ``None``: cancel it."""
        value = self._value
        if when is None:
            value.seconds = value.nanoseconds = 0
        else:
            # A time of zero would disarm the timer.
            value.seconds, value.nanoseconds = divmod(max(when, 1), _NANOSECONDS)
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._reference, None)

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
    generator's lateness would look like the server's latency. The generator never spins: its
    real-time priority cannot starve anything.

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
