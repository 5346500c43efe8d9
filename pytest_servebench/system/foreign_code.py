"""Run a user's code, which may do anything, without losing the measurement."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import pytest

_LONGEST: Final = 500  # characters
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
"""Signals that end a session, or a test that takes too long (pytest-timeout)."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, even if its ``__str__`` raises."""
    try:
        return str(error).strip().partition("\n")[0][:_LONGEST]
    except BaseException as broken:
        return f"its message cannot be read ({type(broken).__name__})"


def reason_of(error: BaseException, doing: str, *told: type[BaseException]) -> str:
    """Return why a user's code failed.

    Args:
        error: that it raised.
        doing: what it does, in words.
        told: errors whose message is the whole reason, in addition to ``AssertionError``.
    """
    said = first_line(error)
    if said and isinstance(error, (AssertionError, *told)):
        return said
    return f"{doing} raised {type(error).__name__}: {said}"


@contextmanager
def caught() -> Iterator[list[BaseException]]:
    """Yield a list of what the body raises: one error, or nothing.

    A finished load must not be lost, whatever a user's code raises. Only what comes from outside,
    such as Ctrl-C, and ``pytest.exit()`` are raised: they end the session.
    """
    errors: list[BaseException] = []
    with signals_noticed() as interrupts:
        try:
            yield errors
        except pytest.exit.Exception:
            raise
        except BaseException as error:
            if interrupts:
                raise interrupts[0] from None
            errors.append(error)


@contextmanager
def signals_noticed() -> Iterator[list[BaseException]]:
    """Yield a list of what signal handlers raise in the body, such as on Ctrl-C.

    It distinguishes a user's ``KeyboardInterrupt`` from one that the body itself raises.
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
