"""What cannot be saved at a session's end is told, and costs nothing else."""

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import RunBench
from tests.results import RESULTS

FAILING = """
import pytest_servebench.report.page
import pytest_servebench.report.plots
import pytest_servebench.report.summary_text

def failing(error):
    def fails(*_):
        raise error
    return fails

"""
PAGE, PLOTS, SUMMARY = "page.write_page", "plots.draw_plots", "summary_text.write"


@pytest.mark.parametrize(
    ("failures", "told", "written"),
    [
        ({PAGE: "OSError(28, 'No space left on device')", PLOTS: "ValueError('no such font')"},
         ["report.html could not be written: OSError: *No space left on device",
          "plots could not be written: ValueError: no such font"],
         ["metrics_summary.txt", "run.json"]),
        ({SUMMARY: "ValueError('no such word')"},
         ["metrics_summary.txt could not be written: ValueError: no such word"],
         ["report.html", "run.json"]),
    ],
)  # fmt: skip
def test_a_file_that_fails_costs_no_other(
    run_bench: RunBench, failures: dict[str, str], told: list[str], written: list[str]
) -> None:
    broken = [f"pytest_servebench.report.{what} = failing({error})\n"
              for what, error in failures.items()]  # fmt: skip
    result = run_bench(
        "--servebench-page=true", "--servebench-save=main", "--junitxml=junit.xml",
        *(["--servebench-plots=true"] if PLOTS in failures else []),
        conftest=FAILING + "".join(broken), subprocess=True,
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
    page = (RESULTS / "latest/report.html").is_file()
    assert ("servebench: page " in result.stdout.str()) == page == (PAGE not in failures)


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


def test_a_run_that_cannot_be_saved_fails_the_session(run_bench: RunBench) -> None:
    conftest = """
import pytest_servebench.runs.run_file
import pytest_servebench.plugin.saving

def full(*_, **__):
    raise OSError(28, "No space left on device")

pytest_servebench.plugin.saving.write_whole = full
pytest_servebench.runs.run_file.whole_file = full
"""
    result = run_bench(conftest=conftest, subprocess=True)
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


def test_what_libraries_call_outdated_costs_no_file(run_bench: RunBench) -> None:
    conftest = """
    import warnings
    import pytest_servebench.report.plots

    def outdated(*_):
        warnings.warn("use another", DeprecationWarning)
        return []

    pytest_servebench.report.plots.draw_plots = outdated
    """
    result = run_bench("-Werror", "--servebench-plots=true", conftest=conftest, subprocess=True)
    assert "could not be written" not in result.stdout.str()
