"""Sessions of several turns: open between them, closed within."""

import dataclasses
import json
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench import HttpRequest, Requests
from pytest_servebench.load.arrivals import Constant
from pytest_servebench.load.choice import InOrder
from pytest_servebench.load.histories import filled
from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.load.session_engine import SessionEngine, _following
from pytest_servebench.load.store import NEVER
from pytest_servebench.load.target import Target
from pytest_servebench.load.turns import SessionCounts, Turns, beginnings, laid_out
from pytest_servebench.measure.traffic import of_requests
from pytest_servebench.streaming.openai import CONTENT
from pytest_servebench.workloads.answers import located
from simulation.cases import steady
from simulation.streaming import DONE, Script, StreamServer, chat, event, serve, usage
from tests.load.in_process import run_engine

MS = 1_000_000


def answer(after: float = 0.0, status: int = 200) -> Script:
    return Script([(after, chat("hello", "stop") + usage(1) + DONE)], status=status)


# Conversations: each turn's think time in ms before it, and the server's script.
Conversation = Sequence[tuple[int, Script]]
CONVERSATIONS: dict[str, Conversation] = {
    "whole": [(0, answer()), (70, answer(0.02)), (0, answer())],
    "single": [(0, answer())],
    "failing": [(0, answer()), (10, answer(status=503)), (10, answer())],
    "beyond the window": [(0, answer()), (5000, answer()), (10, answer())],
}


@pytest.fixture(scope="module")
def server() -> Iterator[StreamServer]:
    with serve() as running:
        yield running


def think_of(conversations: Sequence[Conversation]) -> tuple[int, ...]:
    return tuple(MS * think if turn else NEVER
                 for one in conversations for turn, (think, _) in enumerate(one))  # fmt: skip


def counts_of(records: Records) -> SessionCounts:
    assert records.turns is not None
    return SessionCounts.of(records.turns, records.outcome)


def test_a_turn_arrives_a_think_time_after_the_end_of_the_one_before(server: StreamServer) -> None:
    conversations = [*CONVERSATIONS.values()]
    think = think_of(conversations)
    found = server.load(
        [script.request() for one in conversations for _, script in one], think=think, rate=8,
        duration=1.0, workers=8, buffer_size=8, arrivals=Constant(), choice=InOrder(), drain=5.0,
        samples=10,
    )  # fmt: skip
    load, records = found.load, found.load.records
    turns = records.turns
    assert turns is not None
    firsts = [0, 3, 4, 7] * 2
    assert records.scheduled[records.drawn].tolist() == [125 * MS * k for k in range(8)]
    assert load.payloads[records.drawn].tolist() == firsts
    assert (np.diff(records.scheduled) >= 0).all()
    asked = {0: 3, 1: 1, 2: 2, 3: 1}
    for session, first in enumerate(firsts):
        rows = np.flatnonzero(turns.session == session)
        assert turns.number[rows].tolist() == [*range(asked[session % 4])]
        assert load.payloads[rows].tolist() == [first + k for k in range(len(rows))]
        for before, after in pairwise(rows):
            thought = think[load.payloads[after]]
            assert records.scheduled[after] == records.done[before] + thought
            assert records.enqueued[after] >= records.scheduled[after]
    failed = records.outcome != Outcome.OK
    assert load.payloads[failed].tolist() == [5, 5]
    assert counts_of(load.records) == SessionCounts(
        begun=8, completed=4, failed=2, cut=2, dependent=6, lost_turns=2, late_turns=4
    )
    # What the journal and the answers say is of the same requests.
    assert records.streams is not None
    assert ((records.streams.first() > records.sent) == ~failed).all()
    assert all(load.payloads[index] != 5 for index in load.answers if records.ok[index])
    assert len(load.answers) == len(load.heads) == 10  # of 14 turns that were asked, not of 20
    assert load.generator.arrivals_plausible


def test_a_turn_that_is_dropped_ends_its_session(server: StreamServer) -> None:
    # The second session holds the only worker when the first one's second turn arrives.
    conversations: list[Conversation] = [[(0, answer()), (400, answer()), (1, answer())],
                                         [(0, answer(1.0))]]  # fmt: skip
    load = server.load(
        [script.request() for one in conversations for _, script in one],
        think=think_of(conversations), rate=4, duration=0.5, workers=1, buffer_size=0,
        arrivals=Constant(), choice=InOrder(), drain=5.0,
    ).load  # fmt: skip
    assert load.records.counts() | {"ok": 2, "dropped": 1} == load.records.counts()
    assert counts_of(load.records) == SessionCounts(
        begun=2, completed=1, failed=1, cut=0, dependent=1, lost_turns=1, late_turns=0
    )


def places(request: HttpRequest, *texts: str) -> tuple[tuple[int, int], ...]:
    marks = [json.dumps(text).encode() for text in texts]
    return tuple((at := request.body.index(mark), at + len(mark)) for mark in marks)


def test_a_request_has_what_the_server_has_answered(server: StreamServer) -> None:
    # The first answer is what the server is told to write for the second one.
    told = (chat('né "1"', "stop") + usage(1) + DONE).decode("latin-1")
    fails = event(error={"message": "full"}).decode("latin-1")
    first = Script([(0.0, chat(told, "stop") + DONE)]).request()
    cut = Script([(0.0, chat(fails, "stop") + DONE)]).request()
    further = Script([(0.0, b"first answer")]).request()
    last = dataclasses.replace(
        answer().request(), body=b'["first answer", "second"'.join([b'{"said": ', b"], "])
        + answer().request().body[1:],
    )  # fmt: skip
    given = Requests(
        (first, further, last, cut, further, last), think=(None, 0.01, 0.01) * 2,
        answers=((), places(further, "first answer"), places(last, "first answer", "second")) * 2,
    )  # fmt: skip
    sent = of_requests(given)
    prepared = [one.prepared(server.target) for one in given.items if isinstance(one, HttpRequest)]
    found = server.load(
        [one for one in given.items if isinstance(one, HttpRequest)], think=sent.think,
        answers=sent.answer_places(prepared), reader=CONTENT, rate=4, duration=1.0, workers=4,
        buffer_size=4, arrivals=Constant(), choice=InOrder(), samples=100,
    )  # fmt: skip
    load = found.load
    assert load.records.turns is not None
    numbers = load.records.turns.number.tolist()
    for index, body in load.answers.items():
        if load.payloads[index] == 1:
            assert body == told.encode("latin-1")
    assert sorted(load.payloads.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert sorted(numbers) == [0] * 4 + [1] * 4 + [2] * 2
    # Nothing is answered to an error, also where it comes inside a 200.
    assert (load.records.outcome[load.payloads == 4] == Outcome.BAD_RESPONSE).all()
    assert counts_of(load.records) == SessionCounts(
        begun=4, completed=2, failed=2, cut=0, dependent=6, lost_turns=2, late_turns=0
    )


def test_what_was_said_is_forgotten_with_its_session(server: StreamServer) -> None:
    conversations: list[Conversation] = [
        [(0, answer()), (1, answer()), (1, answer())],
        [(0, answer()), (1, answer()), (1, answer(status=503)), (1, answer())],
        [(0, answer()), (1, answer()), (9000, answer())],
    ]
    requests, answers = [], []
    for one in conversations:
        for turn, (_, script) in enumerate(one):
            said = [f"answer {k}" for k in range(turn)]
            body = b'{"said": %s, ' % json.dumps(said).encode() + script.request().body[1:]
            requests.append(dataclasses.replace(script.request(), body=body))
            # The second turn is sent as it is.
            answers.append(places(requests[-1], *said) if turn != 1 else ())
    prepared = [one.prepared(server.target) for one in requests]
    sent = of_requests(Requests(tuple(requests), answers=tuple(answers), think=tuple(
        think / 1e3 if turn else None
        for one in conversations for turn, (think, _) in enumerate(one)
    )))  # fmt: skip
    engine, records, _ = run_engine(server.spec(
        requests, think=sent.think, answers=sent.answer_places(prepared), reader=CONTENT, rate=10,
        duration=0.3, workers=4, buffer_size=4, arrivals=Constant(), choice=InOrder(),
    ))  # fmt: skip
    assert records.counts()["ok"] == 3 + 2 + 2
    assert isinstance(engine, SessionEngine)
    assert engine._histories is not None
    assert not engine._histories._said
    assert not engine._histories._made


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=4))
def test_answers_come_where_the_conversation_had_its_own(texts: list[tuple[str, str]]) -> None:
    messages = [{"role": role, "content": text} for text, _ in texts
                for role in ("user", "assistant")]  # fmt: skip
    body = json.dumps({"messages": messages, "n": 1}, ensure_ascii=False).encode()
    found = located(body, range(1, len(messages), 2), "here")
    assert [json.loads(body[start:end]) for start, end in found] == [text for text, _ in texts]
    request = HttpRequest("POST", "/", (("X-Length", str(len(body))),), body)
    prepared = request.prepared(Target("127.0.0.1", 1))
    head = len(prepared) - len(body)
    said = [json.dumps(text, ensure_ascii=False).encode() for _, text in texts]
    made = filled(prepared, [(head + start, head + end) for start, end in found], said)
    made_head, _, made_body = made.partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r" % len(made_body) in made_head + b"\r"
    assert b"X-Length: %d\r" % len(body) in made_head
    answers = [one["content"] for one in json.loads(made_body)["messages"]]
    assert answers == [text for pair in texts for text in pair]


LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=6)


@given(LENGTHS, st.lists(st.integers(0, 5), max_size=12))
def test_engine_and_records_agree_on_whose_turn_a_row_is(
    lengths: list[int], drawn: list[int]
) -> None:
    think = tuple(k if k else NEVER for length in lengths for k in range(length))
    firsts = beginnings(think)
    begun = firsts[np.array(drawn, dtype=np.int64) % len(firsts)].astype(np.uint32)
    payloads, turns = laid_out(begun, think)
    assert (payloads == begun[turns.session] + turns.number).all()
    planned = [lengths[one % len(lengths)] for one in drawn]
    assert np.bincount(turns.session, minlength=len(drawn)).tolist() == planned
    following = _following(memoryview(array("I", payloads.tolist())), len(begun), think)
    last = turns.number + 1 == turns.planned
    assert (np.array(following)[last] == 0).all()
    after = np.array(following, dtype=np.int64)[~last]
    assert (turns.session[after] == turns.session[~last]).all()
    assert (turns.number[after] == turns.number[~last] + 1).all()


@given(st.lists(st.tuples(st.integers(1, 5), st.lists(st.booleans(), min_size=1, max_size=5)),
                max_size=9))  # fmt: skip
def test_every_session_is_counted_once_and_every_turn_is_asked_or_told(
    sessions: list[tuple[int, list[bool]]],
) -> None:
    # A failure may be followed by turns: that within a stream is found after the load.
    rows = [
        (session, number, planned, ok)
        for session, (planned, successes) in enumerate(sessions)
        for number, ok in enumerate(successes[:planned])
    ]
    session, number, planned, ok = np.array(rows, dtype=np.int32).reshape(-1, 4).T
    turns = Turns(session, number, planned)
    outcome = np.where(ok, Outcome.OK, Outcome.DROPPED).astype(np.uint8)
    counts = SessionCounts.of(turns, outcome)
    assert counts.begun == counts.completed + counts.failed + counts.cut == len(sessions)
    assert counts.failed == sum(not all(ok[:planned]) for planned, ok in sessions)
    assert counts.completed == sum(all(ok[:planned]) and len(ok) >= planned
                                   for planned, ok in sessions)  # fmt: skip
    assert counts.begun + counts.dependent == len(rows)
    left = [(planned - len(ok), ok[-1]) for planned, ok in sessions if len(ok) < planned]
    assert counts.lost_turns == sum(turns for turns, ok in left if not ok)
    assert counts.late_turns == sum(turns for turns, ok in left if ok)


def test_records_keep_the_turns(tmp_path: Path) -> None:
    path = tmp_path / "case.npz"
    turns = Turns(*np.array([[0, 1, 0], [0, 0, 1], [2, 3, 2]], dtype=np.int32))
    records = dataclasses.replace(steady(np.full(3, 0.1)), turns=turns)
    records.save(path)
    read = Records.load(path, 3).turns
    assert read is not None
    assert [one.tolist() for one in read.columns().values()] == [
        one.tolist() for one in turns.columns().values()
    ]
    assert Records.load(path).drawn.tolist() == [True, True, False]
    for wrong in ([[0, 1, 0], [0, 0, 2], [2, 3, 3]], [[0, 1, 0], [0, 0, 1], [2, 3, 1]],
                  [[0, 9, 0], [0, 0, 1], [2, 3, 2]]):  # fmt: skip
        dataclasses.replace(
            records, turns=Turns(*np.array(wrong, dtype=np.int32))
        ).save(path)  # fmt: skip
        with pytest.raises(ValueError, match="turn_"):
            Records.load(path)
