"""One load at a time in a test, and none that outlives it, whatever thread it runs in."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from pytest_servebench.load.store import RecordStore

_PATIENCE: Final = 10.0  # seconds for a load to end after it is told to
_FAREWELL: Final = 0.2  # seconds for its thread to end
_AT_ONCE: Final = (
    "{} was called while another load of this test was running: they would distort each "
    "other's results. Start the second load after the first has ended."
)
_LEFT: Final = (
    "{} was still running in another thread when its test ended, and was stopped: "
    "nothing was measured. Wait for it in the test: thread.join(), future.result() or await."
)
_TOO_LATE: Final = "{} was called after its test had ended."
_LOCK = pytest.StashKey[threading.Lock]()


class AbandonedLoad(SystemExit):
    """Ends a load that nobody waits for, and silently ends its thread."""


class Turn:
    """Lets one thread at a time send load, by whichever of a test's fixtures.

    Args:
        item: the test.
        fixture: that sends it, for messages.

    Attributes:
        taken: whether a load of this fixture is running.
        refusal: message to fail the test with.
    """

    def __init__(self, item: pytest.Item, fixture: str) -> None:
        self._at_once, self._left, self._too_late = (
            text.format(fixture) for text in (_AT_ONCE, _LEFT, _TOO_LATE)
        )
        self._lock = item.stash.setdefault(_LOCK, threading.Lock())
        self._thread = threading.current_thread()
        self._over = False
        self.taken = False
        self.refusal: str | None = None

    @contextmanager
    def take(self) -> Iterator[None]:
        """Let the body send a load."""
        __tracebackhide__ = True
        if self._over:
            pytest.fail(self._too_late, pytrace=False)
        if not self._lock.acquire(blocking=False):
            # The calling thread may swallow the failure: the test fails in any case.
            self.refusal = self._at_once
            pytest.fail(self._at_once, pytrace=False)
        self._thread, self.taken = threading.current_thread(), True
        try:
            yield
        finally:
            self.taken = False
            self._lock.release()

    def go_on(self) -> None:
        """Return if the test is still waiting for the running load.

        Raises:
            AbandonedLoad: its test has ended.
        """
        if self._over:
            raise AbandonedLoad(self._left)

    def watching(self, watch: Callable[[RecordStore], None]) -> Callable[[RecordStore], None]:
        """Return a watch that also ends the load once its test has ended."""

        def look(store: RecordStore) -> None:
            self.go_on()
            watch(store)

        return look

    def end(self) -> None:
        """Refuse further loads; stop a running one, and wait until it has ended."""
        self._over = True
        if not self.taken:
            return
        self.refusal = self._left
        if self._lock.acquire(timeout=_PATIENCE):
            self._lock.release()
        # So that pytest's message about its end belongs to this test. Threads of a pool do not end.
        self._thread.join(_FAREWELL)
