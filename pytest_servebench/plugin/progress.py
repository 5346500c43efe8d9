"""Progress shown to the user: a live line for each case, and for other slow steps."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Final

import pytest

from pytest_servebench.load.records import Records
from pytest_servebench.load.store import Phase, RecordStore
from pytest_servebench.plugin.live_load import live_line
from pytest_servebench.text.live import INTERVAL, LiveLine, Status

_LONG: Final = 5.0  # seconds after which a log without a message looks as if nothing happened


class Progress:
    """Writes to the terminal past pytest's capture, and only if there is a terminal."""

    def __init__(self, config: pytest.Config) -> None:
        """Belong to a session; the terminal is detected on first use."""
        self._config = config
        self._line: LiveLine | None = None

    def _live_line(self) -> LiveLine | None:
        if self._line is None:
            reporter = self._config.pluginmanager.get_plugin("terminalreporter")
            if reporter is None or self._config.get_verbosity() < 0:
                return None
            capture = self._config.pluginmanager.get_plugin("capturemanager")
            # Under capture, the terminal does not look like one.
            with capture.global_and_fixture_disabled() if capture else nullcontext():
                self._line = LiveLine(reporter._tw._file)
        return self._line if self._line.enabled else None

    def close(self) -> None:
        """Remove the live line for good."""
        if self._line is not None:
            self._line.close()

    @contextmanager
    def shown(self, what: str, *, logger: str = "", patience: float = 0.0) -> Iterator[None]:
        """Show ``what`` and the elapsed time while the body runs.

        Args:
            what: the step.
            logger: name of a logger whose messages report its progress.
            patience: for a wait for a server that we did not start, how many seconds it may take: a
                long wait is then announced even without a live line; 0 for any other step.
        """
        if line := self._live_line():
            with Status(line).shown(what, logger=logger):
                yield
            return
        told = threading.Timer(_LONG, self._say, [f"servebench: {what}, up to {patience:g} s"])
        if patience > _LONG:
            told.start()
        try:
            yield
        finally:
            told.cancel()

    def _say(self, text: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(text)
            reporter.flush()

    @contextmanager
    def load(self, name: str, number: str) -> Iterator[Callable[[RecordStore], None]]:
        """Show the progress of a load; the body calls the yielded function with the live records.

        Args:
            name: of the case.
            number: which case of how many.
        """
        last = 0.0
        line = self._live_line()

        def show(store: RecordStore) -> None:
            nonlocal last
            if line is None or time.monotonic() - last < INTERVAL:
                return
            last = time.monotonic()
            if store.phase < Phase.RUNNING:
                line.update(" · ".join(filter(None, ("warming up …", number, name))))
                return
            now = time.monotonic_ns() - store.start
            line.update(live_line(Records.of(store), now, line.width, number=number, name=name))

        try:
            yield show
        finally:
            if line is not None:
                line.clear()
