"""Streamed answers under load, against a server that stamps what it writes."""

import asyncio
import dataclasses
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pytest_servebench.commands.cli import main
from pytest_servebench.load.arrivals import Constant
from pytest_servebench.load.records import NEVER, Outcome
from pytest_servebench.load.runner import run_load
from pytest_servebench.load.store import RecordStore
from pytest_servebench.load.transports.base import Terms
from pytest_servebench.load.validity import invalid_reason
from pytest_servebench.protocols.base import HttpRequest
from pytest_servebench.protocols.http2 import Http2Request
from pytest_servebench.streaming.collect import Collected
from simulation.streaming import DONE, Script, StreamServer, chat, event, serve, usage
from tests.conftest import RunBench
from tests.load.in_process import run_engine
from tests.load.test_generator_process import killing

HELLO = (chat("hel"), chat("lo", "stop"), usage(2) + DONE)
ONE = chat("ö ö", "stop") + DONE
PLACE = ONE.index("ö".encode()) + 1

CASES: dict[str, tuple[Script, Outcome, list[int], int]] = {
    # script, outcome, the write that completes each event with output, bunched
    "steady": (Script([(0.01 * k, one) for k, one in enumerate((chat(), *HELLO))]),
               Outcome.OK, [1, 2], 0),
    "many events in one packet": (Script([(0.0, chat()), (0.02, b"".join(HELLO))]),
                                  Outcome.OK, [1, 1], 1),
    "one event in many packets": (
        Script([(0.01 * k, ONE[7 * k : 7 * k + 7]) for k in range(1 + len(ONE) // 7)]),
        Outcome.OK, [(len(ONE) - len(DONE) - 1) // 7], 0,
    ),
    "a character in two packets": (Script([(0.0, ONE[:PLACE]), (0.02, ONE[PLACE:])]),
                                   Outcome.OK, [1], 0),
    "late headers": (Script([(0.05, HELLO[0]), (0.06, b"".join(HELLO[1:]))], head=0.05),
                     Outcome.OK, [0, 1], 0),
    "headers long before the first token": (Script([(0.05, HELLO[0]), (0.06, HELLO[1])]),
                                            Outcome.OK, [0, 1], 0),
    "a stall": (Script([(0.0, HELLO[0]), (0.1, HELLO[1]), (0.1, DONE)]), Outcome.OK, [0, 1], 0),
    "no end": (Script([(0.0, HELLO[0]), (0.01, chat("lo"))]), Outcome.BAD_RESPONSE, [0, 1], 0),
    "an error inside a 200": (
        Script([(0.0, HELLO[0]), (0.01, event(error={"message": "out of memory"}))]),
        Outcome.BAD_RESPONSE, [0], 0,
    ),
    "closed": (Script([(0.0, HELLO[0]), (0.01, HELLO[1])], end="close"),
               Outcome.BAD_RESPONSE, [0, 1], 0),
    "reset": (Script([(0.0, HELLO[0]), (0.1, chat())], end="abort"),
              Outcome.BAD_RESPONSE, [0], 0),
    "not streamed": (Script([(0.01, b'{"choices": [{"message": {"content": "hello"}}]}')]),
                     Outcome.BAD_RESPONSE, [], 0),
    "an error": (Script([(0.0, HELLO[0])], status=503), Outcome.ERROR_STATUS, [], 0),
    "never ended": (Script([(0.0, HELLO[0])], end="hang"), Outcome.TIMEOUT, [0], 0),
}  # fmt: skip
SAID = {
    "no end": "cut off",
    "an error inside a 200": "out of memory",
    "not streamed": '"stream": true',
    "never ended": "did not end in time",
}
FEW: dict[str, Any] = {"arrivals": Constant(), "buffer_size": 10}


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A load of all scripts, and for each what the server wrote, in the order of requests."""

    collected: Collected
    written: list[tuple[int, list[int]]]


@pytest.fixture(scope="module")
def server() -> Iterator[StreamServer]:
    with serve() as running:
        yield running


@pytest.fixture(
    scope="module", params=[HttpRequest, pytest.param(Http2Request, marks=pytest.mark.slow)]
)
def loaded(server: StreamServer, request: pytest.FixtureRequest) -> Loaded:
    requests = [script.request(make=request.param) for script, *_ in CASES.values()]
    server.stamps()
    # One worker, and so one request after the other: the server's stamps are in their order.
    found = server.load(
        requests, rate=60, duration=1.0, workers=1, timeout=0.4, drain=60, arrivals=Constant(),
        buffer_size=100,
    )  # fmt: skip
    assert found.load.records.counts()["unfinished"] == 0
    return Loaded(found, server.stamps())


@pytest.mark.parametrize("name", CASES)
def test_events_have_their_times_and_faults_their_outcomes(loaded: Loaded, name: str) -> None:
    script, outcome, writes, bunched = CASES[name]
    load = loaded.collected.load
    records, streams = load.records, load.records.streams
    assert streams is not None
    chosen = np.flatnonzero(load.payloads == list(CASES).index(name)).tolist()
    assert chosen
    for index in chosen:
        assert records.outcome[index] == outcome
        read, written = loaded.written[index]
        assert len(written) == len(script.writes)
        times = streams.times[streams.offsets[index] : streams.offsets[index + 1]] + load.start
        assert len(times) == len(writes)
        assert records.sent[index] + load.start <= read <= written[0]
        for seen, number in zip(times, writes, strict=True):
            assert seen >= written[number]
        assert (np.diff(times) >= 0).all()
        assert (times <= records.done[index] + load.start).all()
        # Two writes that this process read at once are one more.
        assert streams.bunched[index] >= bunched
    said = [text for text in load.failures if SAID.get(name, "") in text]
    assert said or outcome == Outcome.OK


def test_what_the_scheduled_arrivals_waited_is_in_their_first_tokens(loaded: Loaded) -> None:
    records = loaded.collected.load.records
    first = records.first_token
    answered = first != NEVER
    assert (first[answered] >= records.first_byte[answered]).all()
    # One worker for far more than it can do: later arrivals wait longer.
    waited = (first - records.scheduled)[answered] / 1e9
    assert waited[-1] > 1.0
    assert loaded.collected.load.journal is None


@pytest.mark.slow
def test_tokens_come_from_usage_or_else_a_tokenizer_or_else_events(server: StreamServer) -> None:
    spoken = Script([(0.0, HELLO[0] + HELLO[1]), (0.0, DONE)])
    told = Script([(0.0, b"".join(HELLO))])
    few = {**FEW, "rate": 20, "duration": 0.3, "workers": 8}

    def counted(*requests: tuple[Script, Callable[[str], int] | None]) -> tuple[str, set[int]]:
        made = server.load([one.request(tokenizer=count) for one, count in requests], **few)
        streams = made.load.records.streams
        assert streams is not None
        return streams.counted, set(streams.tokens.tolist())

    assert counted((spoken, None)) == ("events", {2})
    assert counted((spoken, len)) == ("tokenizer", {5})
    assert counted((told, len)) == ("usage", {2})
    assert counted((told, None), (spoken, len)) == ("usage", {2, -1})


class Freezing:
    """Stops a process for some seconds of a load."""

    def __init__(self, pid: int, after: float, seconds: float) -> None:
        self._pid = pid
        self._after = int(after * 1e9)
        self._length = int(seconds * 1e9)
        self.stopped = self.freed = 0

    def __call__(self, store: RecordStore) -> None:
        now = time.monotonic_ns()
        if not self.stopped and store.start != NEVER and now > store.start + self._after:
            os.kill(self._pid, signal.SIGSTOP)
            self.stopped = time.monotonic_ns()
        elif self.stopped and not self.freed and now > self.stopped + self._length:
            self.freed = time.monotonic_ns()
            os.kill(self._pid, signal.SIGCONT)


@pytest.mark.slow
def test_who_asks_while_the_server_is_frozen_waits_until_it_goes_on() -> None:
    with serve() as server:
        frozen = Freezing(server.pid, after=0.3, seconds=2.0)
        made = server.load(
            [Script([(0.0, HELLO[0]), (0.01, b"".join(HELLO[1:]))]).request()], frozen,
            rate=50, duration=2.7, workers=4, buffer_size=120, arrivals=Constant(),
        )  # fmt: skip
    records, start = made.load.records, made.load.start
    assert records.counts()["ok"] == len(records)
    arrived = records.scheduled + start
    meanwhile = (arrived > frozen.stopped) & (arrived < frozen.freed)
    assert meanwhile.sum() > 50
    assert (records.first_token[meanwhile] + start >= frozen.freed).all()
    # Most of them waited for a worker: from their sending, nothing of it would be seen.
    assert (meanwhile & (records.sent + start > frozen.freed)).sum() > meanwhile.sum() / 2


def test_answers_without_space_make_the_load_invalid(
    server: StreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object) -> object:
        with tempfile.NamedTemporaryFile() as file:
            return Path(file.name).open("rb")

    monkeypatch.setattr("pytest_servebench.load.runner.journal_file", read_only)
    made = server.load([CASES["steady"][0].request()], rate=20, duration=0.3, workers=4, **FEW)
    load = made.load
    assert load.generator.own_failures == {"journal": 6}
    reason = invalid_reason(load.records, load.generator, load.pauses, 1.0)
    assert reason is not None
    assert "6 streamed answers" in reason
    assert "TMPDIR" in reason
    assert load.records.counts()["ok"] == 0


def test_answers_of_more_parts_than_allowed_are_merged_and_told(server: StreamServer) -> None:
    writes = [(0.01 * k, chat("a")) for k in range(6)]
    made = server.load(
        [Script([*writes, (0.1, DONE)]).request()], terms=Terms(most_parts=3),
        rate=10, duration=0.3, workers=4, **FEW,
    )  # fmt: skip
    streams = made.load.records.streams
    assert streams is not None
    assert set(np.diff(streams.offsets).tolist()) == {6}
    assert (streams.bunched >= 3).all()
    assert made.merged > 0


def test_answers_that_the_end_of_the_drain_cuts_off_keep_what_came(server: StreamServer) -> None:
    hangs = Script([(0.0, HELLO[0])], end="hang")
    made = server.load([hangs.request()], rate=10, duration=0.3, workers=4, drain=0.3, **FEW)
    records = made.load.records
    assert records.counts()["unfinished"] == len(records) == 3
    assert (records.first_token > records.sent).all()
    assert (records.done == NEVER).all()


def test_what_was_kept_when_the_generator_is_killed_is_read(server: StreamServer) -> None:
    made = server.load(
        # Fewer than are written together: they are written as time passes, too.
        [CASES["steady"][0].request()], killing(signal.SIGKILL, after=20),
        rate=20, duration=20, workers=8, **FEW,
    ).load  # fmt: skip
    assert made.failure is not None
    streams, answered = made.records.streams, made.records.ok
    assert streams is not None
    # What the generator had not written yet is no success, and no fault of the server's.
    assert answered.sum() > 0
    assert (np.diff(streams.offsets)[answered] == 2).all()
    assert {"ok", "unfinished"} >= {name for name, n in made.records.counts().items() if n}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells it on Linux")
def test_events_that_were_read_late_are_known(server: StreamServer) -> None:
    def stall() -> None:
        time.sleep(0.06)
        asyncio.get_running_loop().call_later(0.1, stall)

    request = Script([(0.01 * k, chat("a")) for k in range(20)]).request()
    spec = server.spec([request], rate=5, duration=1.0, workers=1, drain=60, **FEW)
    engine, records, _ = run_engine(spec, begin=stall)
    assert engine.late_reading
    for index, late in engine.late_reading.items():
        # Nothing lay for longer than the answer took; the kernel counts in ticks.
        most = int(records.done[index] - records.sent[index])
        assert 5e6 < late < most + 10e6


def test_a_load_of_plain_requests_keeps_no_parts(server: StreamServer) -> None:
    plain = Script([(0.0, b"{}")], plain=True).request(None)
    made = run_load(server.spec([plain], terms=Terms(), rate=20, duration=0.3, workers=2, **FEW))
    assert (made.journal, made.records.streams) == (None, None)
    assert made.records.counts()["ok"] == len(made.records)


TEST = """
import pytest
from simulation.streaming import DONE, Script, StreamServer, chat, usage
from pytest_servebench import HttpRequest, StreamReading

SCRIPT = Script([(0.0, chat()), (0.01, chat("a")), (0.02, chat("b", "stop"){usage})])

def test_load(poisson_load):
    requests = {requests}
    case = poisson_load("http://127.0.0.1:{port}", requests=requests, name="scripted")
    streams = case.records.streams
    assert streams.counted == "{counted}"
    assert set(streams.tokens.tolist()) == {{2}}
    assert case.summary.outcomes["ok"] == len(streams)
"""


@pytest.mark.slow
@pytest.mark.parametrize("usage_told", [True, False])
def test_a_test_streams_with_one_word(
    own_process: None,
    run_bench: RunBench,
    server: StreamServer,
    usage_told: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    counted = "usage" if usage_told else "events"
    told = " + usage(2) + DONE" if usage_told else ""
    test = TEST.format(
        port=server.port, counted=counted, usage=told, requests='[SCRIPT.request("openai")]'
    )
    run_bench("--servebench-rates=30", test=test).assert_outcomes(passed=1)
    capsys.readouterr()
    assert main(["show", "-v"]) == 0
    shown = capsys.readouterr().out
    assert "openai" in shown
    assert ("include_usage" in shown) == (not usage_told)


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        (
            '[SCRIPT.request("openai"), SCRIPT.request(None)]',
            ["item 0", "stream='openai'", "item 1", "no stream="],
        ),
        ('[HttpRequest("POST", "/", stream="open")]', ["stream='open'", "openai"]),
    ],
)
def test_what_cannot_be_streamed_together_is_refused(
    run_bench: RunBench, server: StreamServer, requests: str, said: list[str]
) -> None:
    test = TEST.format(port=server.port, counted="", usage="", requests=requests)
    result = run_bench(test=test)
    result.assert_outcomes(failed=1)
    assert not [part for part in said if part not in result.stdout.str()]


SLO = "ttft.p90<10s, tpot.p50<10s, stall.p99<10s, goodput>=1/s"
ASKED = """
@pytest.mark.slo("{marked}")
def test_load({fixture}):
    requests = [SCRIPT.request({stream})]
    case = {fixture}("http://127.0.0.1:{port}", requests=requests, name="scripted")
    {then}
"""
CHECK = f'case.check("{SLO}")'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stream", "fixture", "marked", "then"),
    [
        ("'openai'", "poisson_load", SLO, CHECK),
        ("None", "poisson_load", SLO, ""),
        ("None", "poisson_load", "p99<10s", CHECK),
        ("None", "find_capacity", "ttft.p90<10s", ""),
    ],
)
def test_slos_on_streamed_answers_need_some(
    run_bench: RunBench, server: StreamServer, stream: str, fixture: str, marked: str, then: str
) -> None:
    script, _, _ = TEST.partition("def test_load")
    test = script.format(usage=" + usage(2) + DONE") + ASKED.format(
        stream=stream, fixture=fixture, marked=marked, then=then, port=server.port
    )
    result = run_bench("--servebench-rates=30", "--junitxml=told.xml", test=test)
    if stream != "None":
        result.assert_outcomes(passed=1)
        told = Path("told.xml").read_text()
        assert not [name for name in ("ttft.p99", "tpot.p50", "output_rate") if name not in told]
        return
    result.assert_outcomes(failed=1)
    said = result.stdout.str()
    facts = ("ttft.p90<10s: only streamed", f"{fixture} requests with stream=")
    assert not [part for part in facts if part not in said]


def test_a_users_function_reads_events_and_its_errors_are_faults(server: StreamServer) -> None:
    def broken(events: object) -> npt.NDArray[np.int64]:
        raise ValueError("what is this?")

    script = CASES["steady"][0]
    few = {**FEW, "rate": 20, "duration": 0.3, "workers": 8}
    made = server.load([script.request(stream=broken)], **few)  # type: ignore[arg-type]
    assert made.load.records.counts()["bad_response"] == 6
    ((reason, number),) = made.load.failures.items()
    assert "ValueError: what is this?" in reason
    assert number == 6
