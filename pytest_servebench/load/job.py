"""The input of the generator's process, and its exit statuses."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from pytest_servebench.load.target import Target
from pytest_servebench.load.tls import Tls
from pytest_servebench.load.transports.base import Terms

NO_PRIORITY: Final = 77
"""Exit status: the system does not allow the requested priority."""
NO_MEMORY: Final = 78
"""Exit status: out of memory."""
NO_SPACE: Final = 79
"""Exit status: no space for the report."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of load, with everything drawn: plain data that another process can receive.

    The schedule, and which request each arrival takes, are in the shared file of the records. The
    fields are those of :class:`.spec.LoadSpec`, and:

    Attributes:
        sampled: rows of the records whose answers are kept; of sessions, as many of those that
            are asked.
    """

    target: Target
    requests: tuple[bytes, ...] = field(repr=False)
    transport: str
    terms: Terms
    workers: int
    buffer_size: int
    duration: float
    warmup: float
    timeout: float
    drain: float
    priority: str
    think: tuple[int, ...] = ()
    answers: tuple[tuple[tuple[int, int], ...], ...] = ()
    reader: str = ""
    sampled: frozenset[int] = frozenset()

    def to_json(self) -> str:
        """Return the job as JSON text."""
        data = asdict(self)
        data["requests"] = [base64.b64encode(request).decode() for request in self.requests]
        data["sampled"] = sorted(self.sampled)
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Read what :meth:`to_json` wrote."""
        data: dict[str, Any] = json.loads(text)
        tls = data["target"]["tls"]
        data["target"] = Target(**{**data["target"], "tls": Tls(**tls) if tls else None})
        data["terms"] = Terms(**data["terms"])
        data["requests"] = tuple(base64.b64decode(request) for request in data["requests"])
        data["think"] = tuple(data["think"])
        data["answers"] = tuple(
            tuple((start, end) for start, end in places) for places in data["answers"]
        )
        data["sampled"] = frozenset(data["sampled"])
        return cls(**data)
