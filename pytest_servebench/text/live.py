"""A status line in the terminal that leaves no trace."""

import io
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Final, TextIO

from pytest_servebench.text.safe import clean, clip, shows_unicode, to_ascii

INTERVAL: Final = 0.25  # seconds between two updates: nobody can read faster

_LINE_BELOW: Final = "\x1bD\x1b[A"  # scrolls where the cursor stands on the last line
_SAVE: Final = "\x1b7"
_RESTORE: Final = "\x1b8"
_DOWN: Final = "\x1b[B\r"
_ERASE_BELOW: Final = "\x1b[J"  # from the cursor on: also what a narrowed window has wrapped


class LiveLine:
    """A line below the cursor, rewritten in place, and gone without a trace when it is cleared.

    pytest leaves the cursor behind the file's name and its dots; whatever is written there would
    overwrite them. The line therefore stands on the next row, and the cursor goes back after each
    update to where pytest left it. It is cleared before anything else is written to the stream, or
    to standard output or error on the same terminal, such as a log message or the output of a test
    with ``-s``.

    The line may be updated from several threads.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to the terminal behind ``stream``.

        Nothing is ever written unless there is an interactive terminal that supports it: no
        ``TERM=dumb``, no ``CI``.

        Args:
            stream: what others write to. If pytest captures file descriptors, the line must be
                created while capturing is suspended.
        """
        self._others: list[TextIO] = []
        self._unicode = shows_unicode(stream)
        self._lock = threading.RLock()
        self._shown: tuple[str, int] | None = None
        self._last = -INTERVAL
        self.enabled = (
            _is_terminal(stream) and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")
        )
        self._stream = _duplicate(stream) if self.enabled else stream
        if self._stream is not stream:
            for other in _at_terminal_of(stream):
                self._give_way(other)

    @property
    def width(self) -> int:
        """Return the columns of the terminal as it is now."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            columns = 0
        return columns or shutil.get_terminal_size().columns

    def update(self, text: str) -> None:
        """Replace the line with ``text``; does nothing too soon after the last update."""
        with self._lock:
            if not self.enabled or time.monotonic() - self._last < INTERVAL:
                return
            # The last column stays free: many terminals wrap as soon as it is written.
            width = self.width - 1
            text = clip(clean(text), width) if self._unicode else to_ascii(clean(text))[:width]
            if self._shown == (text, width):
                return
            room = "" if self._shown else _LINE_BELOW
            if self._write(f"{room}{_SAVE}{_DOWN}{text}{_ERASE_BELOW}{_RESTORE}"):
                self._shown = text, width
                self._last = time.monotonic()

    def clear(self) -> None:
        """Clear the line; the next update is shown at once."""
        with self._lock:
            if self._shown:
                self._write(f"{_SAVE}{_DOWN}{_ERASE_BELOW}{_RESTORE}")
                self._shown = None
            self._last = -INTERVAL

    def close(self) -> None:
        """Clear the line for good; may be called twice."""
        with self._lock:
            self.clear()
            self.enabled = False
            if self._others:
                for other in self._others:
                    vars(other).pop("write", None)
                self._others = []
                self._stream.close()

    def _give_way(self, other: TextIO) -> None:
        """Have the line cleared before others write to their stream, until it is closed."""
        write = other.write

        def after_clearing(text: str) -> int:
            with self._lock:  # or the line could come back in between
                self.clear()
                return write(text)

        vars(other)["write"] = after_clearing
        self._others.append(other)

    def _write(self, text: str) -> bool:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal went away, or the stream was closed. The run is worth more than the line.
            self.enabled = False
            return False
        return True


class Status:
    """Shows on a live line what is going on, and for how long."""

    def __init__(self, line: LiveLine) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._news = ""

    def tell(self, news: str) -> None:
        """Add a detail to what is shown; may be called from any thread."""
        with self._lock:
            self._news = news

    @contextmanager
    def shown(self, what: str, *, logger: str = "") -> Iterator[None]:
        """Show ``what``, the elapsed seconds and the latest news while the body runs.

        Args:
            what: what is done.
            logger: name of a logger whose messages, at INFO and above, report progress.
        """
        if not self._line.enabled:
            yield
            return
        self.tell("")
        start = time.monotonic()
        over = threading.Event()
        self._line.clear()
        self._line.update(f"{what} …")

        def tick() -> None:
            while not over.wait(INTERVAL):
                seconds = time.monotonic() - start
                with self._lock:
                    news = self._news
                # Text alone at first: the seconds matter once there are many.
                parts = [f"{what} …", *([duration(seconds)] if seconds >= 1 else [])]
                self._line.update(" ".join(parts) + (f" · {news}" if news else ""))

        ticker = threading.Thread(target=tick, name="servebench-status", daemon=True)
        ticker.start()
        try:
            with self._told_by(logger) if logger else nullcontext():
                yield
        finally:
            over.set()
            ticker.join()
            self._line.clear()

    @contextmanager
    def _told_by(self, name: str) -> Iterator[None]:
        tell = self.tell

        class Teller(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                tell(record.getMessage())

        logger, handler = logging.getLogger(name), Teller(logging.INFO)
        level = logger.level
        logger.addHandler(handler)
        if not logger.isEnabledFor(logging.INFO):
            logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.setLevel(level)
            logger.removeHandler(handler)


def duration(seconds: float) -> str:
    """Return whole seconds for people, such as ``75 s`` or ``3 min 20 s``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes >= 2 else f"{int(seconds)} s"


def _duplicate(stream: TextIO) -> TextIO:
    """Return a stream of our own to the terminal, past any capture; one without a file as it is."""
    if not hasattr(stream, "__dict__"):
        return stream
    try:
        descriptor = os.dup(stream.fileno())
    except (OSError, io.UnsupportedOperation):
        return stream
    return open(descriptor, "w", encoding=stream.encoding, errors="replace", newline="")  # noqa: PTH123 - closed by close()


def _at_terminal_of(stream: TextIO) -> list[TextIO]:
    """Return ``stream`` and those of the standard streams that lead to the same terminal."""
    found = [stream]
    for other in (sys.stdout, sys.stderr):
        if any(other is one for one in found) or not hasattr(other, "__dict__"):
            continue
        try:
            same = os.path.sameopenfile(stream.fileno(), other.fileno())
        except (OSError, ValueError):  # without a file, or closed
            continue
        if same:
            found.append(other)
    return found


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False
