"""Nothing of a server outlives the process that started it, however that one ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from .conftest import HERE
from .test_process import STUBBORN
from .waiting import alive, gone, written

LIMIT = 5.0  # seconds within which everything must be gone
ROOT = HERE.parent.parent

# Two servers, each with a descendant that has left its session and ignores SIGTERM.
OWNER = f"""
import os, signal, sys, time
from pathlib import Path
from pytest_servebench.servers.process import ServerProcess, scratch_directory

GRACE = float(os.environ["GRACE"])
started = []
for name in ("a", "b"):
    folder = Path(name)
    folder.mkdir()
    scratch = scratch_directory()
    (folder / "scratch").write_text(str(scratch))
    started.append(ServerProcess(
        [sys.executable, "-c", {STUBBORN!r}], cpus=(), stop_grace=GRACE, cwd=folder.absolute(),
        env=dict(os.environ), log=folder / "log", scratch=scratch,
    ))

def up():
    print("up", file=open("up.tmp", "w"), flush=True)
    os.rename("up.tmp", "up")
"""


@contextmanager
def owner(
    folder: Path, code: str, grace: float = 0.3
) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """Run OWNER and then ``code``; give its process, and all process ids of its servers."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER + code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "GRACE": str(grace)},
        start_new_session=True,
    ) as process:
        pids: list[int] = []
        try:
            written(folder / "up", by=process)
            for name in ("a", "b"):
                pids += [int(pid) for pid in written(folder / name / "pids", lines=2)]
            supervisors = [
                child.pid
                for child in psutil.Process(process.pid).children()
                if any("supervisor.py" in argument for argument in child.cmdline())
            ]
            assert (len(pids), len(supervisors)) == (4, 2)
            yield process, pids + supervisors
        finally:
            process.kill()
            for pid in alive(pids):
                os.kill(pid, signal.SIGKILL)


def assert_nothing_left(folder: Path, pids: list[int]) -> None:
    gone(pids, LIMIT)
    for name in ("a", "b"):
        assert not Path((folder / name / "scratch").read_text()).exists()


ELSEWHERE = pytest.mark.servers  # where one of a kind is enough


@pytest.mark.parametrize(
    ("number", "grace"),
    [
        (signal.SIGKILL, 0.3),
        *(
            pytest.param(number, 0.3, marks=ELSEWHERE)
            for number in (signal.SIGTERM, signal.SIGABRT)
        ),
        pytest.param(signal.SIGKILL, 60.0, marks=ELSEWHERE),
    ],
)
def test_owner_killed(tmp_path: Path, number: signal.Signals, grace: float) -> None:
    with owner(tmp_path, "up(); time.sleep(1000)", grace=grace) as (process, pids):
        process.send_signal(number)
        process.wait()
        assert_nothing_left(tmp_path, pids)


@pytest.mark.servers
@pytest.mark.parametrize("way", ["os._exit(1)", "1 / 0"])
def test_owner_ends_without_stopping(tmp_path: Path, way: str) -> None:
    code = f"up()\nwhile not os.path.exists('go'): time.sleep(0.01)\n{way}"
    with owner(tmp_path, code) as (process, pids):
        (tmp_path / "go").touch()
        process.wait()
        assert_nothing_left(tmp_path, pids)


@pytest.mark.servers
def test_owner_killed_while_its_forked_child_lives_on(tmp_path: Path) -> None:
    """A fork without exec has the pipe too; it must not keep the servers alive."""
    code = "child = os.fork()\nif child: print(child, file=open('child', 'w')); up()\n"
    with owner(tmp_path, code + "time.sleep(1000)") as (process, pids):
        child = int(written(tmp_path / "child")[0])
        try:
            process.kill()
            process.wait()
            assert_nothing_left(tmp_path, pids)
            assert alive([child]) == [child]
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.servers
def test_owner_killed_while_it_stops_a_server(tmp_path: Path) -> None:
    """The long grace of an orderly stop does not hold once nobody waits for it."""
    code = "up(); started[0].stop()"
    with owner(tmp_path, code, grace=60.0) as (process, pids):
        process.kill()
        process.wait()
        assert_nothing_left(tmp_path, pids)


@pytest.mark.servers
def test_ctrl_c_leaves_the_server_to_the_teardown(tmp_path: Path) -> None:
    """SIGINT goes to the whole foreground process group, and so must miss the servers."""
    code = """
try:
    up(); time.sleep(1000)
except KeyboardInterrupt:
    time.sleep(0.5)
    print([process.ending() for process in started], file=open("endings", "w"))
    for process in started:
        process.stop()
    print("down", file=open("down", "w"))
"""
    with owner(tmp_path, code) as (process, pids):
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
        assert written(tmp_path / "endings") == ["[None, None]"]
        assert (tmp_path / "down").exists()
        assert alive(pids) == []
