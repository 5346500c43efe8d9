"""Running code of the user's that may do anything, without losing what was measured."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_LONGEST: Final = 500  # characters
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
"""Which end a session, or a test that takes too long (pytest-timeout)."""


def first_line(error: BaseException) -> str:
    """Return what an exception says, in one line; its own text may be broken."""
    try:
        return str(error).strip().partition("\n")[0][:_LONGEST]
    except BaseException as broken:
        return f"its text cannot be had ({type(broken).__name__})"


@contextmanager
def signals_noticed() -> Iterator[list[BaseException]]:
    """Give a list of what the handlers of signals raise in the body, such as at Ctrl-C.

    It tells the ``KeyboardInterrupt`` of a user from one that the body raises by itself.
    """
    raised: list[BaseException] = []
    if threading.current_thread() is not threading.main_thread():  # which gets no signals
        yield raised
        return
    before: dict[signal.Signals, Any] = {}
    try:
        for number in _SIGNALS:
            if callable(handler := signal.getsignal(number)):
                signal.signal(number, _noticing(raised, handler))
                before[number] = handler
        yield raised
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _noticing(
    raised: list[BaseException], handler: Callable[[int, FrameType | None], Any]
) -> Callable[[int, FrameType | None], Any]:
    def notice(number: int, frame: FrameType | None) -> Any:
        try:
            return handler(number, frame)
        except BaseException as error:
            raised.append(error)
            raise

    return notice
