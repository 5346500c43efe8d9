"""SIGTERM and SIGHUP end a session of load tests in order, as Ctrl-C does.

CI systems, ``docker stop`` and a terminal that closes send them; by default they would end pytest
on the spot, with nothing stopped and nothing saved.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

# The terminal's own SIGINT is pytest's already.
_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)


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

    def uninstall(self) -> None:
        """Give the signals their default meaning back, but for those that others took over."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            if signal.getsignal(number) == self._end:
                signal.signal(number, signal.SIG_DFL)

    def _end(self, number: int, _: object) -> None:
        if self._received is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._received = number
        raise Terminated(f"{signal.Signals(number).name}: the session was asked to end")
