"""From the requests that another tool recorded to a case like our own."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.records import NEVER, Outcome, Records
from pytest_servebench.load.streams import Streams
from pytest_servebench.runs.basics import Origin
from pytest_servebench.runs.foreign.answers import Answer
from pytest_servebench.runs.plain_benchmarks import NO_GENERATOR, NOTHING
from pytest_servebench.runs.results import CaseResult, Resources, ServerInfo, StreamedAnswers
from pytest_servebench.stats.summary import summarize
from pytest_servebench.text.safe import counted

_OF_BUFFER: Final = ("drop_rate", "throughput_share")
"""Estimates that need a buffer, or arrivals that end before the answers do."""
_LONGEST: Final = 1e8  # seconds of a load


@dataclass(frozen=True)
class Load:
    """A load by another tool.

    Attributes:
        name: of the case.
        model: that was asked for.
        rate: of arrivals, 1/s; 0 if they followed the answers, or it is unknown.
        answers: to all requests.
        format: of the streams, such as ``"openai"``.
        events: with output, of all answers, if only the first and the last of each are known.
        origin: the tool.
        duration: of the whole load, seconds; ``None``: from the first request to the last answer.
    """

    name: str
    model: str
    rate: float
    answers: Sequence[Answer]
    origin: Origin
    format: str = "openai"
    events: int | None = None
    duration: float | None = None


def case_of(load: Load) -> CaseResult:
    """Return the case of a load with at least one request.

    Latency and the time to the first token are known only if it is recorded when each request was
    due; figures of tokens only if answers were streamed.

    Raises:
        ValueError: neither the times of output nor those when requests were due are recorded; or
            times are impossibly far apart.
    """
    records = _records(load)
    streams = records.streams
    if streams is not None and records.ok.any() and not (records.ok & streams.answered()).any():
        # Not streamed: times of output would be those of the failed requests alone.
        records = replace(records, streams=(streams := None))
    summary = summarize(records, load.rate)
    if not summary.estimates:
        raise ValueError("no answer records when its output came: stream the answers")
    estimates = {key: one for key, one in summary.estimates.items() if key not in _OF_BUFFER}
    if not records.arrivals_known:
        summary = replace(summary, latency=NOTHING)
    failures = Counter(one.failure for one in load.answers if one.outcome is not Outcome.OK)
    return CaseResult(
        name=load.name, nodeid=load.name,
        server=ServerInfo("", load.model or load.name, "", "", "", None, None, ()),
        rate=load.rate, buffer_size=0, duration=records.window / 1e9, workers=0, seed=0,
        model=load.model, weights_sha256="", input_source="", failures=dict(failures),
        summary=replace(
            summary, estimates=estimates, queue_wait=NOTHING, generator_lag=NOTHING, without_lag={}
        ),
        resources=Resources(None, None, None, None, None), generator=NO_GENERATOR,
        streamed=None if streams is None else _streamed(load, records, streams),
        origin=load.origin, records=records,
    )  # fmt: skip


def _streamed(load: Load, records: Records, streams: Streams) -> StreamedAnswers:
    return StreamedAnswers(
        format=load.format,
        counted="tool",
        events=len(streams.times) if load.events is None else load.events,
        uncounted=int((streams.uncounted() & records.ok).sum()),
    )


def cancelled(tool: str, number: int) -> tuple[str, ...]:
    """Return a note on requests that the tool cancelled: they say nothing about the server."""
    if not number:
        return ()
    return (f"{counted(number, 'request')} that {tool} itself cancelled: left out",)


def _records(load: Load) -> Records:
    known = all(one.due is not None for one in load.answers)
    answers = sorted(load.answers, key=lambda one: _arrival(one, known=known))
    start = _arrival(answers[0], known=known)
    longest = max(_arrival(answers[-1], known=known) - start, load.duration or 0.0)
    if not longest <= _LONGEST:
        raise ValueError(f"its requests are {longest:.6g} s apart")

    def column(times: Sequence[float | None]) -> npt.NDArray[np.int64]:
        return np.array(
            [NEVER if time is None else round((time - start) * 1e9) for time in times],
            dtype=np.int64,
        )

    scheduled = column([_arrival(one, known=known) for one in answers])
    sent = column([one.sent for one in answers])
    done = column([one.done for one in answers])
    nothing = np.full(len(answers), NEVER, dtype=np.int64)
    events = [np.round((one.events - start) * 1e9).astype(np.int64) for one in answers]
    streams = Streams(
        offsets=np.cumsum([0, *map(len, events)], dtype=np.int64),
        times=np.concatenate(events),
        tokens=np.array([one.tokens for one in answers], dtype=np.int32),
        input_tokens=np.array([one.input_tokens for one in answers], dtype=np.int32),
        bunched=np.zeros(len(answers), dtype=np.int32),
        counted="tool",
        ends_only=load.events is not None,
    )
    window = round((load.duration or 0.0) * 1e9)
    for times in (sent, done, streams.times):
        window = max(window, int(times.max(initial=1)))
    return Records(
        scheduled=scheduled, enqueued=scheduled, dequeued=scheduled, sent=sent, first_byte=nothing,
        done=done, outcome=np.array([one.outcome for one in answers], dtype=np.uint8),
        status=np.zeros(len(answers), dtype=np.int16), window=window, streams=streams,
        arrivals_known=known,
    )  # fmt: skip


def _arrival(answer: Answer, *, known: bool) -> float:
    return answer.due if known and answer.due is not None else answer.sent
