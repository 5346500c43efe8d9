"""Running the server whose queue is known, and loading it with our engine."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.runner import LoadResult, run_load
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.store import RecordStore
from pytest_servebench.load.target import Target

_REQUEST: Final = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n\r\n"
_ROOT: Final = Path(__file__).resolve().parent.parent
_END_LIMIT: Final = 5.0


@dataclass
class Known:
    """A running server; its rows are there once the block has ended.

    Attributes:
        pid: its process.
        port: where it listens.
        rows: for each request, in the order in which services began: when it was read, when its
            service began (monotonic clock), how long a service was drawn; ns, shape ``(n, 3)``.
    """

    pid: int
    port: int
    rows: npt.NDArray[np.int64]

    def load(
        self, watch: Callable[[RecordStore], None] = lambda _: None, **spec: Any
    ) -> LoadResult:
        """Load the server with our engine; the rest are fields of ``LoadSpec``."""
        given: dict[str, Any] = {
            "target": Target("127.0.0.1", self.port),
            "requests": (_REQUEST,),
            "warmup": 0.0,
        }
        return run_load(LoadSpec(**(given | spec)), watch)


@contextmanager
def serve(
    directory: Path, slots: int, law: str, seed: int, *, priority: str = "auto"
) -> Iterator[Known]:
    """Run the server until the end of the block; for the words see ``known_server``."""
    file = directory / f"known-{uuid4().hex}.npy"
    command = [sys.executable, "-m", "simulation.known_server",
               str(slots), law, str(seed), priority, str(file)]  # fmt: skip
    with running(command) as server:
        yield server
    server.rows = np.load(file)


@contextmanager
def round_robin(servers: Sequence[Known]) -> Iterator[Known]:
    """Run a proxy in front of servers until the end of the block; it has no rows of its own."""
    ports = [str(server.port) for server in servers]
    with running([sys.executable, "-m", "simulation.round_robin", *ports]) as proxy:
        yield proxy


@contextmanager
def running(command: Sequence[str]) -> Iterator[Known]:
    """Run a server that prints its port until the end of the block."""
    # The server ends with its standard input, so that it outlives nobody.
    with subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = process.stdout.readline()
        if not port:
            raise RuntimeError(f"{command[2]} did not start: see its errors")
        try:
            yield Known(process.pid, int(port), np.zeros((0, 3), dtype=np.int64))
        finally:
            process.send_signal(signal.SIGCONT)  # a block may have left it stopped
            process.stdin.close()
            try:
                process.wait(_END_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
