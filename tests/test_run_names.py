"""Which run a name means, in directories that were copied, packed and unpacked."""

import dataclasses
import json
import math
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.commands.cli import main
from pytest_servebench.errors import NoSuchRunError, SavedRunError
from pytest_servebench.runs.run_names import find_run, give_name, instant, read_run, runs_in
from simulation import saved

RUN = saved.queue_run("made", rates=[20.0], number=200)


def save(results: Path, name: str, started: str) -> Path:
    """Save a run and return its directory."""
    return saved.save(dataclasses.replace(RUN, name=name, started=started), results).parent


def as_a_store_does(results: Path) -> None:
    """Turn links into directories, as archives and object stores do."""
    shutil.copytree(results, results.with_name("unpacked"))
    shutil.rmtree(results)
    results.with_name("unpacked").rename(results)
    assert not any(one.is_symlink() for one in results.iterdir())


def names(results: Path) -> list[str]:
    return [one.path.parent.name for one in runs_in(results)]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return results of one run that has two names, which a store has made directories."""
    results = tmp_path / "results"
    first = save(results, "20260102-090000", "2026-01-02T09:00:00.123+01:00")
    for name in ("latest", "main"):
        (results / name).symlink_to(first.name)
    as_a_store_does(results)
    return results


def test_latest_is_the_run_that_began_last_whatever_is_called_so(results: Path) -> None:
    assert find_run("latest", results).parent.name == "20260102-090000"
    second = save(results, "20260102-093000", "2026-01-02T09:30:00.001+01:00")
    for name in ("latest", results / "latest", results, f"{results}/latest"):
        assert find_run(name, results).parent == second
    assert find_run("main", results).parent == results / "main"
    shutil.rmtree(results / "latest")
    (results / "latest").write_text("20260102-090000")  # as git writes a link where there are none
    assert find_run("latest", results).parent == second


def test_copies_are_no_runs(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(results, "20260102-093000", "2026-01-02T09:30:00.001+01:00")
    assert names(results) == ["20260102-090000", "20260102-093000"]
    assert main(["list", "--results", str(results)]) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("20260102-090000 ")
    assert first.endswith("  main")
    assert second.endswith("  latest")


def test_a_copy_is_the_run_where_its_original_is_gone(results: Path) -> None:
    shutil.rmtree(results / "20260102-090000")
    assert names(results) == ["main"]
    shutil.rmtree(results / "main")
    assert find_run("latest", results).parent == results / "latest"


def test_runs_are_in_the_order_of_time_and_not_of_text(tmp_path: Path) -> None:
    # Clocks went back in between, and one machine is further east.
    save(tmp_path, "20261025-025500", "2026-10-25T02:55:00+02:00")
    save(tmp_path, "20261025-020500", "2026-10-25T02:05:00+01:00")
    save(tmp_path, "20261025-083000", "2026-10-25T08:30:00+09:00")
    for number in (2, 10):  # in one second
        save(tmp_path, f"20261025-120000-{number}", "2026-10-25T12:00:00+01:00")
    order = ["083000", "025500", "020500", "120000-2", "120000-10"]
    assert names(tmp_path) == [f"20261025-{one}" for one in order]


@given(st.datetimes(timezones=st.timezones()), st.text(max_size=30))
def test_any_text_is_an_instant_or_none(time: datetime, text: str) -> None:
    assert instant(time.isoformat()) == pytest.approx(time.timestamp(), abs=60)  # old offsets
    assert instant(text) < math.inf


def test_the_last_run_is_found_without_reading_all(tmp_path: Path) -> None:
    for day in range(10, 28):
        save(tmp_path, f"202610{day}-120000", f"2026-10-{day}T12:00:00+00:00")
    (tmp_path / "20261012-120000/run.json").write_text("not looked at")
    assert find_run("latest", tmp_path).parent.name == "20261027-120000"
    # A time zone in which it is tomorrow already, and names that say nothing.
    save(tmp_path, "20261028-130000", "2026-10-28T13:00:00+14:00")
    save(tmp_path, "20261027-233000", "2026-10-27T23:30:00-11:00")
    assert find_run("latest", tmp_path).parent.name == "20261027-233000"
    save(tmp_path, "nightly", "2026-10-30T12:00:00+00:00")
    save(tmp_path, "20269999-120000", "2026-10-29T12:00:00+00:00")
    assert find_run("latest", tmp_path).parent.name == "nightly"


def test_the_last_run_may_be_of_another_version(tmp_path: Path) -> None:
    path = save(tmp_path, "20261028-130000", "2026-10-28T13:00:00+14:00") / "run.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    assert find_run("latest", tmp_path) == path
    with pytest.raises(SavedRunError, match="--allow schema"):
        read_run("latest", tmp_path)
    assert read_run("latest", tmp_path, any_schema=True).name == "20261028-130000"


def test_a_last_run_that_cannot_be_read_is_told(results: Path) -> None:
    broken = save(results, "20260102-093000", "2026-01-02T09:30:00+01:00") / "run.json"
    broken.write_text(broken.read_text()[:100])
    with pytest.raises(SavedRunError, match=r"20260102-093000.*cut off"):
        find_run("latest", results)
    assert find_run("main", results).parent == results / "main"


# -- names beside directories of the same name ----------------------------------------------------


def test_a_directory_of_sources_is_no_run(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(results.parent)
    (results.parent / "main").mkdir()
    (results.parent / "main/app.py").touch()
    assert find_run("main", results) == results / "main/run.json"
    shutil.rmtree(results / "main")
    with pytest.raises(NoSuchRunError, match="no run of this name in"):
        find_run("main", results)


def test_two_runs_of_one_name_are_told(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(results.parent)
    save(results.parent, "main", "2026-01-01T00:00:00+00:00")
    with pytest.raises(SavedRunError, match=r"\./main or .*results/main"):
        find_run("main", results)
    assert find_run("./main", results) == Path("main/run.json")
    monkeypatch.chdir(results)  # here both are the same run
    assert find_run("main", results) == results / "main/run.json"


def test_a_name_that_is_none_offers_close_ones(results: Path) -> None:
    with pytest.raises(NoSuchRunError, match=r"'mian'.*did you mean main"):
        find_run("mian", results)


# -- giving names ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["latest", "main"])
def test_a_copy_gives_way_to_the_name(results: Path, name: str) -> None:
    second = save(results, "20260102-093000", "2026-01-02T09:30:00.001+01:00")
    assert give_name(results / name, second) == ""
    assert (results / name).readlink() == Path(second.name)
    assert (results / "20260102-090000").is_dir()


def test_nothing_is_lost_for_a_name(results: Path) -> None:
    second = save(results, "20260102-093000", "2026-01-02T09:30:00.001+01:00")
    # The copy is all that is left of its run.
    shutil.rmtree(results / "20260102-090000")
    assert give_name(results / "main", second) == ""
    assert names(results) == ["20260102-090000", "20260102-093000"]
    # The copy has more than the original.
    shutil.rmtree(results / "latest")
    shutil.copytree(second, results / "latest")
    (results / "latest/notes.txt").write_text("keep me")
    assert "latest.1" in give_name(results / "latest", second)
    assert (results / "latest.1/notes.txt").is_file()
    assert (results / "latest").readlink() == Path(second.name)


def test_what_is_no_run_stays(results: Path) -> None:
    second = save(results, "20260102-093000", "2026-01-02T09:30:00.001+01:00")
    (results / "mine").mkdir()
    (results / "mine/notes.txt").write_text("keep me")
    with pytest.raises(OSError, match="without a run"):
        give_name(results / "mine", second)
    assert (results / "mine/notes.txt").is_file()


@pytest.mark.parametrize("name", ["../elsewhere", "..", "", "/tmp/x", "main", "a\0b"])
def test_a_copy_that_claims_an_odd_name_is_moved_aside(results: Path, name: str) -> None:
    second = save(results, "20260102-093000", "2026-01-02T09:30:00.001+01:00")
    file = results / "main/run.json"
    data = json.loads(file.read_text())
    data["servebench"]["run"] = name
    file.write_text(json.dumps(data))
    assert "main.1" in give_name(results / "main", second)
    assert (results / "main.1/run.json").is_file()
