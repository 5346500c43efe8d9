"""Files are whole or not there; names fit into every file system."""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_build.files import atomic_writer
from pytest_servebench.runs import run_file
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.runs.run_names import read_run
from pytest_servebench.system.files import LONGEST_NAME, file_name, whole_file, write_whole
from simulation import saved


@given(st.text(st.characters(), max_size=400))
def test_a_name_from_any_text(text: str) -> None:
    name = file_name(text)
    assert 0 < len(os.fsencode(name)) <= LONGEST_NAME
    assert not set(name) & set('/\\:*?"<>|\0\n ')
    assert name.strip(".")
    assert name == file_name(text)


@pytest.mark.parametrize("letter", ["x", "好", "🙂", "é"])
def test_long_texts_that_begin_alike_have_other_names(letter: str) -> None:
    one, other = (file_name(letter * 300 + end) for end in "ab")
    assert one != other


def test_short_names_stay() -> None:
    assert file_name("test_load[toy-rate0.5-buffer10]") == "test_load_toy-rate0.5-buffer10"


@pytest.fixture(params=[True, False], ids=["unnamed", "named"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the system with and without files that have no name."""
    if not request.param:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("writer", [whole_file, atomic_writer])
def test_an_error_leaves_the_old_file_alone(
    tmp_path: Path, writer: Callable[[Path], AbstractContextManager[IO[bytes]]]
) -> None:
    path = tmp_path / ("n" * 255)  # no room for an ending of its own
    write_whole(path, b"old")

    def fail() -> None:
        with writer(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    write_whole(path, b"new", sync=True)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_system_without_links_of_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(os, "link", refuse)
    write_whole(tmp_path / "a", b"x" * 100_000)
    assert (tmp_path / "a").read_bytes() == b"x" * 100_000
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="this system names every file")
def test_a_killed_writer_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from pytest_servebench.system.files import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as file:\n"
        "    file.write(b'x' * 100_000); print('half', flush=True); time.sleep(60)"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "file"],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"half\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert list(tmp_path.iterdir()) == []


def test_a_case_becomes_json_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    to_json = run_file._encoded

    def counted(case: CaseResult) -> bytes:
        encoded.append(case)
        return to_json(case)

    monkeypatch.setattr(run_file, "_encoded", counted)
    growing, cases = run_file.GrowingRunFile(), saved.queue_run().cases
    for number in range(1, len(cases) + 1):
        run = saved.run(cases[:number], finished=False)
        growing.write(run, tmp_path)
        assert read_run(tmp_path) == run
    assert len(encoded) == len(cases)
    # Judged again, to the same result.
    before = (tmp_path / "run.json").stat().st_ino
    growing.write(
        saved.run([dataclasses.replace(case) for case in cases], finished=False), tmp_path
    )
    assert (tmp_path / "run.json").stat().st_ino == before
    assert len(encoded) == len(cases)
    (tmp_path / "run.json").unlink()
    growing.write(run, tmp_path)
    assert read_run(tmp_path) == run
    other = saved.run([dataclasses.replace(cases[0], test_outcome="failed"), *cases[1:]])
    growing.write(other, tmp_path)
    assert read_run(tmp_path) == other
    assert len(encoded) == len(cases) + 1
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
