"""Runs a command at a pseudo-terminal, and tells what its user sees there."""

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyte

from tests.conftest import ROOT

_LIMIT = 100.0  # seconds for a command
_HISTORY = 10_000  # lines


@dataclass(frozen=True)
class Seen:
    """What came of a command.

    Attributes:
        status: its exit status.
        output: all that it wrote, byte by byte.
        lines: what stands on the terminal at the end, from its first line on.
    """

    status: int
    output: bytes
    lines: list[str]

    @property
    def text(self) -> str:
        """Return the terminal's lines as one text."""
        return "\n".join(self.lines)


def environment(**further: str) -> dict[str, str]:
    """Return this process's environment as that of a terminal, without what a CI adds to it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    for name in ("CI", "COLUMNS", "LINES", "NO_COLOR", "TOY_FAULT", "BUILD_NUMBER"):
        own.pop(name, None)
    return {**own, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **further}


def run_at_terminal(
    command: Sequence[str],
    cwd: Path,
    *,
    columns: int = 100,
    rows: int = 24,
    resize: tuple[bytes, int] | None = None,
    env: Mapping[str, str] | None = None,
) -> Seen:
    """Run ``command`` with a terminal as its standard streams.

    Args:
        command: program and arguments.
        cwd: working directory.
        columns: width of the terminal.
        rows: its height.
        resize: once it has written this, the terminal gets this many columns.
        env: further variables of its environment.
    """
    screen = pyte.HistoryScreen(columns, rows, history=_HISTORY)
    stream = pyte.ByteStream(screen)
    controller, terminal = os.openpty()
    _set_size(controller, columns, rows)
    process = subprocess.Popen(
        command, cwd=cwd, env=environment(**env or {}), start_new_session=True,
        stdin=terminal, stdout=terminal, stderr=terminal,
    )  # fmt: skip
    os.close(terminal)
    output = b""
    try:
        for chunk in iter(_reader(controller, time.monotonic() + _LIMIT), b""):
            output += chunk
            stream.feed(chunk)
            if resize is not None and resize[0] in output:
                _set_size(controller, resize[1], rows)
                screen.resize(rows, resize[1])
                resize = None
        status = process.wait(_LIMIT)
    finally:
        os.close(controller)
        if process.poll() is None:
            process.kill()
            process.wait()
    gone = ["".join(row[column].data for column in range(columns)) for row in screen.history.top]
    return Seen(status, output, [line.rstrip() for line in (*gone, *screen.display)])


def _set_size(controller: int, columns: int, rows: int) -> None:
    fcntl.ioctl(controller, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _reader(controller: int, deadline: float) -> Callable[[], bytes]:
    def read() -> bytes:
        left = max(0.0, deadline - time.monotonic())
        if not select.select([controller], [], [], left)[0]:
            return b""
        try:
            return os.read(controller, 65536)
        except OSError:  # so Linux says that nobody has the terminal open any more
            return b""

    return read
