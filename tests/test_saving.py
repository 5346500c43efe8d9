"""What cannot be saved at a session's end is told, and costs nothing else."""

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

# Imported before any run of pytest within a test, which forgets the modules that it imported.
from pytest_servebench.plugin import saving
from pytest_servebench.report import page, plots, summary_text
from pytest_servebench.runs import run_file
from tests.conftest import RunBench
from tests.results import RESULTS

PAGE, PLOTS, SUMMARY = (page, "write_page"), (plots, "draw_plots"), (summary_text, "write")
Failures = dict[tuple[ModuleType, str], Exception]


def failing(error: Exception) -> Callable[..., NoReturn]:
    def fails(*_: object, **__: object) -> NoReturn:
        raise error

    return fails


@pytest.mark.parametrize(
    ("failures", "told", "written"),
    [
        ({PAGE: OSError(28, "No space left on device"), PLOTS: ValueError("no such font")},
         ["report.html could not be written: OSError: *No space left on device",
          "plots could not be written: ValueError: no such font"],
         ["metrics_summary.txt", "run.json"]),
        ({SUMMARY: ValueError("no such word")},
         ["metrics_summary.txt could not be written: ValueError: no such word"],
         ["report.html", "run.json"]),
    ],
)  # fmt: skip
def test_a_file_that_fails_costs_no_other(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch, failures: Failures,
    told: list[str], written: list[str],
) -> None:  # fmt: skip
    for (module, function), error in failures.items():
        monkeypatch.setattr(module, function, failing(error))
    result = run_bench(
        "--servebench-page=true", "--servebench-save=main", "--junitxml=junit.xml",
        *(["--servebench-plots=true"] if PLOTS in failures else []),
    )  # fmt: skip
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["rate 40/s*", "servebench: results in *"])
    for one in told:
        result.stdout.fnmatch_lines(
            [f"servebench: {one}*: pytest-servebench report *servebench_results/2*"]
        )
    for name in written:
        assert (RESULTS / "latest" / name).is_file()
        assert (RESULTS / "main" / name).is_file()
    assert Path("junit.xml").is_file()
    made = (RESULTS / "latest/report.html").is_file()
    assert ("servebench: page " in result.stdout.str()) == made == (PAGE not in failures)


def test_markdown_that_cannot_be_written(run_bench: RunBench) -> None:
    result = run_bench("--servebench-markdown=nowhere/x.md")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["rate 40/s*", "servebench: results in *",
         "servebench: --servebench-markdown=*x.md could not be written: *No such file*; give *"]
    )  # fmt: skip
    assert (RESULTS / "latest/metrics_summary.txt").is_file()


def test_a_name_that_cannot_be_given_fails_the_session(run_bench: RunBench) -> None:
    (RESULTS / "main").mkdir(parents=True)
    result = run_bench("--servebench-save=main")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["servebench: *--servebench-save=main: *the run is in *"])
    assert (RESULTS / "latest").readlink().name.startswith("2")


def test_a_run_that_cannot_be_saved_fails_the_session(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = failing(OSError(28, "No space left on device"))
    monkeypatch.setattr(saving, "write_whole", full)
    monkeypatch.setattr(run_file, "whole_file", full)
    result = run_bench()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["rate 40/s*", "servebench: run.json could not be written: *"])
    (directory,) = RESULTS.iterdir()  # nor is there a "latest"
    assert (directory / "metrics_summary.txt").is_file()


OWN_OUTPUT = """
import sys
import types

from pytest_servebench.report import outputs

writer = types.ModuleType("pytest_servebench.report.names")
writer.write = lambda made: "".join(f"{case.name}\\n" for case in made.run.cases)
writer.greet = lambda made: [f"::debug::{len(made.run.cases)} case"]
sys.modules[writer.__name__] = writer
outputs.OUTPUTS += (
    outputs.Output("names", "text", "names:write", option="add the cases' names to this file"),
    outputs.Output("greeting", "lines", "names:greet", "greeting", variable="GREET"),
    outputs.Output("broken", "lines", "names:missing", "the broken one", variable="GREET"),
)
"""


@pytest.mark.slow
def test_an_output_is_a_module_and_an_entry(
    run_bench: RunBench, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(own_output=OWN_OUTPUT)
    monkeypatch.setenv("PYTHONPATH", str(pytester.path), prepend=os.pathsep)
    monkeypatch.setenv("GREET", "true")
    result = run_bench("-p", "own_output", "--servebench-names=names.txt", subprocess=True)
    result.assert_outcomes(passed=1)
    assert (pytester.path / "names.txt").read_text() == "test_load[toy-rate40-buffer10]\n"
    result.stdout.fnmatch_lines(
        ["servebench: the broken one could not be written: AttributeError*", "::debug::1 case"]
    )
    code = "import own_output; from pytest_servebench.commands.cli import main; main()"
    shown = pytester.run(sys.executable, "-c", code, "show", "latest", "--format=names")
    assert shown.outlines == ["test_load[toy-rate40-buffer10]"]


def test_what_libraries_call_outdated_costs_no_file(
    run_bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def outdated(*_: object) -> list[Path]:
        asked.append(warnings.warn("use another", DeprecationWarning, stacklevel=1))
        return []

    monkeypatch.setattr(plots, "draw_plots", outdated)
    result = run_bench("-Werror", "--servebench-plots=true")
    assert asked
    assert "could not be written" not in result.stdout.str()
