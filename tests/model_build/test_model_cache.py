import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_build.cache import finished_entry, get_or_build, key_of
from model_build.files import cache_directory, exclusive_lock
from model_build.program import StoppedError
from tests.servers.waiting import until

ROOT = Path(__file__).resolve().parents[2]

BUILD = """
import sys, time
from pathlib import Path
from model_build.cache import get_or_build
entry, log, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
def build(directory):
    with log.open("a") as file:
        file.write("built\\n")
    (directory / "first").write_text("1")
    time.sleep(seconds)
    (directory / "second").write_text("2")
get_or_build(entry, build)
"""


def start_build(entry: Path, log: Path, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, entry, log, str(seconds)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def simple_build(directory: Path) -> None:
    (directory / "sub").mkdir()
    (directory / "sub" / "file").write_text("content")


@pytest.mark.slow
def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    entry, log = tmp_path / "entry", tmp_path / "log"
    both = [start_build(entry, log, 0.5) for _ in range(2)]
    assert [process.wait(20) for process in both] == [0, 0]
    assert log.read_text() == "built\n"
    assert finished_entry(entry)


@pytest.mark.slow
def test_a_killed_build_is_not_taken_for_finished(tmp_path: Path) -> None:
    entry, log = tmp_path / "entry", tmp_path / "log"
    killed = start_build(entry, log, 60)
    until(lambda: list(tmp_path.glob(".entry.*/first")))
    killed.send_signal(signal.SIGKILL)
    killed.wait(10)
    assert finished_entry(entry) is None
    until(lambda: not list(tmp_path.glob(".*")), what="the end of what was half built")
    assert start_build(entry, log, 0).wait(20) == 0
    assert (entry / "second").read_text() == "2"
    assert list(tmp_path.glob(".entry.*")) == []


def test_what_no_guard_could_remove_goes_with_the_next_build(tmp_path: Path) -> None:
    """Of any entry, but for those that are being built right now."""
    for name in ("old", "busy"):
        (tmp_path / f"{name}.lock").touch()
        (tmp_path / f".{name}.abcd1234" / "deep").mkdir(parents=True)
    (tmp_path / ".entry.abcd1234").mkdir()
    with exclusive_lock(tmp_path / "busy.lock"):
        get_or_build(tmp_path / "entry", simple_build)
    assert [path.name for path in tmp_path.glob(".*")] == [".busy.abcd1234"]


def test_a_wait_for_anothers_build_can_be_ended(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with exclusive_lock(tmp_path / "entry.lock"), pytest.raises(StoppedError):
        get_or_build(tmp_path / "entry", simple_build, stop)


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").write_text("")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        get_or_build(tmp_path / "entry", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["entry.lock"]


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "manifest"])
def test_a_damaged_entry_is_built_again(tmp_path: Path, damage: str) -> None:
    entry = get_or_build(tmp_path / "entry", simple_build)
    if damage == "changed":
        (entry / "sub" / "file").write_text("other")
    elif damage == "missing":
        (entry / "sub" / "file").unlink()
    elif damage == "added":
        (entry / "stranger").write_text("")
    else:
        (entry / "manifest.json").write_text("{")
    assert finished_entry(entry) is None
    get_or_build(entry, simple_build)
    assert finished_entry(entry) == entry
    assert (entry / "sub" / "file").read_text() == "content"


def test_a_finished_entry_is_not_built_again(tmp_path: Path) -> None:
    entry = get_or_build(tmp_path / "entry", simple_build)

    def never(directory: Path) -> None:
        pytest.fail("built again")

    assert get_or_build(entry, never) == entry


@given(st.dictionaries(st.text(), st.text()), st.text(), st.text())
def test_keys_tell_contents_apart(parts: dict[str, str], name: str, value: str) -> None:
    assert key_of(parts) == key_of(dict(reversed(parts.items())))
    if parts.get(name) != value:
        assert key_of({**parts, name: value}) != key_of(parts)


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SERVEBENCH_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache_directory() == tmp_path / ".cache" / "pytest-servebench"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "pytest-servebench"
    monkeypatch.setenv("SERVEBENCH_CACHE_DIR", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"
