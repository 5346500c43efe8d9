"""Runs of pytest that a signal ends: nothing of them is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from pytest_servebench.load.target import Target
from pytest_servebench.servers import ports
from tests.processes import GENERATOR, command_line

from .waiting import alive, gone, until

ROOT = Path(__file__).parents[2]
GONE_WITHIN = 5.0  # seconds


@contextmanager
def run_of_pytest(
    arguments: Sequence[str], cwd: Path, environment: dict[str, str], reached: Callable[[int], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run pytest until ``reached``, which is asked with its process id; at the end all is gone.

    That is its descendants at the beginning of the block, their ports and temporary directories.
    """
    said = cwd / "output"
    with said.open("wb") as output:
        run = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest",
             *arguments],
            cwd=cwd, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{cwd}", **environment},
        )  # fmt: skip
    pids: list[int] = []
    try:
        until(lambda: run.poll() is not None or reached(run.pid), 120, "the stage")
        assert run.poll() is None, said.read_text()
        family = psutil.Process(run.pid).children(recursive=True)
        pids = [process.pid for process in family]
        places = ports.listening(pids)
        temporary = set(map(_temporary, family)) - {_temporary(psutil.Process(run.pid)), None}
        yield run
        run.wait(30)
        gone(pids, GONE_WITHIN)
        until(lambda: not any(Path(str(each)).exists() for each in temporary), GONE_WITHIN)
        assert not any(ports.accepts(Target(ip, port), 1) for ip, port in places)
    finally:
        for pid in alive(pids):
            os.kill(pid, signal.SIGKILL)
        run.kill()
        run.wait()


def _temporary(process: psutil.Process) -> str | None:
    """Return the directory that a process was given for its temporary files, if it has one."""
    with suppress(psutil.Error):
        return process.environ().get("TMPDIR")
    return None


def check_end_under_load(
    arguments: Sequence[str],
    cwd: Path,
    number: signal.Signals,
    *,
    program: str = "",
    least: int = 1,
    **environment: str,
) -> None:
    """Send a signal to a run that loads a server, of whose ``program`` ``least`` processes run."""

    def loads(pid: int) -> bool:
        lines = [command_line(each) for each in psutil.Process(pid).children(recursive=True)]
        # The supervisor's command names the program, too.
        servers = [line for line in lines if program in line and "supervisor" not in line]
        return len(servers) >= least and any(GENERATOR in line for line in lines)

    arguments = [*arguments, "--servebench-duration=60", "--servebench-plots=false"]
    with run_of_pytest(arguments, cwd, environment, loads) as run:
        children = psutil.Process(run.pid).children(recursive=True)
        assert ports.listening(each.pid for each in children)
        # As the terminal's Ctrl-C does.
        (os.killpg if number is signal.SIGINT else os.kill)(run.pid, number)
