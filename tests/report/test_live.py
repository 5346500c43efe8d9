from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.report.live import LiveLine, live_line
from pytest_servebench.report.text import display_width
from tests.report.made_runs import simulate

SECOND = 1_000_000_000


def seen_at(records: Records, now: int) -> Records:
    """Return the records as they were at ``now``."""
    columns = {
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
    assert line.startswith("6 s left")
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
    assert live_line(overload, 12 * SECOND, 100).startswith("draining 2 s")


def test_errors_are_told(overload: Records) -> None:
    broken = simulate(50.0, 5.0, 10, service=0.001, error_share=0.5)
    assert "errors" in live_line(broken, 5 * SECOND, 100)
    assert "errors" not in live_line(overload, 5 * SECOND, 100)


def test_no_arrivals_at_all() -> None:
    nothing = simulate(0.001, 1.0, 10, service=0.001)
    assert live_line(nothing, 0, 100).startswith("1 s left")


@settings(max_examples=50, deadline=None)
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
    """As much of a terminal as the live line uses, some rows high."""

    def __init__(self, rows: int = 5) -> None:
        self.rows = [""] * rows
        self.row = self.column = 0
        self._saved = (0, 0)

    def feed(self, text: str) -> Screen:
        rest = text
        while rest:
            for code, move in (
                ("\x1bD", self._down_scrolling),
                ("\x1b[A", lambda: self._to(self.row - 1, self.column)),
                ("\x1b[B", lambda: self._to(self.row + 1, self.column)),
                ("\x1b7", self._save),
                ("\x1b8", lambda: self._to(*self._saved)),
                ("\x1b[K", self._erase_line),
                ("\x1b[J", self._erase_below),
                ("\r", lambda: self._to(self.row, 0)),
                ("\n", self._new_line),
            ):
                if rest.startswith(code):
                    move()
                    rest = rest[len(code) :]
                    break
            else:
                self._put(rest[0])
                rest = rest[1:]
        return self

    def _put(self, character: str) -> None:
        assert character.isprintable(), repr(character)
        line = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = line[: self.column] + character + line[self.column + 1 :]
        self.column += 1

    def _to(self, row: int, column: int) -> None:
        self.row, self.column = min(max(row, 0), len(self.rows) - 1), column

    def _save(self) -> None:
        self._saved = (self.row, self.column)

    def _down_scrolling(self) -> None:
        if self.row == len(self.rows) - 1:
            self.rows = [*self.rows[1:], ""]
        else:
            self.row += 1

    def _new_line(self) -> None:
        self._down_scrolling()
        self.column = 0

    def _erase_line(self) -> None:
        self.rows[self.row] = self.rows[self.row][: self.column]

    def _erase_below(self) -> None:
        self._erase_line()
        self.rows[self.row + 1 :] = [""] * (len(self.rows) - self.row - 1)

    def text(self) -> str:
        return "\n".join(row.rstrip() for row in self.rows).rstrip()


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")


@pytest.mark.parametrize("lines_before", [0, 1, 4, 30])
def test_pytests_own_output_is_as_if_it_had_never_been(lines_before: int) -> None:
    stream = Terminal()
    before = "".join(f"line {i}\n" for i in range(lines_before))
    stream.write(f"{before}test_it.py ..")
    line = LiveLine(stream, enabled=True)
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
    line = LiveLine(stream, enabled=True)
    for number in range(1000):
        line.update(f"update {number}")
    assert stream.getvalue().count("update") == 1


def test_after_a_clear_the_next_line_comes_at_once() -> None:
    stream = Terminal()
    line = LiveLine(stream, enabled=True)
    line.update("starting one server")
    line.clear()
    line.update("starting another")
    assert "starting another" in stream.getvalue()


def test_clearing_what_is_not_shown_writes_nothing() -> None:
    stream = Terminal()
    LiveLine(stream, enabled=True).clear()
    assert stream.getvalue() == ""


def test_nothing_is_written_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, enabled, term in (
        (io.StringIO(), True, "xterm"),
        (Terminal(), False, "xterm"),
        (Terminal(), True, "dumb"),
    ):
        monkeypatch.setenv("TERM", term)
        line = LiveLine(stream, enabled=enabled)
        line.update("text")
        line.clear()
        assert stream.getvalue() == ""
        assert not line.enabled


def test_a_text_is_one_line_that_fits() -> None:
    stream = Terminal()
    LiveLine(stream, enabled=True).update("two\nlines\x1b[2J" + "x" * 500)
    screen = Screen().feed(stream.getvalue())
    assert screen.rows[1].startswith("two lines?[2Jxxx")
    assert len(screen.rows[1]) <= 59


def test_an_ascii_terminal_gets_ascii() -> None:
    stream = Terminal()
    stream.encoding = "ascii"
    LiveLine(stream, enabled=True).update("6 s left · p99 ∞ …")
    assert stream.getvalue().isascii()
    assert "6 s left | p99 inf ..." in stream.getvalue()


def test_a_terminal_that_goes_away_costs_nothing() -> None:
    stream = Terminal()
    line = LiveLine(stream, enabled=True)
    line.update("text")
    stream.close()
    line.clear()
    line._last = -1.0
    line.update("text")
    assert not line.enabled


def test_a_closed_stream_is_no_terminal(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as stream:
        pass
    assert not LiveLine(stream, enabled=True).enabled


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_real_terminal_is_seen_as_one() -> None:
    controller, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stream:
        line = LiveLine(stream, enabled=True)
        assert line.enabled
        line.update("hello")
    assert b"hello" in os.read(controller, 1000)
    os.close(controller)
