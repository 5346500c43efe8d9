"""Logs on the page: those of the run, whatever its file and its directory claim."""

import dataclasses
from pathlib import Path

import pytest

from pytest_servebench.report.page.log_tails import case_logs, death_logs
from pytest_servebench.runs.results import LogPart, ServerDeath
from tests.report import made_runs


@pytest.mark.parametrize(
    "name", ["{elsewhere}/secret.log", "../elsewhere/secret.log", "servers/toy/link.log",
             "servers/toy/loop.log", "run.json"],
)  # fmt: skip
def test_a_log_that_lies_elsewhere_is_named_and_not_shown(name: str, tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    (run / "servers/toy").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "secret.log").write_text("a secret\n")
    (run / "run.json").write_text("a secret\n")
    (run / "servers/toy/link.log").symlink_to(elsewhere / "secret.log")
    (run / "servers/toy/loop.log").symlink_to("loop.log")
    (run / "servers/toy/toy.log").write_text("ready\nserved\n")
    name = name.format(elsewhere=elsewhere)
    logs = (LogPart("servers/toy/toy.log", 0, 2), LogPart(name, 0, 1))
    case = dataclasses.replace(made_runs.case(), logs=logs)
    own, *others = case_logs(case, run)
    assert own.lines == ("ready", "served")
    assert "a secret" not in str(others)
    assert [one.name for one in others] == ([] if "loop" in name else [name])


def test_the_log_of_a_death_must_be_the_runs_own(tmp_path: Path) -> None:
    own = tmp_path / "servers/toy"
    own.mkdir(parents=True)
    (tmp_path / "secret").write_text("a secret\n")
    (own / "toy.log").write_text("ready\nout of memory\n")
    (own / "link.log").symlink_to("../../secret")
    (own / "loop.log").symlink_to("loop.log")
    names = ("toy.log", "toy.log", "link.log", "loop.log", "gone.log", "../../secret", "\0", "")
    deaths = [
        ServerDeath("toy", "Toy 1.0", "test_it", "it ended", name and f"servers/toy/{name}")
        for name in names
    ]
    assert [tail.lines for tail in death_logs(deaths, tmp_path)] == [("ready", "out of memory")]
