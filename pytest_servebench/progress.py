"""What the user sees while it happens: a live line for each case, words for what takes its time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pytest_servebench.load.records import Phase, RecordStore
from pytest_servebench.report.live import LiveLine, live_line

_INTERVAL = 0.25  # seconds between two drawings of the live line


class Progress:
    """Writes to the terminal past pytest's capture, and only where there is a terminal."""

    def __init__(self, config: pytest.Config) -> None:
        """Belong to a session; the terminal is looked for at the first use."""
        self._config = config
        self._line: LiveLine | None = None

    def _live_line(self) -> LiveLine | None:
        if self._line is None:
            reporter = self._config.pluginmanager.get_plugin("terminalreporter")
            if reporter is None or self._config.get_verbosity() < 0:
                return None
            # Under capture, the terminal does not look like one.
            with self._uncaptured():
                self._line = LiveLine(reporter._tw._file, enabled=True)
        return self._line if self._line.enabled else None

    @contextmanager
    def _uncaptured(self) -> Iterator[None]:
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        if capture is None:
            yield
        else:
            with capture.global_and_fixture_disabled():
                yield

    def clear(self) -> None:
        """Take the live line away."""
        if self._line is not None and self._line.enabled:
            with self._uncaptured():
                self._line.clear()

    def _write(self, text: str) -> None:
        line = self._live_line()
        if line is not None:
            with self._uncaptured():
                line.update(text)

    @contextmanager
    def shown(self, what: str) -> Iterator[None]:
        """Show ``what`` while the body runs."""
        self._write(f"{what} …")
        try:
            yield
        finally:
            self.clear()

    @contextmanager
    def load(self) -> Iterator[Callable[[RecordStore], None]]:
        """Show how a load goes on; the body calls what it is given with the live records."""
        last = 0.0

        def show(store: RecordStore) -> None:
            nonlocal last
            if self._live_line() is None or time.monotonic() - last < _INTERVAL:
                return
            last = time.monotonic()
            if store.phase is not Phase.RUNNING:
                self._write("warming up …")
                return
            width = shutil.get_terminal_size().columns
            self._write(live_line(store.snapshot(), time.monotonic_ns() - store.start, width))

        try:
            yield show
        finally:
            self.clear()
