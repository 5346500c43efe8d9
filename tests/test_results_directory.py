"""Results are found from any directory of a project, and it is said where others could be meant."""

from pathlib import Path

import pytest

from pytest_servebench.commands.cli import main
from pytest_servebench.commands.results_directory import find_results
from simulation import saved

RUN = saved.queue_run("main", rates=[20.0], number=200)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project's directory with an empty subdirectory, which is the current one."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    inside = tmp_path / "project/tests/perf"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    return tmp_path / "project"


@pytest.mark.parametrize(
    ("name", "text", "results"),
    [
        (None, "", "servebench_results"),
        ("pytest.ini", "[pytest]\n", "servebench_results"),
        ("pytest.ini", "[pytest]\nservebench_results = out/bench\n", "out/bench"),
        ("pyproject.toml", "[tool.pytest.ini_options]\nservebench_results = 'out'\n", "out"),
        ("setup.cfg", "[tool:pytest]\nservebench_results = out\n", "out"),
        ("tox.ini", "[pytest]\naddopts = -q --servebench-results=out\n", "out"),
        ("pytest.ini", "[pytest]\naddopts =\n  -q\n  --servebench-results out\n", "out"),
        # Not there yet: the old ones are meant.
        ("pytest.ini", "[pytest]\nservebench_results = none\n", "servebench_results"),
    ],
)
def test_results_are_found_from_a_subdirectory(
    project: Path, name: str | None, text: str, results: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if name is not None:
        (project / name).write_text(text)
    saved.save(RUN, project / results)
    assert find_results(Path.cwd()) == (Path("../..") / results, "")
    assert main(["list"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "command",
    ["show main", "compare main latest", "report main --output x.html",
     "plan --run main --slo p50<1s"],
)  # fmt: skip
def test_each_command_finds_runs_by_name(
    project: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    saved.save(RUN, project / "servebench_results")
    assert main(command.split()) == 0
    assert capsys.readouterr().err == ""


def test_the_environment_is_asked_as_well(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", f"--servebench-results={project.parent / 'shared'}")
    (project / "pytest.ini").write_text("[pytest]\n")
    (project.parent / "shared").mkdir()
    assert find_results(Path.cwd()) == (Path("../../../shared"), "")


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ("servebench_results", "../../servebench_results"),
        ("../servebench_results", "../../servebench_results"),
        ("../../out", "servebench_results"),
    ],
)
def test_where_others_could_be_meant_it_is_said(
    project: Path, own: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "servebench_results = out" if "out" in own else ""
    (project / "pytest.ini").write_text(f"[pytest]\n{key}\n")
    for one in (own, other):
        saved.save(RUN, Path(one))
    assert main(["list"]) == 0
    said = capsys.readouterr().err
    assert f"using {own}/" in said
    assert f" {other}/, give it by --results" in said
    assert main(["list", "--results", other]) == 0
    assert capsys.readouterr().err == ""


def test_what_lies_above_the_project_is_another_ones(project: Path) -> None:
    (project / "pytest.ini").touch()
    for directory in (project, project.parent):
        (directory / "servebench_results").mkdir()
    assert find_results(Path.cwd()) == (Path("../../servebench_results"), "")


def test_nowhere(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 2
    assert "--results" in capsys.readouterr().err
    (project / "pyproject.toml").write_text("[tool.pytest\n")
    assert main(["list"]) == 2
    said = capsys.readouterr().err
    assert "pyproject.toml" in said
    assert "Traceback" not in said
