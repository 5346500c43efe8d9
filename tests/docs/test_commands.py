"""Every command that the documentation shows is one that works."""

import configparser
import functools
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pytest_servebench.commands import cli
from tests.conftest import ROOT
from tests.docs.pages import (
    DOCS,
    PAGES,
    WORKFLOW,
    Command,
    all_commands,
    blocks,
    commands_of,
    shown,
)
from zoo import __main__ as zoo
from zoo.examples import read_examples

# Programs of others, whose arguments nobody here can check.
_FOREIGN = {
    ".", "aiperf", "apt-get", "cd", "docker", "echo", "git", "guidellm", "kill", "mkdir", "python3",
    "vllm",
}  # fmt: skip
_SAMPLE = ROOT / "tests" / "data" / "sample-run" / "run.json"
_THEIRS = {
    "theirs.json": "vllm.json", "before/profile_export.jsonl": "aiperf.jsonl",
    "after/profile_export.jsonl": "aiperf.jsonl",
}  # fmt: skip
_RUNS = ("main", "base", "latest", "embedded", "real")
_OPTION = re.compile(r"--servebench-[a-z0-9-]+[a-z0-9]")


def test_every_program_is_known() -> None:
    known = _FOREIGN | {"pip", "pytest", "pytest-servebench", "python", "tox", "sphinx-build"}
    assert {command.program for command in all_commands()} <= known
    assert len(commands_of("pytest")) > 20  # so that the tests below have something to check
    assert len(commands_of("pytest-servebench")) > 10


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with the bench suite, saved runs, and servers that need not be there."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    shutil.copytree(ROOT / "bench_tests", pytester.path / "bench_tests")
    pytester.makepyfile(
        test_sentiment=(ROOT / "bench_tests" / "test_serving.py").read_text(),
        test_chat="def test_chat(poisson_load): pass",
        test_models="def test_mix(poisson_load): pass",
    )
    run = json.loads(_SAMPLE.read_text())
    for case in run["servebench"]["cases"]:
        case["rate"] = 10.0  # which the commands speak of
    for name in _RUNS:
        target = pytester.path / "servebench_results" / name / "run.json"
        target.parent.mkdir(parents=True)
        target.write_text(json.dumps(run))
    for name, source in _THEIRS.items():
        (pytester.path / name).parent.mkdir(exist_ok=True)
        shutil.copy(_SAMPLE.parents[1] / "foreign" / source, pytester.path / name)
    (pytester.path / "pytest.ini").write_text("[pytest]\nservebench_model = tests.toy:toy_model\n")
    return pytester.path


def collects(pytester: pytest.Pytester, arguments: list[str]) -> list[str]:
    """Let pytest collect with these arguments, and return the ids of the tests."""
    arguments = [one for one in arguments if one != "-q" and not one.startswith("--junitxml")]
    result = pytester.runpytest_inprocess(
        "--collect-only", "-q", "-p", "no:hypothesispytest", *arguments
    )
    assert result.ret == pytest.ExitCode.OK, (arguments, result.outlines, result.errlines)
    return [line for line in result.outlines if "::" in line]


def pytest_arguments(command: Command) -> list[str]:
    """Return what a command gives to pytest."""
    words = list(command.words[1:])
    if command.program == "tox":
        words = words[words.index("--") + 1 :]
    if "zoo" in command.words:  # which also takes names of servers
        options, words = zoo.parser().parse_known_args(words)
        assert set(options.servers) <= {name for each in read_examples() for name in each.servers}
    return words


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        *commands_of("pytest"),
        *(one for one in commands_of("tox") if "--" in one.words and "benchmarks" not in one.words),
    ],
    ids=str,
)
@pytest.mark.usefixtures("suite")
@pytest.mark.filterwarnings("ignore::pytest_benchmark.logger.PytestBenchmarkWarning")
def test_pytest_takes_it(pytester: pytest.Pytester, command: Command) -> None:
    arguments = pytest_arguments(command)
    if arguments == ["--help"]:
        return
    assert "..." not in arguments
    if "::" not in "".join(arguments):
        ids = collects(pytester, arguments)
        assert ids
        if "-k" in arguments and "rate10" in arguments[arguments.index("-k") + 1]:
            assert all("rate10-" in one for one in ids)


@pytest.mark.parametrize("command", commands_of("pytest-servebench"), ids=str)
@pytest.mark.usefixtures("suite")
def test_our_own_command_takes_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], command: Command,
) -> None:  # fmt: skip
    # What is drawn takes seconds, and is the same for each.
    monkeypatch.setattr("pytest_servebench.report.plots.draw_plots", lambda *_: [])
    arguments = list(command.words[1:])
    if arguments[0] == "run":
        # What it would ask of pytest can be collected, too.
        asked: list[str] = []

        def keep(given: list[str]) -> int:
            asked.extend(given)
            return 0

        with monkeypatch.context() as patched:
            patched.setattr(pytest, "main", keep)
            assert cli.main(arguments) == 0
        assert collects(pytester, asked)
    elif command.inline:
        # In running text a command may be shortened, or have words that stand for something.
        with pytest.raises(SystemExit, match="0"):
            cli.main([arguments[0], "--help"])
        given = {one.partition("=")[0] for one in arguments if one.startswith("--")}
        assert given <= set(_flags(arguments[0]))
    elif arguments[0] in ("size", "whatif"):
        assert cli.main(arguments) == 2
        assert "records of requests are needed" in capsys.readouterr().err  # that and no more
    else:
        status = cli.main(arguments)
        if status == 2:  # understood, but the run of the tests has no such case
            said = " ".join("".join(capsys.readouterr()).split())
            reasons = ("no streamed answer", "only in NEW", "no class")
            assert any(why in said for why in reasons), said
            assert "ttft" in str(command)
        else:
            assert status in (0, 1)


def _flags(command: str) -> set[str]:
    (commands,) = (
        action.choices for action in cli.build_parser()._actions if action.dest == "command"
    )
    assert isinstance(commands, dict)
    return {flag for action in commands[command]._actions for flag in action.option_strings}


@functools.cache
def help_of(module: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=100,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", commands_of("python"), ids=str)
def test_python_modules_take_it(command: Command) -> None:
    if command.words[1] != "-m":
        assert command.words[1] in ("server.py", "model.py")  # of the tutorials, which are run
        return
    text = help_of(command.words[2])
    for word in command.words[3:]:
        if word.startswith("--"):
            assert re.search(rf"{re.escape(word.partition('=')[0])}\b", text)


@pytest.mark.parametrize("command", commands_of("tox"), ids=str)
def test_tox_has_the_environment(command: Command) -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "tox.ini")
    assert command.words[1] == "-e"
    assert f"testenv:{command.words[2]}" in config


def test_what_is_installed_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {f"[{name}]" for name in project["optional-dependencies"]}
    for command in commands_of("pip"):
        assert command.words[1] == "install"
        for word in command.words[2:]:
            name, extra = re.fullmatch(r"([\w-]+)(\[\w+\])?(?:[><=].*)?", word).groups()  # type: ignore[union-attr]
            assert name in ("tox", project["name"]), command
            assert extra is None or extra in extras, command


def test_plans_without_a_run_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    compared = 0
    for block in blocks(DOCS / "howto" / "plan.md", "console"):
        for line, output in shown(block.text):
            arguments = line.split("#")[0].replace("'", "").split()[1:]
            if "--run" not in arguments:
                assert cli.main(arguments) == 0
                assert capsys.readouterr().out.splitlines() == output, block.where
                compared += 1
    assert compared == 2


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", WORKFLOW], ids=lambda p: p.name)
def test_options_that_are_spoken_of_exist(page: Path, pytestconfig: pytest.Config) -> None:
    known = set(pytestconfig._parser.optparser._option_string_actions)
    assert set(_OPTION.findall(page.read_text())) <= known
