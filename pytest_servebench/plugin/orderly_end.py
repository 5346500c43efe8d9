"""SIGTERM and SIGHUP end a session of load tests in order, as Ctrl-C does.

CI systems, ``docker stop`` and a terminal that closes send them; by default they would end pytest
on the spot, with nothing stopped and nothing saved.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Final

import psutil

_PR_SET_PDEATHSIG: Final = 1  # of Linux
# Seconds within which a second signal is the first one: to the process, its group, by its parent.
_ONE_MEANT: Final = 0.5

# The terminal's own SIGINT is pytest's already.
_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)


def _started_by_tox() -> bool:
    """Tell whether this process is a command of tox, which does not end those when it is killed.

    Of any other parent, such as a shell, the end means nothing: ``nohup`` is for that.
    """
    if sys.platform != "linux" or "TOX_ENV_NAME" not in os.environ:
        return False
    try:
        command = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        return False
    return any(Path(word).name == "tox" for word in command[:3])


def _ask_for_signal_at_parents_end(number: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


class Terminated(KeyboardInterrupt):
    """A signal has asked this session to end; pytest and its plugins take it for Ctrl-C."""


class OrderlyEnd:
    """Turns the first such signal into the end of the session.

    A second one ends the process on the spot: run.json is up to date all the while, and the
    supervisors of the servers see to these.
    """

    def __init__(self) -> None:
        """Leave all signals as they are."""
        self._received: int | None = None
        self._since = 0.0

    @property
    def status(self) -> int | None:
        """Return the exit status that tells the signal, as a shell does; ``None`` without one."""
        return None if self._received is None else 128 + self._received

    def install(self) -> None:
        """Take over those signals that have their default meaning.

        One that is ignored, as by ``nohup``, or that has a handler stays as it is.
        """
        if threading.current_thread() is not threading.main_thread():
            return  # Python allows handlers in the main thread alone
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._end)
        if signal.getsignal(signal.SIGTERM) == self._end and _started_by_tox():
            _ask_for_signal_at_parents_end(signal.SIGTERM)

    def uninstall(self) -> None:
        """Give the signals their default meaning back, but for those that others took over."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            if signal.getsignal(number) == self._end:
                if number == signal.SIGTERM and _started_by_tox():
                    _ask_for_signal_at_parents_end(0)
                signal.signal(number, signal.SIG_DFL)

    def _end(self, number: int, _: object) -> None:
        now = time.monotonic()
        if self._received is not None:
            if now - self._since > _ONE_MEANT:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        self._received, self._since = number, now
        raise Terminated(f"{signal.Signals(number).name}: the session was asked to end")
