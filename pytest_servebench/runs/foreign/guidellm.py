"""GuideLLM's JSON: a benchmark for each of its strategies, with figures of each request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from pytest_servebench.load.records import Outcome
from pytest_servebench.runs.basics import Origin
from pytest_servebench.runs.decoding import decode
from pytest_servebench.runs.foreign.answers import Answer, last_line, rate_of, utc
from pytest_servebench.runs.foreign.cases import Load, cancelled, case_of
from pytest_servebench.runs.results import CaseResult, Run

TOOL: Final = "GuideLLM"
_OPEN_LOOP: Final = ("constant", "poisson", "trace")  # strategies that do not wait for answers
_BETWEEN: Final = (
    "when the tokens between the first and the last came (so there is no itl or stall)"
)
_NOT_DUE: Final = "when requests were due (they followed the answers)"


@dataclass(frozen=True)
class _Timings:
    targeted_start: float
    resolve_start: float
    resolve_end: float
    request_start: float | None = None
    request_end: float | None = None
    first_token_iteration: float | None = None
    last_token_iteration: float | None = None
    token_iterations: int = 0


@dataclass(frozen=True)
class _Info:
    timings: _Timings
    error: str | None = None


@dataclass(frozen=True)
class _Request:
    info: _Info
    output_tokens: int | None
    prompt_tokens: int | None


@dataclass(frozen=True)
class _Requests:
    successful: tuple[_Request, ...]
    errored: tuple[_Request, ...]
    incomplete: tuple[Any, ...]


@dataclass(frozen=True)
class _Totals:
    successful: int
    errored: int


@dataclass(frozen=True)
class _Metrics:
    request_totals: _Totals


@dataclass(frozen=True)
class _Config:
    strategy: Mapping[str, Any]


@dataclass(frozen=True)
class _Benchmark:
    config: _Config
    requests: _Requests
    metrics: _Metrics
    start_time: float


@dataclass(frozen=True)
class _Metadata:
    guidellm_version: str = ""


@dataclass(frozen=True)
class _Report:
    benchmarks: tuple[_Benchmark, ...]
    metadata: _Metadata = field(default_factory=_Metadata)


def recognizes(data: object) -> bool:
    """Return whether a file holds such a report."""
    if not isinstance(data, Mapping) or not isinstance(data.get("benchmarks"), list):
        return False
    kinds = [one.get("type_") for one in data["benchmarks"] if isinstance(one, Mapping)]
    about = data.get("metadata")
    return "generative_benchmark" in kinds or (
        isinstance(about, Mapping) and "guidellm_version" in about
    )


def read(data: Mapping[str, Any], name: str) -> Run:
    """Return the run in a report.

    Args:
        data: the file's.
        name: of the run.

    Raises:
        ValueError: a field is missing or wrong, or only some of the requests are in it.
    """
    report = decode(_Report, data)
    if not report.benchmarks:
        raise ValueError("benchmarks is empty: nothing was measured")
    model = _model(data)
    version = report.metadata.guidellm_version
    cases = [
        _case(one, f"benchmarks[{index}]", model, version)
        for index, one in enumerate(report.benchmarks)
    ]
    started = utc(report.benchmarks[0].start_time)
    cut_off = sum(len(one.requests.incomplete) for one in report.benchmarks)
    return Run(name, started, {}, {}, tuple(cases), left_out=cancelled(TOOL, cut_off))


def _case(one: _Benchmark, where: str, model: str, version: str) -> CaseResult:
    told, totals = one.requests, one.metrics.request_totals
    for status in ("successful", "errored"):
        number, of = len(getattr(told, status)), getattr(totals, status)
        if number != of:
            raise ValueError(
                f"{where}.requests.{status} has {number} of {of} requests: figures of all of them "
                "need --metrics without sample_size"
            )
    strategy = one.config.strategy
    kind = f"{strategy.get('type_')}"
    due = kind in _OPEN_LOOP
    pace = rate_of(strategy.get("rate" if due else "streams"))
    at = f"@{pace:g}" if pace else ""
    answers = [
        *_answers(told.successful, f"{where}.requests.successful", due=due),
        *_answers(told.errored, f"{where}.requests.errored", due=due, failed=True),
    ]
    if not answers:
        raise ValueError(f"{where}.requests is empty: nothing was measured")
    settings = {key: f"{value}" for key, value in strategy.items() if value is not None}
    origin = Origin(TOOL, version, settings, (_BETWEEN,) if due else (_NOT_DUE, _BETWEEN))
    load = Load(
        f"{TOOL}[{kind}{at}]", model, pace if due else 0.0, answers, origin,
        events=sum(one.info.timings.token_iterations for one in (*told.successful, *told.errored)),
    )  # fmt: skip
    return case_of(load)


def _answers(
    requests: Sequence[_Request], where: str, *, due: bool, failed: bool = False
) -> list[Answer]:
    answers = []
    for index, one in enumerate(requests):
        times = one.info.timings
        events = [times.first_token_iteration, times.last_token_iteration]
        if times.token_iterations < 2:
            del events[1]
        answer = Answer(
            sent=times.resolve_start if times.request_start is None else times.request_start,
            events=np.array([time for time in events if time is not None], dtype=np.float64),
            done=times.resolve_end if times.request_end is None else times.request_end,
            tokens=-1 if one.output_tokens is None else one.output_tokens,
            input_tokens=-1 if one.prompt_tokens is None else one.prompt_tokens,
            due=times.targeted_start if due else None,
            outcome=Outcome.BAD_RESPONSE if failed else Outcome.OK,
            failure=last_line(one.info.error or "") if failed else "",
        )
        answer.check(f"{where}[{index}].info.timings")
        answers.append(answer)
    return answers


def _model(data: Mapping[str, Any]) -> str:
    """Return the model's name; empty where it was the server's only one."""
    found: Any = data
    for key in ("config", "spec", "backend", "model"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else ""
