"""``vllm bench serve --save-result --save-detailed``: columns with an item for each request."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

from pytest_servebench.load.records import Outcome
from pytest_servebench.runs.basics import Origin
from pytest_servebench.runs.decoding import decode
from pytest_servebench.runs.foreign.answers import Answer, floats, last_line, rate_of
from pytest_servebench.runs.foreign.cases import Load, case_of
from pytest_servebench.runs.results import Run
from pytest_servebench.text.safe import counted

TOOL: Final = "vLLM bench serve"
_SETTINGS: Final = (
    "endpoint_type", "backend", "num_prompts", "request_rate", "burstiness", "max_concurrency",
)  # fmt: skip
_UNTOLD: Final = (
    "when requests were due (its times are from sending)",
    "how long failed requests took",
    "which events came in one read",
)
_ROLES: Final = "which events had output (one that only names a role is its first token)"
_EVENLY: Final = "when requests were sent (taken to be evenly spaced over its duration)"
_OF_EACH: Final = ("input_lens", "output_lens", "ttfts", "itls", "errors", "start_times")


@dataclass(frozen=True)
class _Result:
    model_id: str
    duration: float
    completed: int
    input_lens: tuple[int, ...]
    output_lens: tuple[int, ...]
    ttfts: tuple[float, ...]
    itls: tuple[Any, ...]
    errors: tuple[str, ...]
    start_times: tuple[float, ...] | None = None
    date: str = ""


def recognizes(data: object) -> bool:
    """Return whether a file holds such a result, or several, a line each."""
    if isinstance(data, list):
        data = data[0] if data else None
    names = ("model_id", "num_prompts", "completed", "total_input_tokens", "request_throughput")
    return isinstance(data, Mapping) and all(name in data for name in names)


def read(data: Any, name: str) -> Run:
    """Return the run in a result.

    Args:
        data: the file's.
        name: of the run.

    Raises:
        ValueError: a field is missing or wrong, there are no figures of single requests, or several
            results.
    """
    if isinstance(data, list):
        raise ValueError(  # noqa: TRY004 - as for any file
            f"it holds {counted(len(data), 'result')}, of --append-result: give a file for each"
        )
    if missing := [one for one in _OF_EACH[:-1] if one not in data]:
        raise ValueError(
            f"{missing[0]} is missing: figures of single requests need --save-result "
            "--save-detailed"
        )
    result = decode(_Result, data)
    answers = _answers(result)
    origin = Origin(
        TOOL, "", {key: f"{data[key]}" for key in _SETTINGS if data.get(key) is not None},
        _untold(data, result),
    )  # fmt: skip
    load = Load(
        TOOL, result.model_id, rate_of(data.get("request_rate")), answers, origin,
        duration=result.duration,
    )  # fmt: skip
    return Run(name, _started(result.date), {}, {}, (case_of(load),))


def _untold(data: Mapping[str, Any], result: _Result) -> tuple[str, ...]:
    chat = "chat" in f"{data.get('endpoint_type')}{data.get('backend')}"
    return (*_UNTOLD, *[_ROLES] * chat, *[_EVENLY] * (result.start_times is None))


def _answers(result: _Result) -> list[Answer]:
    columns = {name: one for name in _OF_EACH if (one := getattr(result, name)) is not None}
    n = len(result.ttfts)
    for name, column in columns.items():
        if len(column) != n:
            raise ValueError(
                f"{name} has {counted(len(column), 'item')}, and ttfts {n}: one for each request"
            )
    if not n:
        raise ValueError("ttfts is empty: nothing was measured")
    spread = float(np.ptp(result.start_times)) if result.start_times else 0.0
    if not 0 < result.duration >= spread:
        raise ValueError(
            f"duration is {result.duration:g} s, but requests were sent over {spread:.6g} s"
        )
    sent = result.start_times or np.linspace(0, result.duration, n, endpoint=False).tolist()
    answers = []
    for index in range(n):
        for name in ("output_lens", "input_lens"):
            if (number := columns[name][index]) < 0:
                raise ValueError(f"{name}[{index}] is {number}: no number of tokens")
        error = result.errors[index]
        if error or not result.ttfts[index]:  # the reason of an HTTP status may be empty
            outcome, reason = Outcome.BAD_RESPONSE, last_line(error)
            answers.append(Answer(sent[index], outcome=outcome, failure=reason))
            continue
        gaps = floats(result.itls[index], f"itls[{index}]")
        events = sent[index] + np.cumsum([result.ttfts[index], *gaps])
        answer = Answer(
            sent[index], events, float(events[-1]),
            result.output_lens[index], result.input_lens[index],
        )  # fmt: skip
        answer.check(f"request {index} (ttfts, itls)")
        answers.append(answer)
    if (ok := sum(not one.failure for one in answers)) != result.completed:
        raise ValueError(
            f"completed is {result.completed}, but ttfts and errors show {ok} successes"
        )
    return answers


def _started(date: str) -> str:
    """Return ISO 8601 text without an offset, which the file does not record."""
    try:
        return datetime.strptime(date, "%Y%m%d-%H%M%S").isoformat()
    except ValueError:
        return ""
