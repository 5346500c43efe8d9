"""The small process between pytest and a server; it outlives pytest just long enough to clean up.

Run as a file (``python -I -S supervisor.py SPEC``), so that it imports the standard library alone
and starts in a few hundredths of a second. It is not part of the importable interface.

``SPEC`` is a JSON object: ``command`` (list; empty: there is only a directory to remove), ``cpus``
(list, may be empty), ``owner`` (process id of pytest), ``stop_grace`` and ``orphan_grace`` (seconds
from SIGTERM to SIGKILL when asked to stop and when the owner is gone), ``stdout`` (file for the
server's standard output; null: where its standard error goes), ``scratch`` (directory to remove at
the end, or null), ``linger`` (whether to wait for the owner's word where the command has ended by
itself), ``engine`` and ``container`` (docker or podman with its options, and the name of the
container that the command runs; or null: its processes need not be below this one).

* Standard input is a pipe whose only writer is pytest. A byte means "stop"; its end means that
  pytest is gone, however it went: returned, crashed, or killed by SIGKILL.
* Standard output carries one JSON object a line: ``{"started": PID}`` or ``{"failed": TEXT}``,
  then ``{"exit": STATUS}`` once the server itself ended (negative: the signal), and ``{"left":
  [PID, …]}`` should something have survived even SIGKILL, and ``{"removed": BOOL}`` for a
  container.
* Standard error is the server's log.

The supervisor is a session of its own, so that Ctrl-C in the terminal reaches pytest alone, and
pytest can still stop load, save results and then stop the server in order. It is the subreaper of
all that it starts, so that a descendant that calls setsid() or whose parent dies remains its
descendant, and can be found and ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LINUX = sys.platform == "linux"
POLL = 0.05  # seconds between looks at the process table while ending the tree
ENGINE_LIMIT = 10.0  # seconds for the engine to do something with a container
TRACKER_GRACE = 1.0  # seconds for a resource tracker once all others were killed
GIVE_UP = 10.0  # seconds after SIGKILL until a process that cannot die (in the kernel) is left


def _report(**message: object) -> None:
    """Write one line to pytest, which may be gone."""
    with contextlib.suppress(OSError):
        os.write(1, (json.dumps(message) + "\n").encode())


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _parents() -> dict[int, int]:
    """Return every process's parent.

    Zombies count: a process is gone when it has been reaped, as until then its other threads may
    still be at work (a JVM's first thread is a zombie for a while before the rest ends).
    """
    if not LINUX:
        return _parents_from_ps()
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib costs a third of the start-up time
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                # The command's name, in parentheses, may itself hold spaces and parentheses.
                fields = file.read().rpartition(b")")[2].split()
            found[int(name)] = int(fields[1])
    return found


def _parents_from_ps() -> dict[int, int]:
    """Do the same where there is no /proc, such as on macOS.

    There is no subreaper there either: a descendant that was orphaned before anybody looked is
    missed, which the sweep by environment variable in process.py (psutil) makes up for, unless
    pytest was killed.
    """
    command = ["ps", "-A", "-o", "pid=,ppid="]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ps:
        output = ps.communicate()[0]
    found = {int(pid): int(parent) for pid, parent in map(str.split, output.splitlines())}
    found.pop(ps.pid, None)
    return found


def _descendants(remembered: set[int]) -> list[int]:
    """Return the supervisor's descendants, and of those ``remembered`` what has been orphaned."""
    parents = _parents()
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    queue = [os.getpid()]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    if not LINUX:
        found += [p for p in remembered if parents.get(p) == 1]
    return found


def _ignores(pid: str, number: int) -> bool:
    """Return whether a container's first process has no handler for a signal, and so ignores it."""
    with contextlib.suppress(OSError, ValueError):
        with open(f"/proc/{pid}/status", encoding="ascii") as status:  # noqa: PTH123
            caught = next(line.split()[1] for line in status if line.startswith("SigCgt:"))
        return not int(caught, 16) >> (number - 1) & 1
    return False


def _tracks_resources(pid: int) -> bool:
    """Return whether a process removes the semaphores and shared memory of Python's others.

    It ignores SIGTERM, and does its work once the processes that it works for have ended.
    """
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as command:  # noqa: PTH123
        return b"from multiprocessing.resource_tracker" in command.read()
    return False


class Supervisor:
    """Starts one server and sees to its end."""

    def __init__(self, spec: dict[str, object]) -> None:
        self._command: list[str] = spec["command"]  # type: ignore[assignment]
        self._cpus: list[int] = spec["cpus"]  # type: ignore[assignment]
        self._owner: int = spec["owner"]  # type: ignore[assignment]
        self._stop_grace: float = spec["stop_grace"]  # type: ignore[assignment]
        self._orphan_grace: float = spec["orphan_grace"]  # type: ignore[assignment]
        self._stdout: str | None = spec["stdout"]  # type: ignore[assignment]
        self._scratch: str | None = spec["scratch"]  # type: ignore[assignment]
        self._linger: bool = spec["linger"]  # type: ignore[assignment]
        self._engine: list[str] = spec["engine"]  # type: ignore[assignment]
        self._container: str | None = spec["container"]  # type: ignore[assignment]
        self._server = 0
        self._exited = False
        self._stop_signal = False

    def run(self) -> None:
        """Start the server, wait for a reason to stop, and end the whole tree."""
        wake = self._install_signals()
        if LINUX:
            _prctl(PR_SET_CHILD_SUBREAPER, 1)
        try:
            if not self._command or self._start():
                grace = self._wait(wake)
                if self._container:
                    self._stop_container(self._container, grace)
                self._end_tree(grace)
                if self._container:
                    removed = self._ask_engine("rm", "--force", "--volumes", self._container)
                    _report(removed=removed is not None)
        finally:
            if self._scratch:
                shutil.rmtree(self._scratch, ignore_errors=True)

    def _install_signals(self) -> int:
        """Turn signals into bytes on a pipe, so that one select() waits for everything."""
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_stop_signal)
        return read_end

    def _on_stop_signal(self, *_: object) -> None:
        self._stop_signal = True

    def _start(self) -> bool:
        supervisor = os.getpid()

        def in_child() -> None:
            if self._cpus and LINUX:
                os.sched_setaffinity(0, self._cpus)
            if LINUX:
                # Belt and braces: should the supervisor be killed, its server goes too.
                _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != supervisor:
                    os._exit(1)

        try:
            log = sys.stderr.fileno()
            child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=open(self._stdout, "ab") if self._stdout else log,  # noqa: PTH123, SIM115
                stderr=log,
                start_new_session=True,
                preexec_fn=in_child,  # noqa: PLW1509 - this process has one thread
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            _report(failed=f"{type(error).__name__}: {error}")
            return False
        child.returncode = 0  # reaped by _reap(), with all that this process adopts
        self._server = child.pid
        _report(started=self._server)
        return True

    def _wait(self, wake: int) -> float:
        """Wait until the server ends or must end; return the grace for what then still runs."""
        watched = [0, wake]
        # An end of the pipe may be held open by a child of pytest that was forked without exec;
        # the owner's own end is seen all the same. Python has pidfd_open() on Linux alone.
        if LINUX:
            with contextlib.suppress(OSError, AttributeError):
                watched.append(os.pidfd_open(self._owner))
        while True:
            if os.getppid() != self._owner:
                return self._orphan_grace
            ready = select.select(watched, [], [], 5.0)[0]
            self._drain(wake)
            self._reap()
            if (self._exited and not self._linger) or self._stop_signal:
                return self._orphan_grace
            if 0 in ready:
                return self._stop_grace if os.read(0, 1) else self._orphan_grace
            if len(ready) > (wake in ready):
                return self._orphan_grace

    @staticmethod
    def _drain(wake: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(wake, 4096):
                pass

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._server and not self._exited:
                    self._exited = True
                    _report(exit=os.waitstatus_to_exitcode(status))

    def _stop_container(self, name: str, grace: float) -> None:
        """Have the engine stop the container: it knows by which signal, and reaches every user."""
        told = self._ask_engine(
            "inspect", "--format", "{{.State.Pid}} {{.Config.StopSignal}}", name
        )
        pid, _, by = (told or "").strip().partition(" ")
        if by in ("", "15", "SIGTERM") and _ignores(pid, signal.SIGTERM):
            grace = 0
        if self._ask_engine("stop", "-t", str(math.ceil(grace)), name, limit=grace) is None:
            self._ask_engine("kill", name)

    def _ask_engine(self, *words: str, limit: float = 0.0) -> str | None:
        """Return what the engine said; ``None`` if it failed, or did not end in time."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            return subprocess.run(
                [*self._engine, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, timeout=limit + ENGINE_LIMIT, check=True,
                text=True, errors="replace",
            ).stdout  # fmt: skip
        return None

    def _end_tree(self, grace: float) -> None:
        """Send SIGTERM to every descendant, and SIGKILL to what is left after ``grace`` seconds."""
        start = time.monotonic()
        asked: set[int] = set()
        while True:
            self._reap()
            left = _descendants(asked)
            elapsed = time.monotonic() - start
            if not left or elapsed > grace + GIVE_UP:
                break
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    overdue = elapsed - grace
                    if overdue >= TRACKER_GRACE or (overdue >= 0 and not _tracks_resources(pid)):
                        os.kill(pid, signal.SIGKILL)
                    elif pid not in asked:  # a second SIGTERM means "at once" to some programs
                        os.kill(pid, signal.SIGTERM)
                asked.add(pid)
            # The owner may die during a stop: then hurry.
            if grace > self._orphan_grace and os.getppid() != self._owner:
                grace = self._orphan_grace
            time.sleep(POLL)
        if left:
            _report(left=left)


def main() -> NoReturn:
    """Run the supervisor described by the first argument."""
    Supervisor(json.loads(sys.argv[1])).run()
    sys.exit(0)


if __name__ == "__main__":
    main()
