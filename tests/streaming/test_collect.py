"""What the answers of a finished load say, whatever a user's code does with them."""

import tempfile
import time
from collections.abc import Callable, Sequence
from typing import IO, Any, cast

import numpy as np
import pytest

from pytest_servebench.errors import ServerDiedError
from pytest_servebench.load.journal import Journal, JournalWriter
from pytest_servebench.load.records import Outcome
from pytest_servebench.load.runner import LoadResult
from pytest_servebench.load.transports.base import Completion, Parts
from pytest_servebench.measure.case_runner import Case, run_case
from pytest_servebench.measure.traffic import of_requests
from pytest_servebench.protocols.base import HttpRequest
from pytest_servebench.servers.base import RunningServer
from pytest_servebench.streaming.collect import collect
from pytest_servebench.streaming.events import StreamEvent, StreamReading
from pytest_servebench.streaming.formats import Stream, Tokenizer, Way
from simulation.cases import calm_generator, records
from simulation.streaming import DONE, chat, usage
from tests.test_case_runner import INFO, SPEC

A, B = chat("a", "stop") + DONE, chat("b", "stop") + DONE


def finished(*bodies: bytes) -> tuple[LoadResult, IO[bytes]]:
    """Return a load of successful answers, each of which came in one read, and its journal."""
    n, file = len(bodies), tempfile.TemporaryFile()  # noqa: SIM115 - the journal closes it
    writer = JournalWriter(file.fileno())
    for index, body in enumerate(bodies):
        parts = Parts(100, [body, time.monotonic_ns()], len(body))
        writer.add(index, Completion(Outcome.OK, 1, 2, parts=parts))
    writer.flush()
    load = LoadResult(
        records=records(np.arange(n, dtype=np.float64), np.full(n, 0.1), float(n)),
        payloads=np.zeros(n, np.uint32), answers={}, heads={}, failures={},
        pauses=np.zeros(1), start=0, generator=calm_generator(), journal=Journal(file),
    )  # fmt: skip
    return load, file


def read(
    *bodies: bytes, stream: Stream = "openai", tokenizer: Tokenizer | None = None
) -> LoadResult:
    return collect(finished(*bodies)[0], [Way.of(stream, tokenizer, "r")]).load


@pytest.mark.parametrize(
    ("body", "good"),
    [(DONE, False), (chat() + chat("", "stop"), False), (usage(0) + DONE, False),
     (usage(1) + DONE, True), (A, True)],
)  # fmt: skip
def test_a_success_has_output_or_at_least_tokens(body: bytes, good: bool) -> None:
    load = read(body)
    assert load.records.ok.tolist() == [good]
    assert good is not any("no output" in text for text in load.failures)


def fails(_: object) -> Any:
    pytest.fail("not this one")


def leaves(_: object) -> Any:
    raise SystemExit(3)


def returning(*output: Any, **fields: Any) -> Callable[[Sequence[StreamEvent]], StreamReading]:
    return lambda _: StreamReading(output, **fields)


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        (fails, ["not this one"]),
        (leaves, ["SystemExit", "3"]),
        (lambda _: None, ["None", "StreamReading"]),
        (returning(0.5), ["output", "float"]),
        (returning(0, 0), ["output", "ascend"]),
        (returning(7), ["output", "ascend"]),
        (returning(0, text=b"a"), ["text=b'a'"]),
        (returning(0, fault=None), ["fault=None"]),
        *((returning(0, tokens=wrong), [f"tokens={wrong}"]) for wrong in (2**31, -1, 1.5, True)),
        (returning(0, input_tokens="3"), ["input_tokens='3'"]),
    ],
)
def test_what_a_reader_does_wrong_is_a_fault_of_the_answer(reader: Any, said: list[str]) -> None:
    load = read(A, stream=reader)
    assert load.records.outcome.tolist() == [Outcome.BAD_RESPONSE]
    (told,) = load.failures
    assert not [part for part in said if part not in told], told


def test_counts_of_numpy_are_counts() -> None:
    load = read(A, stream=returning(np.int64(0), tokens=np.int32(3)))
    assert load.records.streams is not None
    assert load.records.streams.tokens.tolist() == [3]


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (lambda text: {"a": 1}[text], ["tokenizer", "KeyError"]),
        (lambda text: 1 if text == "a" else 0.5, ["tokenizer", "0.5"]),
        (lambda text: 1 if text == "a" else fails(text), ["tokenizer", "not this one"]),
    ],
)
def test_a_tokenizer_that_fails_on_an_answer_loses_only_that(count: Any, said: list[str]) -> None:
    load = read(A, B, tokenizer=count)
    assert load.records.ok.tolist() == [True, False]
    assert load.records.streams is not None
    assert load.records.streams.tokens.tolist() == [1, -1]
    (told,) = load.failures
    assert not [part for part in said if part not in told], told


def test_a_reader_may_end_the_session_and_the_space_is_given_back() -> None:
    load, file = finished(A)
    with pytest.raises(pytest.exit.Exception):
        collect(load, [Way.of(lambda _: pytest.exit("enough"), None, "r")])
    assert file.closed


def test_a_server_that_died_at_the_end_leaves_no_journal_open() -> None:
    class Server:
        alive = True

        def pids(self) -> list[int]:
            return []

        def check_alive(self) -> None:
            if not self.alive:
                raise ServerDiedError("it is gone")

    def run(*_: object) -> LoadResult:
        server.alive = False
        return load

    load, file = finished(A)
    server, case = Server(), Case("test_it", "test_file.py::test_it", SPEC, max_lag=0.01)
    traffic = of_requests([HttpRequest("POST", "/", stream="openai")])
    with pytest.raises(ServerDiedError):
        run_case(case, cast(RunningServer, server), INFO, traffic, lambda _: None, run)
    assert file.closed
