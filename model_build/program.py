"""Programs that run to completion, such as builds, supervised like servers."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_servebench.servers.logs import LogWatch
from pytest_servebench.servers.process import ORPHAN_GRACE, ServerProcess, supervised

_PAUSE = 0.05  # seconds between two checks
_TAIL = 32_768  # bytes of each stream that are kept


class StoppedError(Exception):
    """A program was stopped early, because it is no longer needed."""


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Attributes:
        how: in words, such as ``"exit status 1"``.
        status: its exit status, negative for a signal; ``None`` if unknown.
        errors: the tail of its standard error.
        output: the tail of its standard output.
    """

    how: str
    status: int | None
    errors: str
    output: str


def run_program(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    scratch: Path,
    stop: threading.Event | None = None,
    on_line: Callable[[str], None] = lambda _: None,
) -> Ended:
    """Run a program to completion; it and its children end with this process, however it ends.

    Args:
        command: program and arguments.
        env: its environment; its temporary files go into ``scratch``.
        scratch: a directory for its use, removed at the end.
        stop: ends it early once it is set.
        on_line: called with each line of its standard error.

    Raises:
        ServerStartError: it could not be run.
        StoppedError: ``stop`` was set.
    """
    errors, output = scratch / "errors.log", scratch / "output.log"
    process = ServerProcess(
        command, cpus=(), stop_grace=ORPHAN_GRACE, cwd=Path.cwd(),
        env={**env, "TMPDIR": str(scratch)}, log=errors, stdout_log=output, scratch=scratch,
        linger=True,
    )  # fmt: skip
    watch = LogWatch([errors])
    try:
        while (how := process.ending()) is None:
            for line in watch.new_lines():
                on_line(line)
            if stop is None:
                time.sleep(_PAUSE)
            elif stop.wait(_PAUSE):
                raise StoppedError(command[0])
        for line in watch.new_lines():
            on_line(line)
        return Ended(how, process.exit_status, _end_of(errors), _end_of(output))
    finally:
        process.stop()


def _end_of(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        return file.read().decode("utf-8", "replace")


@contextmanager
def removed_with_us(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield a new directory that is removed after the block, even if this process is killed.

    The block may move it away.

    Raises:
        OSError: it cannot be created.
    """
    directory = parent / f"{prefix}{secrets.token_hex(4)}"
    # Before the directory is created: a kill in between would leave it behind.
    with subprocess.Popen(
        supervised(scratch=directory, linger=True),
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0, start_new_session=True,
    ) as guard:  # fmt: skip
        try:
            directory.mkdir()
            yield directory
        finally:
            assert guard.stdin is not None
            with suppress(OSError):  # it was killed
                guard.stdin.write(b"s")
            guard.wait()
            shutil.rmtree(directory, ignore_errors=True)
