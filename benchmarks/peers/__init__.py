"""The generators that are compared, each behind the same few functions."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.stats import inside

STAMPS: Final = "stamps.npz"


@dataclass(frozen=True)
class Job:
    """A load for a peer to send.

    Attributes:
        port: port on 127.0.0.1.
        rate: requests a second; a closed loop runs as fast as it can.
        seconds: how long.
        connections: connections, users, virtual users or workers.
        directory: where the peer's files and output go; its own for each run.
        body: file with the body of each request.
        seed: seed of the arrivals, where the peer takes one.
        stamps: whether the peer is to report its stamps, if that costs something.
        streams: workers of ours that share a connection, over gRPC.
    """

    port: int
    rate: float
    seconds: float
    connections: int
    directory: Path
    body: Path
    seed: int
    stamps: bool = False
    streams: int = 1

    @property
    def url(self) -> str:
        """Return the address to post to."""
        return f"http://127.0.0.1:{self.port}/predict"

    def save(self) -> Path:
        """Write the job to its directory for a client of ours."""
        file = self.directory / "job.json"
        data = asdict(self) | {"directory": str(self.directory), "body": str(self.body)}
        file.write_text(json.dumps(data))
        return file

    @classmethod
    def load(cls, file: str) -> Job:
        """Read what :meth:`save` wrote."""
        data: dict[str, Any] = json.loads(Path(file).read_text())
        return cls(**data | {"directory": Path(data["directory"]), "body": Path(data["body"])})


@dataclass(frozen=True)
class Stamps:
    """When each request was scheduled, sent and answered, in monotonic ns.

    ``sent`` and ``done`` are -1 where that did not happen. ``unaccounted`` counts arrivals of which
    nothing is known.
    """

    scheduled: npt.NDArray[np.int64]
    sent: npt.NDArray[np.int64]
    done: npt.NDArray[np.int64]
    unaccounted: int = 0

    def lag(self, settle: float, seconds: float) -> npt.NDArray[np.int64]:
        """Return sent less scheduled in ns for the requests scheduled in the steady window."""
        steady = inside(self.scheduled, settle, seconds) & (self.sent >= 0)
        return self.sent[steady] - self.scheduled[steady]

    def latency(self, settle: float, seconds: float) -> npt.NDArray[np.int64]:
        """Return done less scheduled in ns for those of them that were answered."""
        steady = inside(self.scheduled, settle, seconds) & (self.done >= 0)
        return self.done[steady] - self.scheduled[steady]

    def save(self, directory: Path) -> None:
        """Write the stamps into a job's directory."""
        np.savez(
            directory / STAMPS,
            scheduled=self.scheduled,
            sent=self.sent,
            done=self.done,
            unaccounted=np.int64(self.unaccounted),
        )

    @classmethod
    def load(cls, directory: Path) -> Stamps | None:
        """Read what :meth:`save` wrote, if anything."""
        if not (directory / STAMPS).exists():
            return None
        with np.load(directory / STAMPS) as file:
            return cls(file["scheduled"], file["sent"], file["done"], int(file["unaccounted"]))


class Peer(Protocol):
    """A load generator that can be run.

    Attributes:
        name: its name in tables and on the command line.
        title: what it is, in a few words.
        open_loop: whether arrivals keep to a schedule, whatever the server does.
        arrivals: ``"poisson"``, ``"constant"`` or ``"closed"``.
        lag_from: how its lag is measured, for the report; empty if it has none.
        tells: whether it reports its own stamps.
        top_rate: a rate that it handles easily, for the measurement of its memory.
    """

    name: str
    title: str
    open_loop: bool
    arrivals: str
    lag_from: str
    tells: bool
    top_rate: float

    def missing(self) -> str | None:
        """Return what is not installed, or ``None``."""
        ...

    def command(self, job: Job) -> Sequence[str]:
        """Return the command that makes the load."""
        ...

    def environment(self, job: Job) -> Mapping[str, str]:
        """Return what the command needs in its environment."""
        ...

    def stamps(self, job: Job) -> Stamps | None:
        """Return what the peer knows about each request, if it reports that."""
        ...

    def told(self, job: Job) -> dict[str, float]:
        """Return other figures that the peer reports: ``latency_p50`` in µs, ``dropped``."""
        ...


class Plain:
    """Base class with what most peers have in common."""

    def environment(self, job: Job) -> Mapping[str, str]:  # noqa: ARG002 - most need nothing
        """Return nothing."""
        return {}

    def stamps(self, job: Job) -> Stamps | None:
        """Return what a client of ours has written."""
        return Stamps.load(job.directory)

    def told(self, job: Job) -> dict[str, float]:  # noqa: ARG002 - most tell nothing else
        """Return nothing."""
        return {}


def find(program: str) -> str | None:
    """Return where a program is: next to this interpreter, or on the path."""
    beside = Path(sys.executable).parent / program
    return str(beside) if beside.exists() else shutil.which(program)


def missing_program(program: str, source: str) -> str | None:
    """Return that a program is missing, for a message; ``None`` if it is there."""
    return None if find(program) else f"{program} is not installed ({source})"


def missing_module(*modules: str) -> str | None:
    """Return which modules are missing, for a message; ``None`` if all are there."""
    lost = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"{', '.join(lost)} not installed" if lost else None


def own_client(module: str, job: Job, *arguments: str) -> list[str]:
    """Return the command for a client of ours, which is run as a module."""
    return [sys.executable, "-m", module, str(job.save()), *arguments]
