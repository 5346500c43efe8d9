"""Programs that run to their ends, such as builds: nothing of them outlives their owner either."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from model_build.program import StoppedError, removed_with_us, run_program
from pytest_servebench.errors import ServerStartError
from pytest_servebench.servers.process import scratch_directory

from .conftest import HERE
from .waiting import alive, gone, until, written

ROOT = HERE.parent.parent

# Runs a program that makes a temporary file and a child of its own, and tells of them.
OWNER = """
import os, sys
from pathlib import Path
from pytest_servebench.servers.process import scratch_directory
from model_build.program import removed_with_us, run_program

PROGRAM = '''
import os, subprocess, sys, tempfile, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
made = tempfile.mkdtemp()
Path("told.tmp").write_text(f"{os.getpid()} {child.pid} {made}" + chr(10))
os.rename("told.tmp", "told")
time.sleep(1000)
'''
with removed_with_us(Path.cwd(), ".half.") as half:
    (half / "file").touch()
    run_program([sys.executable, "-c", PROGRAM], env=os.environ, scratch=scratch_directory())
"""


def run(code: str, on_line: list[str] | None = None) -> tuple[int | None, str, str]:
    scratch = scratch_directory()
    ended = run_program(
        [sys.executable, "-c", code], env=os.environ, scratch=scratch,
        on_line=(on_line if on_line is not None else []).append,
    )  # fmt: skip
    assert not scratch.exists()
    return ended.status, ended.output, ended.errors


@pytest.mark.servers
def test_it_tells_how_it_ended() -> None:
    lines: list[str] = []
    code = "import sys; print('out'); print('a\\nb', file=sys.stderr); sys.exit(3)"
    assert run(code, lines) == (3, "out\n", "a\nb\n")
    assert lines == ["a", "b"]
    assert run("import os; os.kill(os.getpid(), 9)")[0] == -9


@pytest.mark.servers
def test_its_output_is_bounded() -> None:
    status, output, _ = run("import sys; sys.stdout.write('x' * 5_000_000 + 'end')")
    assert status == 0
    assert len(output) < 100_000
    assert output.endswith("end")


@pytest.mark.servers
def test_a_program_that_is_not_there() -> None:
    scratch = scratch_directory()
    with pytest.raises(ServerStartError, match="no-such-program"):
        run_program(["/no-such-program"], env={}, scratch=scratch)
    assert not scratch.exists()


@pytest.mark.servers
def test_it_can_be_stopped() -> None:
    scratch = scratch_directory()
    stop = threading.Event()
    code = "import sys, time; print('up', file=sys.stderr, flush=True); time.sleep(1000)"
    with pytest.raises(StoppedError):
        run_program([sys.executable, "-c", code], env=os.environ, scratch=scratch, stop=stop,
                    on_line=lambda _: stop.set())  # fmt: skip
    assert not scratch.exists()


@pytest.mark.servers
@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_its_owner(tmp_path: Path, signal_: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    ) as owner:  # fmt: skip
        pids: list[int] = []
        try:
            program, child, made = written(tmp_path / "told", by=owner)[0].split()
            pids = [int(program), int(child)]
            owner.send_signal(signal_)
            owner.wait(20)
            gone(pids, 5)
            until(lambda: not Path(made).parent.exists(), what="the end of its scratch directory")
            until(lambda: not list(tmp_path.glob(".half.*")), what="the end of what was half made")
        finally:
            owner.kill()
            for pid in alive(pids):
                os.kill(pid, signal.SIGKILL)


def test_what_is_moved_away_stays(tmp_path: Path) -> None:
    with removed_with_us(tmp_path, ".half.") as half:
        (half / "file").touch()
        half.replace(tmp_path / "whole")
    assert [path.name for path in tmp_path.rglob("*")] == ["whole", "file"]
