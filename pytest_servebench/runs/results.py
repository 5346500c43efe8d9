"""The results of a run: plain data, which is saved as JSON and read back by reports and compare.

All durations are seconds, rates are per second, memory is bytes, CPU is percent of one processor.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_servebench.errors import OptionError
from pytest_servebench.load.classes import unknown_class
from pytest_servebench.load.device import Generator
from pytest_servebench.load.records import Records
from pytest_servebench.load.streams import Counted
from pytest_servebench.load.turns import SessionCounts
from pytest_servebench.runs.basics import (
    UNSAVED,
    ClauseResult,
    ClauseSort,
    MemoryMeasure,
    Origin,
    ServerInfo,
    Sizes,
    TestOutcome,
    VerdictWord,
)
from pytest_servebench.runs.capacity import CapacityResult
from pytest_servebench.runs.resources import Resources
from pytest_servebench.stats.classes import of_class
from pytest_servebench.stats.estimates import ClassFigures, Summary

__all__ = [
    "SCHEMA_VERSION", "Attempt", "CapacityResult", "CaseResult", "ClauseResult", "ClauseSort",
    "LogPart", "MemoryMeasure", "Origin", "Resources", "Run", "ServerDeath", "ServerInfo", "Sizes",
    "StreamedAnswers", "TestOutcome", "VerdictWord", "Workload",
]  # fmt: skip

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class LogPart:
    """The part of a server's log that was written while a case ran.

    Attributes:
        file: the log, relative to the run's directory.
        before: lines before the case.
        added: lines written during the case.
    """

    file: str
    before: int
    added: int


@dataclass(frozen=True)
class Attempt:
    """An invalid measurement that was repeated.

    Attributes:
        reason: why it, or one of its clauses, is invalid.
        records_file: name of its records' file inside the run's directory; empty if there is none.
    """

    reason: str
    records_file: str = ""


@dataclass(frozen=True)
class Workload:
    """What was sent, and how; a comparison needs the same on both sides.

    Attributes:
        schedule_sha256: of the arrival times, and of which request each was.
        requests_sha256: of the requests, without the server's address and secrets.
        timeout: seconds after which a sent request timed out.
        warmup: seconds of warm-up, not recorded.
        drain: seconds after the window in which started requests could still finish.
        keep_alive: whether connections were reused, if the server allowed it.
        streams: how many workers shared a connection.
        transport: over which requests were sent: ``"http/1.1"``, ``"http/2"``, ``"grpc"``, or
            another one's ``module:name``.
    """

    schedule_sha256: str
    requests_sha256: str
    timeout: float
    warmup: float
    drain: float
    keep_alive: bool = True
    streams: int = 1
    transport: str = "http/1.1"


@dataclass(frozen=True)
class StreamedAnswers:
    """How streamed answers were read.

    Attributes:
        format: that the requests name, such as ``"openai"``; several are joined by commas.
        counted: where the numbers of tokens come from: ``"usage"`` of the server, the user's
            ``"tokenizer"``, the number of ``"events"`` with output, or another ``"tool"``.
        uncounted: successes with output whose number of tokens is unknown.
        events: with output, of all answers.
        bunched: how many of them arrived in one read with the previous event, so that the time
            between the two is unknown.
        merged: pieces of answers without their own time, as an answer had too many.
    """

    format: str
    counted: Counted
    events: int
    uncounted: int = 0
    bunched: int = 0
    merged: int = 0


@dataclass(frozen=True)
class CaseResult:
    """The result of one case.

    Attributes:
        name: the test's id inside its module, such as
            ``"test_load[tensorflow_serving-rate10-buffer50]"``, and ``::`` with the label.
        nodeid: the test's node id.
        server: the server under load.
        rate: offered arrivals a second: of requests, or of sessions.
        buffer_size: requests that could wait.
        duration: length of the arrival window, seconds.
        workers: of the load generator, each with one request in flight.
        seed: seed of the schedule.
        model: the served model's name.
        weights_sha256: digest of its weights.
        input_source: where the inputs come from.
        failures: why requests failed, such as ``"timeout: no answer in time"``, and how many.
        summary: figures.
        resources: CPU and memory.
        generator: the load generator.
        clauses: the SLO clauses, judged; empty before judgement and without SLOs.
        verdict: of the clauses: failed if one is, else the worst; ``"passed"`` without SLOs.
        invalid_reason: why the whole measurement is invalid, if it is.
        attempts: earlier measurements of the same load that were invalid.
        test_outcome: pytest's outcome of the test, which may differ from the verdict: a failed SLO
            makes a test that is expected to fail ``"xfailed"``, and a test may fail by its own
            assertions. ``"error"``: in setup or teardown. ``None`` if the session ended before.
        answers_checked: number of answers that were checked.
        answers_wrong: how many of them were wrong; they count as ``bad_response``.
        logs: what the server logged meanwhile.
        records_file: name of the records' file inside the run's directory.
        workload: what was sent; ``None`` in older files.
        rows: samples of the model in each request; latency and throughput are those of requests.
        label: which of several loads of its test it is, such as ``"rate80"`` for a load at its own
            rate; empty for the test's own.
        probe: whether it is a probe of a search for a capacity, which goes beyond the SLO on
            purpose: its verdict does not count for its test.
        streamed: how streamed answers were read; ``None`` if they were not streamed.
        classes: figures of each class of requests, if they were a mix or turns of sessions (the
            first ones and the later ones).
        request_class: the class of its requests that it is about, if it is a part of a case
            (:meth:`of_class`); empty for the whole. Not part of the JSON.
        sessions: how sessions ended, if the requests were their turns. Then ``rate`` and the
            arrival process are of sessions, and later turns depend on the server: the sooner it
            answers, the sooner they arrive.
        origin: the tool that measured it, if that was another one: server, load and generator are
            then unknown, except for what is recorded here; ``None`` for our own.
        records: the records themselves, if loaded; not part of the JSON.
    """

    name: str
    nodeid: str
    server: ServerInfo
    rate: float
    buffer_size: int
    duration: float
    workers: int
    seed: int
    model: str
    weights_sha256: str
    input_source: str
    failures: Mapping[str, int]
    summary: Summary
    resources: Resources
    generator: Generator
    clauses: tuple[ClauseResult, ...] = ()
    verdict: VerdictWord = "passed"
    invalid_reason: str | None = None
    attempts: tuple[Attempt, ...] = ()
    test_outcome: TestOutcome | None = None
    answers_checked: int = 0
    answers_wrong: int = 0
    logs: tuple[LogPart, ...] = ()
    records_file: str = ""
    workload: Workload | None = None
    rows: int = 1
    label: str = ""
    probe: bool = False
    streamed: StreamedAnswers | None = None
    classes: tuple[ClassFigures, ...] = ()
    sessions: SessionCounts | None = None
    origin: Origin | None = None
    request_class: str = field(default="", metadata=UNSAVED)
    records: Records | None = field(default=None, repr=False, compare=False, metadata=UNSAVED)

    @property
    def sizes(self) -> Sizes:
        """Return buffer size and rows, which a report shows together."""
        return Sizes(self.buffer_size, self.rows)

    @property
    def streams(self) -> int:
        """Return how many workers shared a connection."""
        return 1 if self.workload is None else self.workload.streams

    @property
    def unit(self) -> str:
        """Return what ``rate`` counts: ``"request"`` or ``"session"``."""
        return "request" if self.sessions is None else "session"

    @property
    def request_rate(self) -> float:
        """Return the offered requests per second; for sessions, those that arrived.

        If no session began, as if each were one request.
        """
        return self.rate if self.sessions is None else self.summary.achieved_rate or self.rate

    @property
    def arrivals_told(self) -> bool:
        """Return whether it is known when requests were due; other tools may not record it."""
        return self.origin is None or "p50" in self.summary.estimates

    @property
    def measured(self) -> bool:
        """Return whether the figures say something about the server.

        Even so the verdict can be ``"invalid"``, if lateness decides a clause.
        """
        return self.invalid_reason is None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of its classes of requests."""
        return tuple(one.name for one in self.classes)

    def of_class(self, name: str) -> "CaseResult":
        """Return the part of the case that is about one class of its requests.

        Server, generator and resources are those of the whole case.

        Raises:
            OptionError: it has no such class.
        """
        found = next((one for one in self.classes if one.name == name), None)
        if found is None:
            raise OptionError(f"{self.name}: {unknown_class(name, self.class_names)}")
        return dataclasses.replace(
            self,
            summary=found.summary,
            rate=found.summary.offered_rate,
            classes=(),
            request_class=name,
            records=None if self.records is None else of_class(self.records, name),
        )

    def without_lag(self) -> "CaseResult":
        """Return the result as it would be, at best, had the generator never been late."""
        return dataclasses.replace(self, summary=self.summary.punctual())

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data for JSON, without the records."""
        data = dataclasses.asdict(dataclasses.replace(self, records=None))
        for one in dataclasses.fields(self):
            if one.metadata == UNSAVED:
                del data[one.name]
        data["schema_version"] = SCHEMA_VERSION
        data["server"]["cpus"] = list(self.server.cpus)
        data["clauses"] = list(data["clauses"])
        data["logs"] = list(data["logs"])
        data["attempts"] = list(data["attempts"])
        data["classes"] = list(data["classes"])
        return data


@dataclass(frozen=True)
class ServerDeath:
    """A server that died while tests needed it.

    Attributes:
        kind: such as ``"torchserve"``.
        implementation: program and version.
        test: node id of the test during or before which it was found dead.
        reason: one line, such as its exit status.
        log_file: its log, relative to the run's directory; empty if there is none.
    """

    kind: str
    implementation: str
    test: str
    reason: str
    log_file: str


@dataclass(frozen=True)
class Run:
    """All results of one run, and what they share.

    Attributes:
        name: the run's directory name.
        started: local time with offset, ISO 8601.
        machine: facts about the machine (``cpu``, ``cores``, ``memory``, ``system``, ``python``).
        versions: package to version.
        cases: results in the order of running, without probes.
        interleaved: whether all servers ran at the same time and took turns.
        deaths: servers that died while tests needed them, in that order.
        not_measured: selected cases without a result: their server died, they were skipped, or the
            session ended before.
        finished: whether the session ran to completion; false if it was interrupted or killed, and
            while it runs.
        capacities: results of the searches for a capacity, in the order of running.
        probes: the cases that these searches rest on, likewise.
        schema_version: of the file it was read from.
        left_out: parts of the file that could not be read, a line each; not part of the JSON.
    """

    name: str
    started: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    cases: tuple[CaseResult, ...]
    interleaved: bool = False
    deaths: tuple[ServerDeath, ...] = ()
    not_measured: int = 0
    finished: bool = True
    capacities: tuple[CapacityResult, ...] = ()
    probes: tuple[CaseResult, ...] = ()
    schema_version: int = SCHEMA_VERSION
    left_out: tuple[str, ...] = ()

    @property
    def every_case(self) -> tuple[CaseResult, ...]:
        """Return the cases, and the probes after them."""
        return (*self.cases, *self.probes)

    @property
    def origin(self) -> Origin | None:
        """Return the other tool that measured it; ``None`` if it is our own."""
        return next((case.origin for case in self.cases if case.origin is not None), None)

    @property
    def results(self) -> tuple[CaseResult | CapacityResult, ...]:
        """Return the cases, and after them the capacities."""
        return (*self.cases, *self.capacities)

    def to_dict(self, *, cases: bool = True) -> dict[str, Any]:
        """Return the run as plain data for JSON, without the records.

        Args:
            cases: whether with cases and probes.
        """
        data: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "run": self.name,
            "started": self.started,
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "interleaved": self.interleaved,
            "deaths": [dataclasses.asdict(death) for death in self.deaths],
            "not_measured": self.not_measured,
            "finished": self.finished,
            "capacities": [one.to_dict() for one in self.capacities],
        }
        if cases:
            data["cases"] = [case.to_dict() for case in self.cases]
            data["probes"] = [case.to_dict() for case in self.probes]
        return data
