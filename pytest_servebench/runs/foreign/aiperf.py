"""AIPerf's ``profile_export.jsonl``: a line for each request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pytest_servebench.load.records import Outcome
from pytest_servebench.runs.basics import Origin
from pytest_servebench.runs.decoding import decode
from pytest_servebench.runs.foreign.answers import Answer, Floats, floats, last_line, utc
from pytest_servebench.runs.foreign.cases import Load, cancelled, case_of
from pytest_servebench.runs.results import Run

TOOL: Final = "AIPerf"
_UNTOLD: Final = (
    "when requests were due (its times are from sending)",
    "which events came in one read",
    "who counted the tokens (the server, with --use-server-token-count)",
)
_MEASURED: Final = "profiling"  # the phase after the warm-up
_ROUNDING: Final = 1e-3  # seconds by which the sum of an answer's gaps may be beyond its end
_SECONDS: Final[Mapping[str, float]] = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True)
class _Metadata:
    request_start_ns: float
    request_end_ns: float
    benchmark_phase: str
    was_cancelled: bool = False
    x_request_id: str | None = None


@dataclass(frozen=True)
class _Metric:
    value: Any
    unit: str


@dataclass(frozen=True)
class _Error:
    type: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class _Line:
    metadata: _Metadata
    metrics: Mapping[str, _Metric]
    error: _Error | None = None

    def seconds(self, metric: str, where: str) -> Floats:
        """Return times, or one, as an array of seconds; empty if they are missing."""
        if metric not in self.metrics:
            return np.empty(0)
        known, where = self.metrics[metric], f"{where}.metrics.{metric}"
        if known.unit not in _SECONDS:
            raise ValueError(f"{where}.unit is {known.unit!r}, not one of {', '.join(_SECONDS)}")
        values = known.value if isinstance(known.value, list) else [known.value]
        return floats(values, f"{where}.value") * _SECONDS[known.unit]

    def tokens(self, metric: str) -> int:
        """Return a number of tokens; -1 if it is missing."""
        value = self.metrics[metric].value if metric in self.metrics else None
        return value if type(value) is int else -1


def recognizes(data: object) -> bool:
    """Return whether a file holds such lines, or AIPerf's figures of all requests together."""
    if _is_aggregate(data):
        return True
    first = data[0] if isinstance(data, list) and data else data
    return isinstance(first, Mapping) and {"metadata", "metrics"} <= first.keys()


def _is_aggregate(data: object) -> bool:
    return isinstance(data, Mapping) and {"input_config", "request_latency"} <= data.keys()


def read(data: Any, name: str) -> Run:
    """Return the run in a file.

    Args:
        data: that of its lines, or of the only one.
        name: of the run.

    Raises:
        ValueError: a field is missing or wrong, or there are no figures of single requests.
    """
    if _is_aggregate(data):
        raise ValueError(
            "it holds the figures of all requests together: give profile_export.jsonl beside it, "
            "which needs --export-level records"
        )
    lines = data if isinstance(data, list) else [data]
    told = {f"line {number}": decode(_Line, one, f"line {number}")
            for number, one in enumerate(lines, 1)}  # fmt: skip
    _check_ids(told)
    measured = {where: one for where, one in told.items()
                if one.metadata.benchmark_phase == _MEASURED}  # fmt: skip
    answers = [_answer(one, where) for where, one in measured.items()
               if not one.metadata.was_cancelled]  # fmt: skip
    if not answers:
        raise ValueError("it has no request that was measured and not cancelled")
    started = min(one.metadata.request_start_ns for one in measured.values()) / 1e9
    return Run(
        name, utc(started), {}, {},
        (case_of(Load(TOOL, "", 0.0, answers, Origin(TOOL, "", {}, _UNTOLD))),),
        left_out=cancelled(TOOL, len(measured) - len(answers)),
    )  # fmt: skip


def _check_ids(told: Mapping[str, _Line]) -> None:
    first: dict[str, str] = {}
    for where, one in told.items():
        name = one.metadata.x_request_id
        if name and first.setdefault(name, where) != where:
            raise ValueError(f"{where} is the request of {first[name]} again: x_request_id {name}")


def _answer(line: _Line, where: str) -> Answer:
    sent, done = line.metadata.request_start_ns / 1e9, line.metadata.request_end_ns / 1e9
    if line.error is not None:
        reason = ": ".join(filter(None, [line.error.type, line.error.message]))
        lost = Answer(sent, done=done, outcome=Outcome.BAD_RESPONSE, failure=last_line(reason))
        lost.check(where)
        return lost
    first = line.seconds("time_to_first_token", where)
    if len(first) > 1:
        raise ValueError(f"{where}.metrics.time_to_first_token.value has {len(first)} times, not 1")
    gaps = line.seconds("inter_chunk_latency", where) if len(first) else first
    events = sent + np.cumsum([*first, *gaps])
    if len(events) and 0 < events[-1] - done <= _ROUNDING:
        done = float(events[-1])
    answer = Answer(
        sent, events, done, line.tokens("output_sequence_length"),
        line.tokens("input_sequence_length"),
    )  # fmt: skip
    answer.check(where)
    return answer
