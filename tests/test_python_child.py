"""Children that are Python programs of ours see this process's packages, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_servebench.system.python_child import (
    package_path,
    python_child,
    untraced,
    without_tracers,
)

PROBE = """
import asyncio, json, sys, tracemalloc, types
import numpy
print(json.dumps({
    "argv": sys.argv[1:], "flags": [sys.flags.no_site, sys.flags.ignore_environment],
    "dev": sys.flags.dev_mode, "traced": tracemalloc.is_tracing(), "numpy": numpy.__file__,
    "bytecode": not sys.dont_write_bytecode, "prefix": sys.prefix, "loaded": sorted(sys.modules),
    "name": __name__,
}))
"""
BROKEN = "raise ImportError('of the user')\n"


def run_probe(*arguments: str) -> dict[str, object]:
    command, told = python_child("probe_of_ours", *arguments)
    done = subprocess.run(
        command, env={**os.environ, **told}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that only this process's own ``sys.path`` leads to."""
    place = tmp_path / "found by path: alone"
    place.mkdir()
    (place / "probe_of_ours.py").write_text(PROBE)
    monkeypatch.syspath_prepend(place)
    return place


def test_files_of_the_user_hide_nothing(
    probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name in ("enum", "asyncio", "heapq", "types", "runpy", "encodings", "site", "os"):
        (theirs / f"{name}.py").write_text(BROKEN)
    (theirs / "numpy").mkdir()
    (theirs / "numpy" / "__init__.py").write_text(BROKEN)
    monkeypatch.chdir(theirs)
    monkeypatch.syspath_prepend(theirs)  # as pytest does for a directory of tests
    monkeypatch.setenv("PYTHONPATH", str(theirs))
    found = run_probe("a", "b c")
    assert found["argv"] == ["a", "b c"]
    assert found["name"] == "__main__"
    assert found["numpy"] == np.__file__
    assert found["prefix"] == sys.prefix


def test_a_working_directory_that_was_removed(
    probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run_probe()["argv"] == []


def test_no_tracer_rides_in(probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    riders = tmp_path / "riders"
    riders.mkdir()
    for name in ("sitecustomize", "usercustomize"):
        (riders / f"{name}.py").write_text("import sys\nsys.setprofile(lambda *_: None)\n")
    monkeypatch.setenv("PYTHONPATH", str(riders))
    monkeypatch.syspath_prepend(riders)
    for name in ("TRACEMALLOC", "PROFILEIMPORTTIME", "DEVMODE", "INSPECT", "MALLOCSTATS"):
        monkeypatch.setenv(f"PYTHON{name}", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("COVERAGE_PROCESS_START", str(tmp_path / "coveragerc"))
    found = run_probe()
    assert found["flags"] == [1, 1]
    assert not found["traced"]
    assert not found["dev"]
    loaded = found["loaded"]
    assert isinstance(loaded, list)
    assert not {"site", "sitecustomize", "usercustomize", "coverage"} & set(loaded)


@pytest.mark.parametrize("wanted", [pytest.param(True, marks=pytest.mark.slow), False])
def test_bytecode_is_written_where_this_process_writes_it(
    probe: Path, monkeypatch: pytest.MonkeyPatch, *, wanted: bool
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", not wanted)
    assert run_probe()["bytecode"] is wanted


def test_the_working_directory_of_the_moment_is_no_place_for_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", ["", ".", "relative", str(tmp_path), *sys.path])
    path = package_path("pytest_servebench")
    assert all(os.path.isabs(entry) for entry in path)  # noqa: PTH117
    assert path.index(str(Path(np.__file__).parents[1])) < path.index(str(tmp_path))


def test_other_libraries_children_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", ":data:…")
    monkeypatch.setenv("COV_CORE_SOURCE", ".")
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    before = dict(os.environ)
    with untraced():
        assert not [name for name in os.environ if name.startswith("COV")]
        assert os.environ["PYTHONPATH"] == "/theirs"
        assert os.environ["PYTHONSAFEPATH"]
    assert dict(os.environ) == before


def test_variables_that_are_no_tracers_stay() -> None:
    theirs = {"PYTHONPATH": "a", "PYTHONMALLOC": "malloc", "COVER": "b", "PYTHONUTF8": "1"}
    assert without_tracers({**theirs, "PYTHONTRACEMALLOC": "25"}) == theirs
