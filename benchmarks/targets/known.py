"""Running the server whose queue is known, and loading it with our engine."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.processes import end, running
from benchmarks.settings import ROOT
from pytest_servebench.load.records import RecordStore
from pytest_servebench.load.runner import LoadResult, run_load
from pytest_servebench.load.spec import LoadSpec
from pytest_servebench.load.target import Target

_REQUEST: Final = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n\r\n"
_START_LIMIT: Final = 15.0


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
    name = f"known-{time.monotonic_ns()}"
    file, log = directory / f"{name}.npy", directory / f"{name}.log"
    command = [sys.executable, "-m", "benchmarks.targets.known_server",
               str(slots), law, str(seed), priority, str(file)]  # fmt: skip
    with running(command, directory, log=log.name, work=ROOT) as process:
        until = time.monotonic() + _START_LIMIT
        while not (text := log.read_text()).endswith("\n"):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server whose queue is known did not start:\n{text}")
            time.sleep(0.02)
        server = Known(process.pid, int(text), np.zeros((0, 3), dtype=np.int64))
        try:
            yield server
        finally:
            if process.poll() is None:  # a block may have left it stopped
                os.kill(process.pid, signal.SIGCONT)
        end(process)
        server.rows = np.load(file)
