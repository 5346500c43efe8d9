"""Load the servers of ``examples/`` with the same traffic, and compare them: ``python -m zoo``."""

import argparse
import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

from pytest_servebench.errors import SavedRunError
from pytest_servebench.runs.run_names import read_run
from zoo.environments import InstallationError, python_of
from zoo.examples import ROOT, Example, read_examples
from zoo.tables import tables

SERVERS: Final = (
    *("tensorflow_serving", "torchserve", "kserve", "mlserver", "triton", "litserve", "bentoml"),
    *("ray-serve", "fastapi", "fastapi-2", "onnx"),
)
"""Those that are loaded by default, in the order of the report."""

_INI: Final = """\
[pytest]
servebench_model = model_build:fashion_mnist
servebench_servers = {servers}
servebench_rates = 10, 50, 100, 200
servebench_buffer_sizes = 50
servebench_duration = 8
servebench_repeats = 2
servebench_interleave = true
servebench_start_timeout = 180
servebench_server_option =
{options}
pythonpath = {root}
"""
_TEST: Final = """\
def test_server(model_server, poisson_load):
    poisson_load(model_server)
"""
_MARK: Final = "ZOO_RUN"  # environment variable of all processes of a run
_ENDING: Final = 5.0  # seconds for the last of them to end


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m zoo",
        description="Make an environment for each server of examples/, load all of them with the "
        "same traffic, check their answers, and write the report.",
        epilog="All other options are pytest's, such as --servebench-repeats=5.",
    )
    made.add_argument(
        "servers", nargs="*", metavar="SERVER", help=f"by default: {' '.join(SERVERS)}"
    )
    made.add_argument(
        "--directory", type=Path, default=ROOT / ".zoo", metavar="DIR",
        help="for configuration and results (default: %(default)s)",
    )  # fmt: skip
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status: pytest's; 1 if no server can be installed, or if a process is left.
    """
    arguments, for_pytest = parser().parse_known_args(argv)
    names: list[str] = arguments.servers or [*SERVERS]
    by_name = {name: example for example in read_examples() for name in example.servers}
    if unknown := [name for name in names if name not in by_name]:
        parser().error(f"no such server: {', '.join(unknown)}; there are {', '.join(by_name)}")
    pythons, failures = install(list(dict.fromkeys(by_name[name] for name in names)))
    kept = [name for name in names if by_name[name] not in failures]
    status = 1
    if kept:
        write(arguments.directory, kept, pythons)
        status = load(arguments.directory, for_pytest)
        summarise(arguments.directory)
    for example, reason in failures.items():
        missed = ", ".join(name for name in names if by_name[name] is example)
        print(f"zoo: left out, because it cannot be installed: {missed}: {reason}")
    return status


def install(
    examples: Sequence[Example],
) -> tuple[dict[Example, Path | None], dict[Example, str]]:
    """Return each example's interpreter (none: pytest's), and why the other examples have none."""
    pythons: dict[Example, Path | None] = {}
    failures: dict[Example, str] = {}
    for example in examples:
        start = time.monotonic()
        try:
            pythons[example] = python_of(example.requirements) if example.has_python else None
        except InstallationError as error:
            failures[example] = str(error)
        else:
            seconds = time.monotonic() - start
            print(f"zoo: {example.directory.name} is installed ({seconds:.0f} s)", flush=True)
    return pythons, failures


def write(directory: Path, servers: Sequence[str], pythons: dict[Example, Path | None]) -> None:
    """Write what pytest needs: the examples' tables in one file, its own configuration, a test."""
    directory.mkdir(parents=True, exist_ok=True)
    tables = [example.file.read_text(encoding="utf-8") for example in pythons]
    options = [
        f"    {option}"
        for example, python in pythons.items() if python is not None
        for option in example.options(python)
    ]  # fmt: skip
    ini = _INI.format(servers=", ".join(servers), options="\n".join(options), root=ROOT)
    files = {"servebench.toml": "\n".join(tables), "pytest.ini": ini, "test_zoo.py": _TEST}
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")


def load(directory: Path, arguments: Sequence[str]) -> int:
    """Run pytest; return its exit status, or 1 if it leaves a process."""
    token = secrets.token_hex(8)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    status = subprocess.run(
        command, cwd=directory, env={**os.environ, _MARK: token}, check=False
    ).returncode
    deadline = time.monotonic() + _ENDING
    while left := _processes(token):
        if time.monotonic() > deadline:
            print(f"zoo: still running: {'; '.join(left)}")
            return 1
        time.sleep(0.1)
    return status


def summarise(directory: Path) -> None:
    """Write the tables of the latest run, if there is one, to ``zoo.md``."""
    with contextlib.suppress(SavedRunError):
        text = tables(read_run("latest", directory / "servebench_results"))
        (directory / "zoo.md").write_text(text, encoding="utf-8")
        print(f"zoo: tables {directory / 'zoo.md'}")


def _processes(token: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == token:
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
        except psutil.Error:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
