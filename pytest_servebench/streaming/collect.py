"""From a load's journal to its streams: answers are read and dropped one at a time."""

from __future__ import annotations

import operator
import reprlib
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson

from pytest_servebench.errors import BadResponseError
from pytest_servebench.load.journal import StreamedAnswer
from pytest_servebench.load.limits import JOURNAL
from pytest_servebench.load.records import Outcome
from pytest_servebench.load.runner import LoadResult
from pytest_servebench.load.streams import Counted, Streams
from pytest_servebench.streaming.events import StreamEvent, StreamReading, stamped
from pytest_servebench.streaming.faults import NO_OUTPUT, error_of
from pytest_servebench.streaming.formats import (
    StreamFormat,
    Tokenizer,
    Way,
    is_count,
    token_count,
)
from pytest_servebench.system.foreign_code import caught, reason_of
from pytest_servebench.text.excerpt import excerpt

_UNKNOWN: Final = -1
_KEPT_REASONS: Final = 50
_SUCCESSES: Final = range(200, 300)  # statuses


@dataclass(frozen=True)
class Collected:
    """A load whose streamed answers were read.

    Attributes:
        load: with streams in its records, and answers with a fault as ``bad_response``.
        merged: pieces that were merged with others, as there were too many of one answer.
    """

    load: LoadResult
    merged: int


def collect(load: LoadResult, ways: Sequence[Way]) -> Collected:
    """Read the streamed answers of a load, and close its journal.

    Args:
        load: with a journal.
        ways: for each of its requests.
    """
    assert load.journal is not None
    reader = _Reader(load, ways)
    try:
        for answer in load.journal:
            reader.take(answer)
    finally:
        load.journal.close()
    return reader.collected()


class _Reader:
    """Collects what the answers contain."""

    def __init__(self, load: LoadResult, ways: Sequence[Way]) -> None:
        self._load = load
        self._ways = ways
        size = len(load.records)
        self._outcome = load.records.outcome.copy()
        self._reasons: Counter[str] = Counter()
        self._read = np.zeros(size, dtype=np.bool_)
        self._times = array("q")  # of all events, in the order in which answers ended
        self._starts = np.zeros(size, dtype=np.int64)  # of a request's events in them
        self._counts = np.zeros(size, dtype=np.int64)
        self._bunched = np.zeros(size, dtype=np.int32)
        self._usage, self._tokenized, self._input = (
            np.full(size, _UNKNOWN, dtype=np.int32) for _ in range(3)
        )
        self._merged = 0

    def take(self, answer: StreamedAnswer) -> None:
        """Read one answer."""
        index, records = answer.index, self._load.records
        self._read[index] = True
        self._merged += answer.merged
        if int(records.status[index]) not in _SUCCESSES:
            return
        way = self._ways[self._load.payloads[index]]
        events = stamped(way.format.splitter(answer.body, answer.ends), answer, self._load.start)
        reading = _reading(way.format, events, answer.body)
        fault = reading.fault
        if not fault and not reading.output and not reading.tokens:
            fault = NO_OUTPUT
        if reading.input_tokens is not None:
            self._input[index] = reading.input_tokens
        if reading.tokens is not None:
            self._usage[index] = reading.tokens
        elif way.tokenizer is not None:
            self._tokenized[index], problem = _count(way.tokenizer, reading.text)
            fault = fault or problem
        if fault and self._outcome[index] == Outcome.OK:
            self._fail(index, Outcome.BAD_RESPONSE, fault)
        output = [events[place] for place in reading.output]
        self._starts[index], self._counts[index] = len(self._times), len(output)
        self._times.extend(event.time for event in output)
        self._bunched[index] = sum(before.part == after.part for before, after in pairwise(output))

    def _fail(self, index: int, outcome: Outcome, reason: str) -> None:
        self._outcome[index] = outcome
        reason = f"{outcome.label}: {reason}"
        if reason not in self._reasons and len(self._reasons) >= _KEPT_REASONS:
            reason = f"{outcome.label}: other reasons"
        self._reasons[reason] += 1

    def collected(self) -> Collected:
        """Return everything, in the order of the requests."""
        load, records = self._load, self._load.records
        died = load.failure is not None or JOURNAL in load.generator.own_failures
        for index in np.flatnonzero(records.ok & ~self._read).tolist():
            if died:  # the case is invalid
                self._fail(index, Outcome.UNFINISHED, "the load generator lost the answer")
            else:
                self._fail(index, Outcome.BAD_RESPONSE, "the answer is empty, not a stream")
        offsets = np.zeros(len(records) + 1, dtype=np.int64)
        np.cumsum(self._counts, out=offsets[1:])
        places = np.repeat(self._starts - offsets[:-1], self._counts) + np.arange(offsets[-1])
        tokens, counted = self._tokens()
        streams = Streams(
            offsets=offsets,
            times=np.array(self._times, dtype=np.int64)[places],
            tokens=tokens,
            input_tokens=self._input,
            bunched=self._bunched,
            counted=counted,
        )
        failures = Counter(load.failures) + self._reasons
        found = replace(records, outcome=self._outcome, streams=streams)
        return Collected(
            replace(load, records=found, failures=dict(failures), journal=None), self._merged
        )

    def _tokens(self) -> tuple[npt.NDArray[np.int32], Counted]:
        """Return the tokens of each answer, all counted in the same way, and that way."""
        if (self._usage != _UNKNOWN).any():
            return self._usage, "usage"
        if (self._tokenized != _UNKNOWN).any():
            return self._tokenized, "tokenizer"
        return np.where(self._read, self._counts, _UNKNOWN).astype(np.int32), "events"


def _reading(form: StreamFormat, events: Sequence[StreamEvent], body: bytes) -> StreamReading:
    """Return the reading of the events; any error becomes a fault, as the load is over."""
    if not events:
        return StreamReading((), fault=_not_streamed(body))
    with caught() as errors:
        return _checked(form.name, form.read(events), len(events))
    return StreamReading((), fault=reason_of(errors[0], "reading the stream", BadResponseError))


def _checked(name: str, reading: object, events: int) -> StreamReading:
    """Return what a user's function returned, if it is a reading of that many events.

    Raises:
        BadResponseError: it is not.
    """
    if not isinstance(reading, StreamReading):
        raise BadResponseError(f"{name} returned {reprlib.repr(reading)}, not a StreamReading")
    try:
        output = [operator.index(place) for place in reading.output]
    except TypeError as error:
        raise BadResponseError(f"{name} returned invalid places of output: {error}") from None
    if any(after <= before for before, after in pairwise([-1, *output, events])):
        raise BadResponseError(f"{name} returned places of output that do not ascend")
    for what, text in (("text", reading.text), ("fault", reading.fault)):
        if not isinstance(text, str):
            raise BadResponseError(f"{name} returned {what}={reprlib.repr(text)}, not a str")
    for what, count in (("tokens", reading.tokens), ("input_tokens", reading.input_tokens)):
        if count is not None and not is_count(count):
            raise BadResponseError(
                f"{name} returned {what}={reprlib.repr(count)}, not a number from 0 to 2**31 - 1"
            )
    return replace(reading, output=output)


def _not_streamed(body: bytes) -> str:
    try:
        whole = orjson.loads(body)
    except orjson.JSONDecodeError:
        return f"the answer is not a stream of events; it begins with {excerpt(body)!r}"
    if isinstance(whole, dict) and (error := error_of(whole)):
        return error
    return (
        'the answer is plain JSON, not streamed: does the request\'s body say "stream": true, and '
        "can the server stream?"
    )


def _count(tokenizer: Tokenizer, text: str) -> tuple[int, str]:
    """Return the number of tokens, and an empty text; or that it is unknown, and why."""
    with caught() as errors:
        return token_count(tokenizer, text, "tokenizer=", BadResponseError), ""
    return _UNKNOWN, reason_of(errors[0], "tokenizer=", BadResponseError)
