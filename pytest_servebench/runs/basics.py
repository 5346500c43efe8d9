"""What the results of cases and of searches for a capacity have in common: plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from pytest_servebench.text.numbers import plain

VerdictWord = Literal["passed", "failed", "inconclusive", "invalid"]
MemoryMeasure = Literal["pss", "rss"]
ClauseSort = Literal["slo", "gate", "answers", "successes"]
TestOutcome = Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed"]

UNSAVED: Final[Mapping[str, object]] = MappingProxyType({"saved": False})
"""Metadata of a field that is not part of the JSON."""


@dataclass(frozen=True)
class ClauseResult:
    """One SLO clause, or one gate against an earlier run, judged.

    Attributes:
        clause: as it was written, such as ``"p99<50ms"`` or ``"p99:10% against main"``.
        metric: ``"p99"``, ``"success_rate"``, …
        request_class: of which class of requests it is; empty: of all.
        bound: in seconds, percent of a processor, bytes, 1/s or as a fraction; of a gate, the
            fraction of the earlier value (of shares, the difference) that it may get worse by.
        value: what was measured, ``None`` for infinite or unknown.
        low: lower end of the value's 95 % interval, ``None`` if there is none or it is infinite.
        high: upper end.
        verdict: passed, failed or inconclusive.
        message: one line for people.
        sort: an SLO's clause, a gate, or an implicit check: of the answers that were not checked,
            or that anything succeeded at all.
    """

    clause: str
    metric: str
    bound: float
    value: float | None
    low: float | None
    high: float | None
    verdict: VerdictWord
    message: str
    sort: ClauseSort = "slo"
    request_class: str = ""

    @property
    def is_gate(self) -> bool:
        """Return whether this is a gate, whose bound is a change and not a value of the metric."""
        return self.sort == "gate"


@dataclass(frozen=True)
class ServerInfo:
    """What was measured.

    Attributes:
        kind: such as ``"torchserve"``.
        title: such as ``"TorchServe"``.
        implementation: program and version.
        base_url: where it listened.
        protocol: how predictions were requested.
        threads: intra-op threads; ``None`` for an attached server.
        workers: concurrent predictions; ``None`` for an attached server.
        cpus: processors it may run on; empty for an attached server.
        start_seconds: from its start to its first right answer; ``None`` if this run did not start
            it, or if it answered the model's input wrongly.
        rest_memory: memory of its process tree before its first load, bytes; ``None`` if its
            processes are not visible.
        rest_measure: what that is: the sum of the processes' PSS, or of their RSS if the system
            does not report that.
        options: of its kind, those that change what is measured and are set; empty for an attached
            server.
    """

    kind: str
    title: str
    implementation: str
    base_url: str
    protocol: str
    threads: int | None
    workers: int | None
    cpus: tuple[int, ...]
    start_seconds: float | None = None
    rest_memory: float | None = None
    rest_measure: MemoryMeasure | None = None
    options: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Origin:
    """Another tool that measured a case, as far as its file says.

    Attributes:
        tool: its name.
        version: of the tool; empty if unknown.
        settings: of the load, by the tool's names for them.
        untold: what the file does not record, and is therefore unknown, a phrase each.
    """

    tool: str
    version: str
    settings: Mapping[str, str] = field(hash=False)
    untold: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.tool} {self.version}".rstrip()


class Sizes(NamedTuple):
    """What distinguishes cases of one server at one rate; ``buffer 50, 8 rows`` as text.

    Attributes:
        buffer_size: requests that could wait.
        rows: samples in each request.
    """

    buffer_size: int
    rows: int = 1

    def __str__(self) -> str:
        return f"buffer {plain(self.buffer_size)}" + (f", {self.rows} rows" * (self.rows != 1))
