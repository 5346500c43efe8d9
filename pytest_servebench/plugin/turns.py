"""One load at a time in a test, and none that outlives it, whatever threads it is made in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from pytest_servebench.load.records import RecordStore

_PATIENCE: Final = 10.0  # seconds for a load to end that is told to
_FAREWELL: Final = 0.2  # seconds for its thread to end
_AT_ONCE: Final = (
    "poisson_load was called while another load of this test was running: the two would make each "
    "other's numbers wrong. Make the second load after the first has ended."
)
_LEFT: Final = (
    "poisson_load was still running in a thread of its own when its test ended, and was stopped: "
    "it measured nothing. Wait for it in the test: thread.join(), future.result() or await."
)
_TOO_LATE: Final = "poisson_load was called after its test had ended."


class AbandonedLoad(SystemExit):
    """Ends a load that nobody waits for, and in silence the thread that it was made in."""


class Turn:
    """Who may make a load."""

    def __init__(self) -> None:
        """Let one come."""
        self._lock = threading.Lock()
        self._thread = threading.current_thread()
        self._over = False
        self.refusal: str | None = None  # what the test is to fail with

    @property
    def taken(self) -> bool:
        """Tell whether a load is being made."""
        return self._lock.locked()

    @contextmanager
    def take(self) -> Iterator[None]:
        """Let the body make a load."""
        __tracebackhide__ = True
        if self._over:
            pytest.fail(_TOO_LATE, pytrace=False)
        if not self._lock.acquire(blocking=False):
            # The thread that is told may keep it to itself: the test fails in any case.
            self.refusal = _AT_ONCE
            pytest.fail(_AT_ONCE, pytrace=False)
        self._thread = threading.current_thread()
        try:
            yield
        finally:
            self._lock.release()

    def go_on(self) -> None:
        """Return if somebody waits for the load that is being made.

        Raises:
            AbandonedLoad: its test has ended.
        """
        if self._over:
            raise AbandonedLoad(_LEFT)

    def watching(self, watch: Callable[[RecordStore], None]) -> Callable[[RecordStore], None]:
        """Return a watch of a load that ends it as well where nobody waits for it any more."""

        def look(store: RecordStore) -> None:
            self.go_on()
            watch(store)

        return look

    def end(self) -> None:
        """Let nobody come any more; end a load that is still being made, and wait for that."""
        self._over = True
        if not self.taken:
            return
        self.refusal = _LEFT
        if self._lock.acquire(timeout=_PATIENCE):
            self._lock.release()
        # What pytest says of its end belongs to this test. One of a pool's goes on.
        self._thread.join(_FAREWELL)
