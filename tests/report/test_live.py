import fcntl
import io
import os
import re
import select
import struct
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.plugin import progress
from pytest_servebench.plugin.live_load import live_line
from pytest_servebench.text.live import LiveLine, Status, duration
from pytest_servebench.text.safe import display_width
from tests.examples import examples
from tests.report.made_runs import simulate

SECOND = 1_000_000_000


def seen_at(records: Records, now: int) -> Records:
    """Return the records as they were at ``now``."""
    columns: dict[str, Any] = {
        name: np.where(getattr(records, name) <= now, getattr(records, name), NEVER)
        for name in ("enqueued", "dequeued", "sent", "first_byte", "done")
    }
    ended = columns["done"] != NEVER
    outcome = np.where(ended, records.outcome, Outcome.UNFINISHED).astype(np.uint8)
    return Records(scheduled=records.scheduled, outcome=outcome, status=records.status,
                   window=records.window, **columns)  # fmt: skip


@pytest.fixture(scope="module")
def overload() -> Records:
    return simulate(200.0, 10.0, 10, service=0.01)


def test_it_tells_how_far_the_case_is(overload: Records) -> None:
    line = live_line(seen_at(overload, 4 * SECOND), 4 * SECOND, 100)
    assert line.startswith("███░░░░░ 6 s left")
    now = seen_at(overload, 4 * SECOND)
    assert f"sent {(now.sent != NEVER).sum()}" in line
    assert f"dropped {(now.outcome == Outcome.DROPPED).sum()}" in line
    assert "p50 " in line
    assert "p99 ∞" in line  # more than a hundredth was dropped


def test_before_the_first_answer_there_is_no_percentile(overload: Records) -> None:
    line = live_line(seen_at(overload, 0), 0, 100)
    assert "p50 -" in line
    assert "sent 0" in line


def test_after_the_window_it_drains(overload: Records) -> None:
    assert live_line(overload, 12 * SECOND, 100).startswith("████████ draining 2 s")


def test_errors_are_told(overload: Records) -> None:
    broken = simulate(50.0, 5.0, 10, service=0.001, error_share=0.5)
    assert "errors" in live_line(broken, 5 * SECOND, 100)
    assert "errors" not in live_line(overload, 5 * SECOND, 100)


def test_no_arrivals_at_all() -> None:
    nothing = simulate(0.001, 1.0, 10, service=0.001)
    assert live_line(nothing, 0, 100).startswith("░░░░░░░░ 1 s left")


def test_it_tells_which_case_it_is(overload: Records) -> None:
    line = live_line(overload, 0, 140, number="3/12", name="toy-rate5\x1b[2J")
    assert " · 3/12 · " in line
    assert line.endswith("toy-rate5?[2J")


def test_a_narrow_window_keeps_the_time_the_trouble_and_the_place(overload: Records) -> None:
    line = live_line(seen_at(overload, 4 * SECOND), 4 * SECOND, 40, number="3/12", name="toy")
    assert re.fullmatch(r"6 s left · dropped \d+ · 3/12.*", line)


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0 s"), (119.9, "119 s"), (200, "3 min 20 s")])
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@examples(50)
@given(st.integers(1, 200), st.integers(0, 20 * SECOND))
def test_it_is_never_wider_than_the_terminal(overload: Records, width: int, now: int) -> None:
    line = live_line(seen_at(overload, now), now, width)
    assert display_width(line) < max(width, 1) or (width == 1 and line == "")
    assert "\n" not in line


# -- what becomes of it on a screen -----------------------------------------------------------


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Screen:
    """What a terminal shows of a text, some rows high."""

    def __init__(self, rows: int = 5) -> None:
        self._screen = pyte.Screen(80, rows)

    def feed(self, text: str) -> Self:
        pyte.Stream(self._screen).feed(text.replace("\n", "\r\n"))
        return self

    @property
    def rows(self) -> list[str]:
        return [row.rstrip() for row in self._screen.display]

    def text(self) -> str:
        return "\n".join(self.rows).rstrip()


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("COLUMNS", "60")


@pytest.mark.parametrize("lines_before", [0, 1, 4, 30])
def test_pytests_own_output_is_as_if_it_had_never_been(lines_before: int) -> None:
    stream = Terminal()
    before = "".join(f"line {i}\n" for i in range(lines_before))
    stream.write(f"{before}test_it.py ..")
    line = LiveLine(stream)
    line.update("6 s left and quite a long line")
    screen = Screen().feed(stream.getvalue())
    assert "test_it.py .." in screen.text()
    assert "6 s left and quite a long line" in screen.text()
    line._last = -1.0
    line.update("5 s left")
    assert Screen().feed(stream.getvalue()).text().endswith("test_it.py ..\n5 s left")
    line.clear()
    stream.write(".F\nend")
    assert Screen().feed(stream.getvalue()).text().endswith("test_it.py ...F\nend")


def test_updates_come_at_most_four_times_a_second() -> None:
    stream = Terminal()
    line = LiveLine(stream)
    for number in range(1000):
        line.update(f"update {number}")
    assert stream.getvalue().count("update") == 1


def test_after_a_clear_the_next_line_comes_at_once() -> None:
    stream = Terminal()
    line = LiveLine(stream)
    line.update("starting one server")
    line.clear()
    line.update("starting another")
    assert "starting another" in stream.getvalue()


def test_nothing_is_written_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    LiveLine(shown).clear()  # nor of what is not shown
    assert shown.getvalue() == ""
    for stream, term, ci in (
        (io.StringIO(), "xterm", ""),
        (Terminal(), "dumb", ""),
        (Terminal(), "xterm", "true"),
    ):
        monkeypatch.setenv("TERM", term)
        monkeypatch.setenv("CI", ci)
        line = LiveLine(stream)
        line.update("text")
        line.clear()
        assert stream.getvalue() == ""
        assert not line.enabled


def test_a_text_is_one_line_that_fits() -> None:
    stream = Terminal()
    LiveLine(stream).update("two\nlines\x1b[2J" + "x" * 500)
    screen = Screen().feed(stream.getvalue())
    assert screen.rows[1].startswith("two lines?[2Jxxx")
    assert len(screen.rows[1]) <= 59


def test_an_ascii_terminal_gets_ascii() -> None:
    stream = Terminal()
    stream.encoding = "ascii"
    LiveLine(stream).update("6 s left · p99 ∞ …")
    assert stream.getvalue().isascii()
    assert "6 s left | p99 inf ..." in stream.getvalue()


def test_a_terminal_that_goes_away_costs_nothing() -> None:
    stream = Terminal()
    line = LiveLine(stream)
    line.update("text")
    stream.close()
    line.clear()
    line._last = -1.0
    line.update("text")
    assert not line.enabled


def test_a_closed_stream_is_no_terminal(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as stream:
        pass
    assert not LiveLine(stream).enabled


# -- at a real terminal -----------------------------------------------------------------------


class PseudoTerminal:
    """A stream that is a terminal, and what was written to it by whatever way."""

    def __init__(self) -> None:
        self._controller, terminal = os.openpty()
        self.stream = os.fdopen(terminal, "w")
        self._seen = b""

    def resize(self, columns: int) -> None:
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, size)

    def text(self) -> str:
        while select.select([self._controller], [], [], 0)[0]:
            self._seen += os.read(self._controller, 65536)
        return self._seen.decode()

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + 30
        while text not in self.text() and time.monotonic() < end:
            time.sleep(0.01)
        assert text in self.text()

    def screen(self) -> Screen:
        return Screen().feed(self.text().replace("\r\n", "\n"))


@pytest.fixture
def terminal() -> Iterator[PseudoTerminal]:
    made = PseudoTerminal()
    with made.stream:
        yield made
    os.close(made._controller)


@pytest.fixture
def line(terminal: PseudoTerminal) -> Iterator[LiveLine]:
    made = LiveLine(terminal.stream)
    yield made
    made.close()


def test_it_fits_a_window_that_was_resized(terminal: PseudoTerminal, line: LiveLine) -> None:
    terminal.resize(50)
    assert line.width == 50
    line.update("x" * 100)
    assert terminal.screen().rows[1] == "x" * 48 + "…"
    terminal.resize(20)
    line._last = -1.0
    line.update("y" * 100)
    assert terminal.screen().rows[1] == "y" * 18 + "…"
    assert "x" not in terminal.screen().text()


def test_a_window_without_a_size_has_one_all_the_same(
    line: LiveLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "77")
    assert line.width == 77


def test_what_others_write_finds_the_line_gone(terminal: PseudoTerminal, line: LiveLine) -> None:
    print("test_it.py ", end="", file=terminal.stream, flush=True)
    for number in (1, 2):
        line._last = -1.0
        line.update("a rather long line about what goes on")
        assert "a rather long line" in terminal.screen().text()
        print(f"said {number}", file=terminal.stream)
        assert "a rather long line" not in terminal.screen().text()
    line.clear()
    assert terminal.screen().text() == "test_it.py said 1\nsaid 2"
    line.close()
    assert "write" not in vars(terminal.stream)  # which is as it was


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_the_standard_streams_find_the_line_gone(
    terminal: PseudoTerminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    with (
        os.fdopen(os.dup(terminal.stream.fileno()), "w") as here,
        (tmp_path / "file").open("w") as elsewhere,
    ):
        for stream in ("stdout", "stderr"):
            monkeypatch.setattr(sys, stream, here if stream == name else elsewhere)
        line = LiveLine(terminal.stream)
        line.update("a rather long line about what goes on")
        print("said on it", file=elsewhere)
        assert "a rather long line" in terminal.screen().text()
        print("a log message", file=here, flush=True)
        assert terminal.screen().text() == "a log message"
        line.close()
        assert "write" not in vars(here)
        monkeypatch.undo()


def test_it_is_written_past_whatever_is_captured(
    terminal: PseudoTerminal, line: LiveLine, tmp_path: Path
) -> None:
    with (tmp_path / "captured").open("w") as file:
        os.dup2(file.fileno(), terminal.stream.fileno())
        line.update("hello")
    assert "hello" in terminal.text()
    assert (tmp_path / "captured").read_text() == ""


def test_a_closed_line_writes_nothing(terminal: PseudoTerminal, line: LiveLine) -> None:
    line.update("text")
    line.close()
    line.close()
    assert terminal.screen().text() == ""
    line.update("text")
    assert terminal.screen().text() == ""


def test_a_status_tells_how_long_it_has_been_and_what_is_new(
    terminal: PseudoTerminal, line: LiveLine
) -> None:
    status = Status(line)
    with status.shown("starting toy"):
        assert terminal.screen().rows[1] == "starting toy …"
        status.tell("loading its model")
        terminal.wait_for("starting toy … 1 s · loading its model")
    assert terminal.screen().text() == ""
    written = terminal.text()
    assert "servebench-status" not in {thread.name for thread in threading.enumerate()}
    with status.shown("starting another"):
        assert "starting another …" in terminal.text().removeprefix(written)
        assert "loading" not in terminal.text().removeprefix(written)


def test_a_status_without_a_terminal_is_silent() -> None:
    stream = io.StringIO()
    with Status(LiveLine(stream)).shown("starting toy"):
        pass
    assert stream.getvalue() == ""


def test_a_long_wait_for_another_server_is_said_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []
    said = threading.Event()
    reporter = SimpleNamespace(
        _tw=SimpleNamespace(_file=io.StringIO()), ensure_newline=lambda: None,
        write_line=lines.append, flush=said.set,
    )  # fmt: skip
    plugins = SimpleNamespace(get_plugin={"terminalreporter": reporter}.get)
    config: Any = SimpleNamespace(get_verbosity=lambda: 0, pluginmanager=plugins)
    monkeypatch.setattr(progress, "_LONG", 0.01)
    with progress.Progress(config).shown("waiting for mine", patience=60.0):
        assert said.wait(30)
    assert lines == ["servebench: waiting for mine, up to 60 s"]
