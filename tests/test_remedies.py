"""Every option and command that a message names exists, for whoever reads the message."""

import ast
import functools
import json
import re
from pathlib import Path

import pytest

import pytest_servebench
from pytest_servebench.commands.cli import build_parser, main
from tests.conftest import RunBench
from tests.results import saved_run

PACKAGE = Path(pytest_servebench.__file__).parent


@functools.cache
def texts() -> list[tuple[str, str]]:
    """Return each string of the package with the name of its file."""
    return [
        (path.name, node.value)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


@pytest.mark.slow
def test_every_option_that_is_named_is_registered(pytestconfig: pytest.Config) -> None:
    known = {name for name in vars(pytestconfig.option) if name.startswith("servebench_")}
    assert "servebench_slo" in known
    named = {
        (file, word.replace("-", "_"))
        for file, text in texts()
        for word in re.findall(r"--(servebench-[a-z]+(?:-[a-z]+)*)", text)
    }
    assert len(named) > 30
    assert {(file, word) for file, word in named if word not in known} == set()


def test_every_command_that_is_named_exists() -> None:
    (commands,) = (one for one in build_parser()._actions if one.dest == "command")
    # Where it stands for the program itself, "this" comes before it.
    named = {
        word for _, text in texts()
        for word in re.findall(r"(?<!this )pytest-servebench ([a-z]+)", text)
    }  # fmt: skip
    assert {"compare", "list", "report"} <= named <= set(commands.choices or ())


def test_remedy_for_another_schema_is_one_that_the_reader_has(
    run_bench: RunBench, capsys: pytest.CaptureFixture[str]
) -> None:
    run_bench("--servebench-save=old", "--servebench-max-lag=5000")
    directory, run = saved_run()
    run["servebench"]["schema_version"] = 99
    for case in run["servebench"]["cases"]:
        case["schema_version"] = 99
    (directory / "run.json").write_text(json.dumps(run))
    assert main(["show", str(directory)]) == 2
    message = capsys.readouterr().err
    for fact in ("99", "compare --allow schema", "--servebench-baseline-allow=schema"):
        assert fact in message
    assert main(["compare", str(directory), str(directory), "--allow", "schema"]) == 0
    gate = ("--servebench-baseline", str(directory), "--servebench-max-regression=p50:9999%")
    assert run_bench(*gate).ret == pytest.ExitCode.USAGE_ERROR
    allowed = "--servebench-baseline-allow=schema,machine"
    result = run_bench(*gate, allowed, "--servebench-max-lag=5000")
    assert "schema_version" not in result.stdout.str() + result.stderr.str()
    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)


def test_nothing_is_made_again_of_what_was_not_written(run_bench: RunBench) -> None:
    conftest = """
    import shutil

    def pytest_servebench_case_finished(config, result):
        shutil.rmtree("servebench_results")
        open("servebench_results", "w").close()
    """
    result = run_bench("--servebench-page=true", conftest=conftest)
    assert "could not be written" in result.stdout.str()
    result.stdout.no_fnmatch_line("*pytest-servebench report*")
