"""A server's process tree is started, watched and ended as a whole."""

import ast
import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from pytest_servebench.errors import ServerDiedError, ServerStartError
from pytest_servebench.servers import supervisor
from pytest_servebench.servers.process import ServerProcess, scratch_directory
from pytest_servebench.text.redaction import hide

from .conftest import StartChild, make_program
from .waiting import alive, gone, until, written

SLEEP = "import time; time.sleep(1000)"
# Ignores SIGTERM and has a grandchild in a session of its own that ignores it as well.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        print(os.getpid(), file=open("pids", "a"))
        time.sleep(1000)
    os._exit(0)
os.wait()
print(os.getpid(), file=open("pids", "a"))
time.sleep(1000)
"""
# Holds a semaphore by name, which multiprocessing's tracker removes after whoever was killed.
SEMAPHORE = """
import multiprocessing, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
lock = multiprocessing.get_context("spawn").Lock()
print(lock._semlock.name, file=open("pids", "a"), flush=True)
time.sleep(1000)
"""


def plain(folder: Path, *command: str) -> ServerProcess:
    return ServerProcess(command, cpus=(), stop_grace=0.2, cwd=folder, env=dict(os.environ),
                         log=folder / "log")  # fmt: skip


def test_runs_until_stopped(start_child: StartChild) -> None:
    process = start_child(SLEEP)
    assert process.pids() == [process.pid]
    assert process.ending() is None
    process.check_alive("sleeper")
    process.stop()
    assert process.pids() == []
    assert process.ending() == "killed by SIGTERM"


def test_stop_twice(start_child: StartChild) -> None:
    process = start_child(SLEEP)
    process.stop()
    process.stop()
    with pytest.raises(ServerDiedError, match="stopped by this run"):
        process.check_alive("sleeper")


def test_tells_how_it_ended_with_the_end_of_its_log(start_child: StartChild) -> None:
    process = start_child("import sys; print('cannot go on'); sys.exit(255)")
    until(process.ending)
    with pytest.raises(ServerDiedError) as caught:
        process.check_alive("Server 1.0")
    message = str(caught.value)
    assert message.startswith("Server 1.0 ended: exit status 255.")
    assert "child.log, last lines:\n  | cannot go on" in message


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("import os; os.abort()", "killed by SIGABRT"),
        ("import sys; sys.exit(40 + len(sys.stdin.read()))", "exit status 40"),  # without input
    ],
)
def test_names_how_it_ended(start_child: StartChild, code: str, ending: str) -> None:
    process = start_child(code)
    until(process.ending)
    assert process.ending() == ending


@pytest.mark.parametrize(
    ("program", "cpus", "words"),
    [
        ("/no/such/program", (), r"/no/such/program could not be run.*No such file"),
        ("data", (), r"could not be run.*Permission denied"),
        (sys.executable, (1023,), "could not be run"),
    ],
)
def test_names_what_cannot_be_run(
    start_child: StartChild, tmp_path: Path, program: str, cpus: tuple[int, ...], words: str
) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(ServerStartError, match=words):
        start_child("", command=[str(tmp_path / program)], cpus=cpus)


def test_runs_on_the_given_processors(start_child: StartChild, tmp_path: Path) -> None:
    one = min(os.sched_getaffinity(0))
    start_child(
        "import os; print(sorted(os.sched_getaffinity(0)), file=open('cpus', 'w'))", cpus=(one,)
    )
    assert ast.literal_eval(written(tmp_path / "cpus")[0]) == [one]


def test_logs_of_any_length_do_not_block_it(start_child: StartChild, tmp_path: Path) -> None:
    start_child("print(10_000_000 * 'x'); print('done', file=open('done', 'w'))")
    written(tmp_path / "done")


def test_keeps_standard_output_apart(start_child: StartChild, tmp_path: Path) -> None:
    process = start_child(
        "import sys; print('to stdout'); print('to stderr', file=sys.stderr)",
        stdout_log=tmp_path / "out.log",
    )
    until(process.ending)
    assert (tmp_path / "out.log").read_text() == "to stdout\n"
    assert (tmp_path / "child.log").read_text() == "to stderr\n"
    assert "to stdout" in process.log_tail()
    assert "to stderr" in process.log_tail()


def test_ends_descendants_that_left_the_session_and_ignore_sigterm(
    start_child: StartChild, tmp_path: Path
) -> None:
    process = start_child(STUBBORN)
    pids = {int(pid) for pid in written(tmp_path / "pids", lines=2)}
    until(lambda: set(process.pids()) == pids)
    process.stop()
    assert alive(pids) == []


@pytest.mark.skipif(sys.platform != "linux", reason="semaphores are files on Linux only")
def test_what_was_killed_leaves_no_semaphore(start_child: StartChild, tmp_path: Path) -> None:
    process = start_child(SEMAPHORE)
    (name,) = written(tmp_path / "pids")
    semaphore = Path("/dev/shm/sem." + name.removeprefix("/"))
    assert semaphore.exists()
    process.stop()
    assert not semaphore.exists()
    assert process.pids() == []


def test_a_clean_end_is_given_its_time(start_child: StartChild, tmp_path: Path) -> None:
    process = start_child(
        "import signal, sys, time\n"
        "def end(*_): time.sleep(0.3); print('saved', file=open('end', 'w')); sys.exit(3)\n"
        "signal.signal(signal.SIGTERM, end); print(1, file=open('up', 'w')); time.sleep(1000)",
        stop_grace=20,
    )
    written(tmp_path / "up")
    process.stop()
    assert (tmp_path / "end").read_text() == "saved\n"
    assert process.ending() == "exit status 3"


def test_a_launcher_that_leaves_its_server_behind(start_child: StartChild, tmp_path: Path) -> None:
    """It would be taken for stopped, and its child would stay."""
    process = start_child(
        "import os, time\n"
        "child = os.fork()\n"
        "if child: print(child, file=open('pid', 'w'))\n"
        "else: os.setsid(); time.sleep(1000)"
    )
    until(process.ending)
    assert process.ending() == ("exit status 0 (did it daemonize? it must run in the foreground)")
    gone([int(written(tmp_path / "pid")[0])], 20)


@pytest.mark.servers
def test_the_supervisor_asked_to_end_ends_the_tree(start_child: StartChild, tmp_path: Path) -> None:
    process = start_child(STUBBORN)
    pids = [int(pid) for pid in written(tmp_path / "pids", lines=2)]
    psutil.Process(process.pid).parent().terminate()  # type: ignore[union-attr]
    gone(pids, 20)
    until(process.ending)
    assert process.ending() == "killed by SIGKILL"


@pytest.mark.servers
def test_a_killed_supervisor_takes_the_server_with_it(
    start_child: StartChild, tmp_path: Path
) -> None:
    process = start_child(STUBBORN)
    pids = {int(pid) for pid in written(tmp_path / "pids", lines=2)}
    psutil.Process(process.pid).parent().kill()  # type: ignore[union-attr]
    gone([process.pid], 20)
    until(process.ending)
    assert process.ending() == "its supervisor was killed"
    assert set(process.pids()) == pids - {process.pid}
    process.stop()
    assert alive(pids) == []


def test_a_forked_copy_stops_nothing(start_child: StartChild) -> None:
    process = start_child(SLEEP)
    child = os.fork()
    if child == 0:
        process.stop()
        os._exit(0)
    os.waitpid(child, 0)
    assert process.ending() is None
    assert process.pids() == [process.pid]


def test_stop_from_another_thread_than_the_one_that_started(tmp_path: Path) -> None:
    started: list[ServerProcess] = []

    def start() -> None:
        started.append(plain(tmp_path, sys.executable, "-c", SLEEP))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    time.sleep(0.2)  # a death signal tied to the thread would arrive now
    assert started[0].ending() is None
    started[0].stop()


def test_scratch_goes_with_the_server(start_child: StartChild) -> None:
    scratch = scratch_directory()
    assert scratch.stat().st_mode & 0o777 == 0o700
    (scratch / "key").write_text("secret")
    process = start_child(SLEEP, scratch=scratch)
    assert scratch.exists()
    process.stop()
    assert not scratch.exists()


def test_scratch_goes_even_if_the_program_cannot_be_run(start_child: StartChild) -> None:
    scratch = scratch_directory()
    with pytest.raises(ServerStartError):
        start_child("", command=["/no/such/program"], scratch=scratch)
    assert not scratch.exists()


def test_scratch_has_room_for_a_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    scratch = scratch_directory()
    scratch.rmdir()
    assert len(str(scratch)) < 80


def test_secrets_stay_out_of_errors_and_kept_logs(start_child: StartChild) -> None:
    process = start_child(f"print('Bearer cKjqMB8i')\n{SLEEP}")
    hide("cKjqMB8i")
    until(lambda: "Bearer" in process.log_tail())
    assert "Bearer [key hidden]" in process.log_tail()
    process.stop()
    assert process.log_files[0].read_text() == "Bearer [key hidden]\n"


def test_parents_are_the_same_from_ps(start_child: StartChild) -> None:
    """Where there is no /proc."""
    process = start_child(SLEEP)
    expected = supervisor._parents()[process.pid]
    assert supervisor._parents_from_ps()[process.pid] == expected


@pytest.mark.servers
def test_supervisor_uses_no_processor_while_it_waits(start_child: StartChild) -> None:
    process = start_child(SLEEP)
    parent = psutil.Process(process.pid).parent()
    assert parent is not None
    before = parent.cpu_times()
    switches = parent.num_ctx_switches().voluntary
    time.sleep(1.0)
    after = parent.cpu_times()
    assert after.user - before.user + after.system - before.system <= 0.02
    assert parent.num_ctx_switches().voluntary - switches <= 2


def test_a_second_server_does_not_hold_the_first_ones_pipe(start_child: StartChild) -> None:
    first, second = start_child(SLEEP), start_child(SLEEP)
    pipe = os.fstat(first._supervisor.stdin.fileno()).st_ino  # type: ignore[union-attr]
    for pid in (second.pid, second._supervisor.pid, first.pid):
        targets = []
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed in the meantime
                targets.append(fd.readlink())
        assert Path(f"pipe:[{pipe}]") not in targets


def test_interrupt_while_starting_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C between the start of the supervisor and that of the server."""
    slow = make_program(tmp_path / "slow", f"#!{sys.executable}\nimport time; time.sleep(1000)\n")
    before = set(psutil.Process().children(recursive=True))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def start_until_interrupted() -> None:
        while True:
            plain(tmp_path, str(slow)).stop()

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(KeyboardInterrupt):
            start_until_interrupted()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    left = set(psutil.Process().children(recursive=True)) - before
    gone([process.pid for process in left], 20)
