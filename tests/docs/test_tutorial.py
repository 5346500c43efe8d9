"""The tutorials are followed from their own text, step by step, with short durations."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_servebench.servers.ports import free_ports
from tests.conftest import ROOT
from tests.docs.pages import DOCS, Block, blocks, shown
from tests.docs.test_examples import PORT, TUTORIAL, wait_for

_INSTALLS = ("mkdir", "python3 -m venv", "pip install")
_DURATION = 1.2  # seconds; the tutorial's 5 and 20 show more, and take longer


def skeleton(line: str) -> str:
    """Return a line without its figures and what depends on the length of the test."""
    line = re.sub(r"\bpassed\b|\binconclusive\b", "VERDICT", line)
    line = re.sub(r"\(?[-+]?\d[\w.:%/-]*\)?|∞", "#", line)
    return " ".join(re.sub(r"[=-]{3,}", "", line).split())


class Shell:
    """One bash that is fed command by command, as a reader would."""

    def __init__(self, directory: Path, port: int) -> None:
        self._port = port
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTEST_ADDOPTS": f"-p no:hypothesispytest --servebench-duration={_DURATION} "
            "--servebench-warmup=0.1 --servebench-plots=false --servebench-page=false",
            "COLUMNS": "120",
        }
        environment.pop("GITHUB_ACTIONS", None)
        self._process = subprocess.Popen(
            ["bash", "--norc"], cwd=directory, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, command: str) -> list[str]:
        """Run a command and return what it printed."""
        assert self._process.stdin
        assert self._process.stdout
        # What follows a command must not change the status that the next one may ask for.
        end = "@@end@@"
        ended = "wait $! 2>/dev/null; " if command.startswith("kill") else ""
        self._process.stdin.write(f"{command}\nstatus=$?; {ended}echo {end}; (exit $status)\n")
        self._process.stdin.flush()
        lines = []
        for line in self._process.stdout:
            if line.rstrip().endswith(end):
                break
            lines.append(line.rstrip())
        if command.endswith("&"):
            wait_for(self._port)
        return lines

    def close(self) -> None:
        """End the shell and what it started."""
        self._process.communicate("kill $(jobs -p) 2>/dev/null\nwait\nexit\n")


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def shell(tmp_path: Path, port: int) -> Iterator[Shell]:
    shell = Shell(tmp_path, port)
    yield shell
    shell.close()


def steps(page: Path) -> list[Block]:
    """Return the files and commands of a tutorial, in their order."""
    return sorted(blocks(page, "python", "ini", "console"), key=lambda block: block.line)


def follow(shell: Shell, command: str, wanted: list[str]) -> None:
    """Run a command, which must print each line that is wanted.

    What else runs on the machine may leave a short measurement undecided: it is taken again.
    """
    expected = [skeleton(line) for line in wanted if line.strip() not in ("", "...")]
    printed: list[str] = []
    for _ in range(3 if command.split(maxsplit=1)[0] == "pytest" else 1):
        printed = [skeleton(line) for line in shell.run(command)]
        if set(expected) <= set(printed):
            return
    missing = "\n".join(line for line in expected if line not in printed)
    pytest.fail(f"$ {command}\ndoes not print\n{missing}\nbut\n" + "\n".join(printed))


@pytest.mark.servers
@pytest.mark.parametrize(
    ("page", "runs"),
    [(TUTORIAL, 4), (DOCS / "tutorial-language-model.md", 3)],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_the_tutorial(shell: Shell, tmp_path: Path, port: int, page: Path, runs: int) -> None:
    ran = []
    for block in steps(page):
        if block.file:
            (tmp_path / block.file).write_text(block.text.replace(PORT, str(port)))
            continue
        for command, wanted in shown(block.text):
            if not command.startswith(_INSTALLS):
                follow(shell, command, [line.replace(PORT, str(port)) for line in wanted])
                ran.append(command)
    assert sum(command.startswith("pytest ") or command == "pytest" for command in ran) == runs
    assert ran.count("echo $?") == 3
    saved = sorted(path.name for path in (tmp_path / "servebench_results").iterdir())
    assert saved[-2:] == ["latest", "main"]
