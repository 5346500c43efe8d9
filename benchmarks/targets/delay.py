"""Running the server with a fixed delay and reading its stamps."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.processes import end, running
from benchmarks.settings import ROOT


@dataclass
class Delay:
    """A running server; its stamps are there once the block has ended."""

    port: int
    stamps: npt.NDArray[np.int64]
    """When requests came, in ns, and on which connection: shape ``(n, 2)``."""


@contextmanager
def serve(directory: Path, delay: float) -> Iterator[Delay]:
    """Run the server until the end of the block."""
    file = directory / "stamps.npy"
    command = [sys.executable, "-m", "benchmarks.targets.delay_server", str(delay), str(file)]
    with running(command, directory, log="delay.log", work=ROOT) as process:
        log = directory / "delay.log"
        until = time.monotonic() + 10
        while not (text := log.read_text()).endswith("\n"):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server with a fixed delay did not start:\n{text}")
            time.sleep(0.05)
        server = Delay(int(text), np.zeros((0, 2), dtype=np.int64))
        yield server
        end(process)
        server.stamps = np.load(file)
