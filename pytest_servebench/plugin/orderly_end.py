"""SIGTERM and SIGHUP shut a session of load tests down cleanly, as Ctrl-C does.

CI systems, ``docker stop`` and closing terminals send them; by default they would kill pytest on
the spot, with nothing stopped and nothing saved.
"""

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
# Signals within so many seconds count as one: to the process, to its group, from its parent.
_ONE_MEANT: Final = 0.5

# pytest handles SIGINT itself.
_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)


def _started_by_tox() -> bool:
    """Return whether tox started this process; when killed, tox leaves its commands running.

    The end of any other parent, such as a shell, means nothing: see ``nohup``.
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
    """A signal asked this session to shut down; pytest and its plugins treat it as Ctrl-C."""


class OrderlyEnd:
    """Shuts the session down at the first such signal.

    A second one kills the process on the spot: run.json is always up to date, and the supervisors
    stop the servers.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._since = 0.0

    @property
    def status(self) -> int | None:
        """Return the exit status for the signal, as in a shell; ``None`` if none was received."""
        return None if self._received is None else 128 + self._received

    def install(self) -> None:
        """Handle those signals that have their default action.

        Signals that are ignored, as by ``nohup``, or already handled are left alone.
        """
        if threading.current_thread() is not threading.main_thread():
            return  # Python allows handlers only in the main thread
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._end)
        if signal.getsignal(signal.SIGTERM) == self._end and _started_by_tox():
            _ask_for_signal_at_parents_end(signal.SIGTERM)

    def uninstall(self) -> None:
        """Restore the default actions, except where others have installed handlers since."""
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
        raise Terminated(f"{signal.Signals(number).name}: the session was asked to shut down")
