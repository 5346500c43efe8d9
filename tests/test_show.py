"""``pytest-servebench show``: a saved run, as its session's end showed it."""

import json
import sys
from pathlib import Path

import pytest

from pytest_servebench.commands.cli import main
from pytest_servebench.report.markdown import markdown
from pytest_servebench.runs.run_names import read_run
from simulation import saved
from simulation.capacities import capacity, probe_cases
from tests.at_terminal import run_at_terminal
from tests.conftest import RunBench
from tests.report import made_runs
from tests.results import saved_run

NAME = "20250301-101500"  # of the run that is made


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("results")
    path = saved.save(made_runs.overloaded_run(), directory)
    (directory / "latest").symlink_to(path.parent.name)
    return directory


Capture = pytest.CaptureFixture[str]


def report_of(text: str) -> list[str]:
    """Return the lines from the heading to the name of the directory of the results.

    But for the name of the run, which the session's directory tells.
    """
    lines = [line for line in text.splitlines() if not line.startswith("run  ")]
    start = next(number for number, line in enumerate(lines) if "= servebench: " in line)
    end = next(n for n, line in enumerate(lines) if line.startswith("servebench: results in "))
    return lines[start:end]


def test_it_is_what_the_session_showed(run_bench: RunBench, capsys: Capture) -> None:
    shown = run_bench("--servebench-rates=40,60", "--servebench-slo=p50<0.01ms")
    capsys.readouterr()
    assert main(["show"]) == 0  # the latest
    text = capsys.readouterr().out
    assert report_of(text) == report_of(shown.stdout.str())
    assert "FAILED: the SLO is broken (2 of 2 cases)" in text
    run = saved_run()[0].name
    date = f"{run[:4]}-{run[4:6]}-{run[6:8]} {run[9:11]}:{run[11:13]}"
    assert f"run       {run}, {date}" in text.splitlines()
    run_bench("-v", "--servebench-rates=40")
    session = report_of(capsys.readouterr().out)
    assert main(["show", "-v"]) == 0
    assert report_of(capsys.readouterr().out) == session


@pytest.mark.parametrize("name", ["latest", NAME, "file", "directory", "results"])
def test_a_run_has_many_names(results: Path, capsys: Capture, name: str) -> None:
    given = {
        "file": str(results / NAME / "run.json"),
        "directory": str(results / NAME),
        "results": str(results),
    }
    assert main(["show", given.get(name, name), "--results", str(results)]) == 0
    text = capsys.readouterr().out
    assert text.count("rate 200/s") == 1
    assert text.rstrip().rpartition("results in ")[2].startswith(str(results))


def test_a_case_is_shown_with_all_that_is_known_of_it(results: Path, capsys: Capture) -> None:
    assert main(["show", "--results", str(results), "--case", "TorchServe-rate100-"]) == 0
    text = capsys.readouterr().out
    for size in (10, 50):
        assert (
            f"\nbench_tests/test_serving.py::test_serving[torchserve-rate100-buffer{size}]" in text
        )
    for part in ("p99<50ms", "queue wait", "error_status", "longest pause", "95 % interval"):
        assert text.count(part) >= 2
    for part in ("tensorflow_serving", "rate 200/s", "overall evaluation"):
        assert part not in text


def test_a_name_that_no_case_has_is_an_error(results: Path, capsys: Capture) -> None:
    assert main(["show", "--results", str(results), "--case", "rate7"]) == 2
    error = capsys.readouterr().err
    assert "--case='rate7'" in error
    assert "\n  test_serving[torchserve-rate200-buffer50]" in error


def test_capacities_are_chosen_by_name_with_their_probes(tmp_path: Path, capsys: Capture) -> None:
    probes = [probe_cases(kind=kind, title=kind) for kind in ("one", "two")]
    found = tuple(capacity(probes=own, kind=own[0].server.kind) for own in probes)
    path = saved.save(
        saved.run([saved.case()], capacities=found, probes=(*probes[0], *probes[1])), tmp_path
    )
    for text, cases, searches in (("[two", 0, 1), ("capacity", 0, 2), ("test_load", 1, 0)):
        assert main(["show", str(path), "--case", text, "--format=json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        parts = [len(shown[name]) for name in ("cases", "capacities", "probes")]
        assert parts == [cases, searches, 4 * searches]
        assert main(["show", str(path), "--case", text]) == 0
        assert "interrupted" not in capsys.readouterr().out
    assert main(["show", str(path), "--case", "nothing"]) == 2
    assert "\n  test_capacity[two-buffer50]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), ("", "is empty"), ("{", "cut off"), ("[]", "not a saved run")],
)
def test_what_cannot_be_shown_is_an_error(
    tmp_path: Path, capsys: Capture, content: str | None, words: str
) -> None:
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content)
    assert main(["show", str(path)]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


def test_json_and_markdown(results: Path, capsys: Capture) -> None:
    run = read_run(results / "latest")
    assert main(["show", "--results", str(results), "--format", "markdown"]) == 0
    assert capsys.readouterr().out == markdown(run)
    assert main(["show", "--results", str(results), "--format=json", "--case=torchserve"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["run"] == NAME
    assert {case["server"]["kind"] for case in data["cases"]} == {"torchserve"}
    assert len(data["cases"]) == 8


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 100, 150])
def test_it_fits_the_terminal(results: Path, columns: int) -> None:
    program = (
        "import sys; from pytest_servebench.commands.cli import main; sys.exit(main(['show', '.']))"
    )
    seen = run_at_terminal([sys.executable, "-c", program], results, columns=columns)
    assert seen.status == 0
    row = next(line for line in seen.lines if line.startswith("rate 100/s"))
    assert ("errors" in row) == (columns >= 100)
    assert any(line.startswith("  buffer 10") and "FAILED" in line for line in seen.lines)
