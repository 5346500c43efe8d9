"""Logs are watched line by line, and quoted without secrets."""

import errno
import re
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.servers.logs import FatalLine, LineCounts, LogWatch, first_fatal, scrub, tail
from pytest_servebench.system.files import whole_file
from pytest_servebench.text import log_tail
from pytest_servebench.text.log_tail import TAIL_LINES, lines_between
from pytest_servebench.text.redaction import hide


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
    counts = LineCounts()
    for _ in range(2):
        assert counts.of(paths) == dict(zip(paths, (2, 1, 0), strict=True))
    with (tmp_path / "a").open("a") as file:
        file.write(" of it\nlast\n")
    assert counts.of(paths[:1]) == {paths[0]: 4}
    (tmp_path / "a").write_text("begun anew\n")
    assert counts.of(paths[:1]) == {paths[0]: 1}


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """Return a long log, which takes no room on the disk: one line without end, and a last one."""
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.write(b"first\n")
        file.seek(100 << 20)
        file.write(b"\nlast abc\n")
    return path


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Have this process get no more than 40 MB beyond what it has."""
    old = resource.getrlimit(resource.RLIMIT_AS)
    now = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (now + (40 << 20), old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, old)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
@pytest.mark.usefixtures("little_memory")
def test_a_long_log_is_never_in_memory(huge: Path) -> None:
    assert LineCounts().of([huge]) == {huge: 3}
    assert [line[-10:] for line in lines_between(huge, 0, 5)] == [
        "first\n",
        "\0" * 10,
        "last abc\n",
    ]
    assert lines_between(huge, 2, 3) == ["last abc\n"]
    assert lines_between(huge, 4, 5) == []
    seen = [line for line in LogWatch([huge]).new_lines() if line.strip("\0")]
    assert seen == ["first", "last abc"]
    assert tail([huge]).endswith("last abc")


@given(st.text("ab\n", max_size=60), st.integers(1, 9), st.integers(0, 12), st.integers(0, 12))
def test_blocks_of_any_size_are_as_one(text: str, block: int, first: int, number: int) -> None:
    lines = text.splitlines(keepends=True)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_tail, "BLOCK", block)
        path = Path(folder) / "log"
        path.write_text(text)
        assert LineCounts().of([path]) == {path: text.count("\n")}
        assert lines_between(path, first, first + number) == lines[first : first + number]


def test_first_fatal_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("fine\n  no module named yaml\nno module named torch\n")
    fatal = FatalLine(re.compile("no module"), "a package is missing")
    watch = LogWatch([tmp_path / "log"])
    assert first_fatal(watch.new_lines(), [fatal]) == (fatal, "no module named yaml")


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


def test_a_log_that_keeps_its_keys_is_told_and_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide("q7-XvPz-9f31")
    for name in "ab":
        (tmp_path / name).write_bytes(b"key=q7-XvPz-9f31\n")

    def full(path: Path, **_: object) -> Any:
        if path.name == "a":
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole_file(path)

    monkeypatch.setattr("pytest_servebench.servers.logs.whole_file", full)
    with pytest.raises(OSError, match="No space"):
        scrub([tmp_path / "a", tmp_path / "b"])
    assert (tmp_path / "b").read_bytes() == b"key=[key hidden]\n"
