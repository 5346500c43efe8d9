"""Logs are watched line by line, and quoted without secrets."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_servebench.redaction import hide
from pytest_servebench.servers.logs import (
    TAIL_LINES,
    FatalLine,
    LogWatch,
    line_counts,
    scrub,
    tail,
)


def test_new_lines_wait_for_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    watch = LogWatch([path, tmp_path / "missing"])
    assert list(watch.new_lines()) == []
    path.write_text("one\ntw")
    assert list(watch.new_lines()) == ["one"]
    with path.open("a") as file:
        file.write("o\nthree\n")
    assert list(watch.new_lines()) == ["two", "three"]
    assert list(watch.new_lines()) == []


def test_new_lines_of_several_logs_and_any_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"caf\xe9\n")
    (tmp_path / "b").write_bytes(b"two\n")
    watch = LogWatch([tmp_path / "a", tmp_path / "b"])
    assert list(watch.new_lines()) == ["caf\ufffd", "two"]


def test_lines_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"caf\xe9\r\n\nand more")
    (tmp_path / "b").write_bytes(b"x" * 3_000_000 + b"\n")
    paths = [tmp_path / name for name in ("a", "b", "missing")]
    assert line_counts(paths) == dict(zip(paths, (2, 1, 0), strict=True))


def test_first_fatal_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("fine\n  no module named yaml\nno module named torch\n")
    fatal = FatalLine(re.compile("no module"), "a package is missing")
    watch = LogWatch([tmp_path / "log"])
    assert watch.first_fatal([fatal]) == (fatal, "no module named yaml")


def test_tail_is_the_end_of_each_log(tmp_path: Path) -> None:
    (tmp_path / "long").write_text("".join(f"line {i}\n" for i in range(1000)))
    (tmp_path / "empty").touch()
    text = tail([tmp_path / "long", tmp_path / "empty", tmp_path / "missing"])
    assert text.count("  | line") == TAIL_LINES
    assert "  | line 999\n" in text
    assert f"{tmp_path / 'empty'}: empty" in text
    assert f"{tmp_path / 'missing'}: no such file" in text


def test_tail_of_one_endless_line_is_short(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(1_000_000 * "x")
    assert len(tail([tmp_path / "log"])) < 1000


def test_terminals_do_not_obey_a_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("\x1b[2J\x07 fine\rover\n::error::made up\n")
    text = tail([tmp_path / "log"])
    assert "?[2J? fine" in text
    assert not {"\x1b", "\x07", "\r"} & set(text)
    assert "  | : :error::made up" in text


def test_secrets(tmp_path: Path) -> None:
    hide("q7-XvPz")
    (tmp_path / "log").write_bytes(b"\xff key=q7-XvPz, q7-XvPz\n")
    (tmp_path / "log").chmod(0o640)
    assert "q7-XvPz" not in tail([tmp_path / "log"])
    scrub([tmp_path / "log", tmp_path / "missing"])
    assert (tmp_path / "log").read_bytes() == b"\xff key=[key hidden], [key hidden]\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
