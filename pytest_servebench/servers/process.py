"""A server's process tree, started under a supervisor: no process outlives pytest."""

from __future__ import annotations

import contextlib
import json
import os
import secrets as token
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import psutil

from pytest_servebench.errors import ServebenchWarning, ServerDiedError, ServerStartError
from pytest_servebench.servers import logs, ports
from pytest_servebench.servers.engine import Engine

ORPHAN_GRACE = 2.0  # seconds from SIGTERM to SIGKILL once pytest is gone
_START_LIMIT = 30.0  # seconds for the supervisor to start the command
# seconds beyond the grace for the supervisor to end the tree; see GIVE_UP there
_STOP_MARGIN = 12.0
_CONTAINER_MARGIN = 45.0  # the same for the engine to stop and remove a container
_MARK = "SERVEBENCH_SERVER"  # environment variable that marks stray descendants
# of the 108 bytes that a Unix socket's path may have, the directory's share
_SOCKET_PATH_LIMIT = 60
_SUPERVISOR = Path(__file__).with_name("supervisor.py")

_alive: weakref.WeakSet[ServerProcess] = weakref.WeakSet()


def scratch_directory() -> Path:
    """Return a new private directory (mode 0700) with a path short enough for Unix sockets."""
    base = tempfile.gettempdir()
    if len(base) > _SOCKET_PATH_LIMIT:
        base = "/tmp"
    return Path(tempfile.mkdtemp(prefix="servebench-", dir=base))


def supervised(
    command: Sequence[str] = (),
    *,
    cpus: Sequence[int] = (),
    stop_grace: float = 0.0,
    stdout: Path | None = None,
    scratch: Path | None = None,
    linger: bool = False,
    container: RunContainer | None = None,
) -> list[str]:
    """Return how to run a command under a supervisor whose owner is this process.

    See ``supervisor.py`` for the arguments. Without a command, it only removes ``scratch``.
    """
    spec = {
        "command": list(command),
        "cpus": list(cpus),
        "owner": os.getpid(),
        "stop_grace": stop_grace,
        "orphan_grace": min(stop_grace, ORPHAN_GRACE),
        "stdout": stdout and str(stdout.absolute()),
        "scratch": scratch and str(scratch.absolute()),
        "linger": linger,
        "engine": container and container.engine.command,
        "container": container and container.name,
    }
    return [sys.executable, "-I", "-S", str(_SUPERVISOR), json.dumps(spec)]


class RunContainer(Protocol):
    """A container that the command runs, and whose processes need not be its descendants."""

    @property
    def engine(self) -> Engine:
        """Return what runs it."""
        ...

    @property
    def name(self) -> str:
        """Return its name."""
        ...

    def pids(self) -> list[int]:
        """Return the ids of all its processes."""
        ...

    def listens(self, port: int) -> bool | None:
        """Return as :meth:`ServerProcess.listens`."""
        ...

    def places(self) -> list[tuple[str, int]]:
        """Return as :meth:`ServerProcess.places`."""
        ...

    def ending(self, status: int) -> str | None:
        """Return what the engine means by an exit status; ``None`` if it is the server's."""
        ...


class ServerProcess:
    """One command, its descendants and its logs.

    Args:
        command: program and arguments.
        cpus: CPUs on which the whole tree may run; empty: all. Ignored if the system cannot set
            them (macOS).
        stop_grace: seconds between SIGTERM and SIGKILL in :meth:`stop`.
        cwd: working directory.
        env: environment.
        log: file for standard error, and for standard output too unless ``stdout_log`` is given;
            both are truncated first.
        stdout_log: file for standard output.
        scratch: directory that is removed when the tree has ended, even if pytest is killed by
            SIGKILL.
        linger: whether ``scratch`` stays until :meth:`stop` if the command exits by itself.
        container: the container that the command runs; stopped and removed at the end, too.

    Raises:
        ServerStartError: the command could not be run.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cpus: Sequence[int],
        stop_grace: float,
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
        stdout_log: Path | None = None,
        scratch: Path | None = None,
        linger: bool = False,
        container: RunContainer | None = None,
    ) -> None:
        self.command = list(command)
        # Absolute, as the supervisor's working directory differs from pytest's.
        self.log_files = [path.absolute() for path in (log, stdout_log) if path is not None]
        self._stop_grace = stop_grace
        self._scratch = scratch
        self._container = container
        self._mark = token.token_hex(8)
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._status = b""
        self._pid: int | None = None
        self._exit: int | None = None
        self._left: list[int] = []
        self._removed = container is None
        self._failure: str | None = None
        self._stopped = False
        supervisor = supervised(
            self.command,
            cpus=cpus,
            stop_grace=stop_grace,
            stdout=stdout_log,
            scratch=scratch,
            linger=linger,
            container=container,
        )
        for path in self.log_files:
            path.write_bytes(b"")  # fatal lines of an earlier attempt do not count
        with log.open("ab") as log_file:
            # The write end of standard input's pipe is closed on exec, so no other child gets it.
            self._supervisor = subprocess.Popen(
                supervisor,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                bufsize=0,
                cwd=cwd,
                env={**env, _MARK: self._mark},
                start_new_session=True,
            )
        _alive.add(self)
        try:
            self._await_start()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """Return the process id of the command itself."""
        if self._pid is None:
            raise ServerStartError(f"{self.command[0]} was not started.")
        return self._pid

    def pids(self) -> list[int]:
        """Return the ids of the command's process and all its living descendants."""
        if self._stopped:
            return []
        if self._container is not None:
            return self._container.pids()
        if self._supervisor.poll() is not None:
            return [process.pid for process in self._marked()]
        with contextlib.suppress(psutil.Error):
            below = psutil.Process(self._supervisor.pid).children(recursive=True)
            return [process.pid for process in below]
        return []

    def listens(self, port: int) -> bool | None:
        """Return whether it, and not another program, listens on ``port``; ``None``: not known."""
        if self._container is not None:
            return self._container.listens(port)
        return bool(ports.listens(self.pids(), port))

    def places(self) -> list[tuple[str, int]]:
        """Return the addresses and ports of this machine on which it listens."""
        if self._container is not None:
            return self._container.places()
        return ports.listening(self.pids())

    def ending(self) -> str | None:
        """Return how the command ended, such as ``"exit status 255"``; ``None`` while it runs."""
        with self._lock:
            over = self._read_status(0)
            if self._exit is not None:
                said = self._container.ending(self._exit) if self._container else None
                return said or _in_words(self._exit)
            if self._failure is not None:
                return self._failure
            if over and not self._stopped:
                return "its supervisor was killed"
        return None

    @property
    def exit_status(self) -> int | None:
        """Return the exit status that :meth:`ending` has found; negative for a signal."""
        return self._exit

    def check_alive(self, title: str) -> None:
        """Check that the command is running.

        Raises:
            ServerDiedError: it exited; with its exit status and the tail of its log.
        """
        ending = "stopped by this run" if self._stopped else self.ending()
        if ending is not None:
            raise ServerDiedError(f"{title} ended: {ending}.\n{self.log_tail()}")

    def log_tail(self) -> str:
        """Return the last lines of the logs, without secrets."""
        return logs.tail(self.log_files)

    def stop(self) -> None:
        """End the whole tree and wait for it; harmless when called twice."""
        if self._stopped or os.getpid() != self._owner:  # a forked copy owns nothing
            return
        self._stopped = True
        stdin = self._supervisor.stdin
        if stdin is not None:
            with contextlib.suppress(OSError):
                stdin.write(b"s")
            # Left open until the supervisor has exited: closing it would mean that pytest crashed.
            try:
                margin = _CONTAINER_MARGIN if self._container else _STOP_MARGIN
                clean = self._supervisor.wait(self._stop_grace + margin) == 0
            except subprocess.TimeoutExpired:
                clean = False
            with contextlib.suppress(OSError):
                stdin.close()
        with self._lock:
            self._read_status(0)
        if not clean or self._left:
            self._sweep()
        if self._container and self._pid and not (clean and self._removed):
            self._remove(self._container)
        if self._supervisor.stdout is not None:
            self._supervisor.stdout.close()
        with contextlib.suppress(OSError):  # the end of the session retries, and reports
            logs.scrub(self.log_files)

    def _remove(self, container: RunContainer) -> None:
        """Remove a container that the supervisor did not remove."""
        if failure := container.engine.remove(container.name):
            remedy = shlex.join([*container.engine.command, "rm", "--force", container.name])
            warnings.warn(
                ServebenchWarning(
                    f"The container {container.name} could not be removed: {failure}. Remedy: "
                    f"{remedy}"
                ),
                stacklevel=3,
            )

    def _await_start(self) -> None:
        deadline = time.monotonic() + _START_LIMIT
        with self._lock:
            while self._pid is None and self._failure is None:
                over = self._read_status(max(0.0, deadline - time.monotonic()))
                if over and self._pid is None and self._failure is None:
                    self._failure = "its supervisor exited"
                elif time.monotonic() > deadline:
                    self._failure = f"its supervisor did not start it in {_START_LIMIT:g} s"
        if self._failure is not None:
            raise ServerStartError(
                f"{self.command[0]} could not be run: {self._failure}.\n{self.log_tail()}"
            )

    def _read_status(self, timeout: float) -> bool:
        """Read the supervisor's reports; return whether there will be no more."""
        stream = self._supervisor.stdout
        if stream is None or stream.closed:
            return True
        poll = select.poll()  # select() refuses file descriptors from 1024 on
        poll.register(stream, select.POLLIN)
        while poll.poll(timeout * 1000):
            chunk = os.read(stream.fileno(), 4096)
            if not chunk:
                return True
            *lines, self._status = (self._status + chunk).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
            timeout = 0
        return False

    def _take(self, message: Mapping[str, Any]) -> None:
        self._pid = message.get("started", self._pid)
        self._exit = message.get("exit", self._exit)
        self._failure = message.get("failed", self._failure)
        self._left = message.get("left", self._left)
        self._removed = message.get("removed", self._removed)

    def _marked(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(_MARK) == self._mark:
                    found.append(process)
        return found

    def _sweep(self) -> None:
        """Kill at once what a killed supervisor left behind."""
        for _ in range(10):
            marked = self._marked()
            if not marked:
                break
            for process in marked:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(marked, timeout=1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._supervisor.wait(1)
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _in_words(status: int) -> str:
    if status >= 0:
        hint = " (did it daemonize? it must run in the foreground)" if status == 0 else ""
        return f"exit status {status}{hint}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-status).name}"
    return f"killed by signal {-status}"


def _forget_in_child() -> None:
    """Close the pipes in a forked child, which would otherwise keep servers alive after pytest."""
    for process in list(_alive):
        for stream in (process._supervisor.stdin, process._supervisor.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


os.register_at_fork(after_in_child=_forget_in_child)
