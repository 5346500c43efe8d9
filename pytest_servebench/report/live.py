"""The line that shows how a case goes on while it runs."""

from __future__ import annotations

import os
import shutil
import time
from typing import Final, TextIO

import numpy as np

from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.report.numbers import significant
from pytest_servebench.report.text import clean, clip, display_width, shows_unicode, to_ascii

_INTERVAL: Final = 0.25  # seconds: more often, nobody can read
_SEPARATOR: Final = " · "

_LINE_BELOW: Final = "\x1bD\x1b[A"  # scrolls where the cursor stands on the last line
_SAVE: Final = "\x1b7"
_RESTORE: Final = "\x1b8"
_DOWN: Final = "\x1b[B\r"
_ERASE_REST: Final = "\x1b[K"
_ERASE_BELOW: Final = "\x1b[J"  # also what a narrowed window has wrapped


def live_line(records: Records, now: int, width: int) -> str:
    """Return one line about a case that runs, at most ``width - 1`` columns wide.

    What does not fit is left out from the end, the least important part. The last column stays
    free: many terminals wrap as soon as it is written.

    Args:
        records: the records as they are now; what has not ended yet is ``UNFINISHED``.
        now: ns since the clock's start, on the records' own clock.
        width: columns of the terminal.
    """
    left = (records.window - now) / 1e9
    ended = records.outcome != Outcome.UNFINISHED
    done = int(np.count_nonzero(ended & (records.sent != NEVER)))
    sent = int(np.count_nonzero(records.sent != NEVER))
    dropped = int(np.count_nonzero(records.outcome == Outcome.DROPPED))
    failed = int(np.count_nonzero(ended & ~records.ok)) - dropped
    latencies = records.latency()[ended]
    parts = [
        f"{max(left, 0.0):.0f} s left" if left > 0 else f"draining {-left:.0f} s",
        f"sent {sent}",
        f"done {done}",
        f"p50 {_percentile(latencies, 50)}",
        f"p99 {_percentile(latencies, 99)}",
        f"dropped {dropped}",
    ]
    if failed:
        # Errors are news: they come before what is always there.
        parts.insert(1, f"errors {failed}")
    return _fitting(parts, width - 1)


def _percentile(latencies: np.ndarray[tuple[int, ...], np.dtype[np.float64]], q: int) -> str:
    if not latencies.size:
        return "-"
    # "higher" is one of the values: interpolation between a number and infinity has no meaning.
    value = float(np.percentile(latencies, q, method="higher"))
    return f"{significant(value * 1e3)} ms" if np.isfinite(value) else "∞"


def _fitting(parts: list[str], width: int) -> str:
    line = ""
    for part in parts:
        longer = line + _SEPARATOR + part if line else part
        if display_width(longer) > width:
            break
        line = longer
    return line or clip(parts[0], width)


class LiveLine:
    """A line below the cursor, rewritten in place, and gone without a trace when it is cleared.

    pytest leaves the cursor behind the file's name and its dots; whatever is written there would
    wipe them out. The line therefore stands on the next row, and the cursor goes back after each
    update to where pytest left it.
    """

    def __init__(self, stream: TextIO, enabled: bool) -> None:
        """Write to ``stream``; never anything at all unless ``enabled`` and it is a terminal."""
        self._stream = stream
        self._unicode = shows_unicode(stream)
        self._shown = False
        self._last = -_INTERVAL
        self.enabled = enabled and _is_terminal(stream) and os.environ.get("TERM") != "dumb"

    def update(self, text: str) -> None:
        """Show ``text`` in place of what is shown; too soon after the last time, do nothing."""
        if not self.enabled or time.monotonic() - self._last < _INTERVAL:
            return
        width = shutil.get_terminal_size().columns - 1
        text = clip(clean(text), width) if self._unicode else to_ascii(clean(text))[:width]
        room = "" if self._shown else _LINE_BELOW
        if self._write(f"{room}{_SAVE}{_DOWN}{text}{_ERASE_REST}{_RESTORE}"):
            self._shown = True
            self._last = time.monotonic()

    def clear(self) -> None:
        """Take the line away; the next update comes at once."""
        if self._shown:
            self._write(f"{_SAVE}{_DOWN}{_ERASE_BELOW}{_RESTORE}")
            self._shown = False
        self._last = -_INTERVAL

    def _write(self, text: str) -> bool:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal went away, or the stream was closed. The run is worth more than the line.
            self.enabled = False
            return False
        return True


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False
