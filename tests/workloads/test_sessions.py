"""Sessions: conversations from files and distributions, and the requests made of them."""

import dataclasses
import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench import (
    HttpRequest,
    Requests,
    chat_sessions,
    mix,
    sessions,
    synthetic_conversations,
)
from pytest_servebench.analysis.comparability import notes
from pytest_servebench.analysis.pairs import Pair, key_of
from pytest_servebench.analysis.plan import plan_case
from pytest_servebench.analysis.samples import samples
from pytest_servebench.errors import OptionError, ServebenchWarning
from pytest_servebench.load.choice import Weighted
from pytest_servebench.load.records import Records
from pytest_servebench.load.store import NEVER
from pytest_servebench.load.turns import SessionCounts
from pytest_servebench.measure.traffic import of_requests
from pytest_servebench.metrics import METRICS
from pytest_servebench.objectives.slo_grammar import parse_slo
from pytest_servebench.report.sessions import RATE
from pytest_servebench.runs.results import Workload
from pytest_servebench.runs.schema import schema
from pytest_servebench.sizing.fit import fit
from pytest_servebench.sizing.model import Misfit, Unfit
from pytest_servebench.workloads.think_times import think_times
from simulation import cases, saved
from simulation.streaming import serve
from tests.conftest import RunBench
from tests.refusals import refused
from tests.results import saved_run
from tests.workloads.test_prompts import bodies, words

GETS = [HttpRequest("GET", f"/{number}") for number in range(5)]


def said(*texts: str) -> list[dict[str, str]]:
    """Return messages by the first letter of their role, such as ``"u:Hello"``."""
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [{"role": roles[one[0]], "content": one[2:]} for one in texts]


# Messages to how many of them each turn sends.
HISTORIES: dict[str, tuple[list[dict[str, str]], list[int]]] = {
    "one turn": (said("u:a"), [1]),
    "answered": (said("u:a", "a:b"), [1]),
    "two": (said("s:x", "u:a", "a:b", "u:c"), [2, 4]),
    "a greeting": (said("a:hi", "u:a", "a:b", "u:c", "a:d"), [2, 4]),
    "two in a row": (said("u:a", "u:b", "a:c", "a:d", "u:e"), [2, 5]),
    "a tool": (said("u:a", "a:call", "t:1", "a:b", "u:c"), [1, 3, 5]),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_turn_sends_the_conversation_so_far(name: str) -> None:
    messages, sent = HISTORIES[name]
    given: list[dict[str, Any]]
    given = [{"messages": messages, "max_tokens": 9, "temperature": 1}, {"messages": said("u:z")}]
    asked = chat_sessions(given, model="tiny", think_time=2, max_tokens=5)
    found = bodies(asked)
    assert [one["messages"] for one in found] == [messages[:to] for to in sent] + [said("u:z")]
    assert [one["max_tokens"] for one in found] == [9] * len(sent) + [5]
    assert found[0]["temperature"] == 1
    assert asked.think == (None, *[2.0] * (len(sent) - 1), None)


def test_files_tell_conversations_and_think_times(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    lines: list[dict[str, Any]] = [
        {"id": "x1", "conversations": [{"from": "human", "value": "a"},
                                       {"from": "gpt", "value": "b"},
                                       {"from": "human", "value": "c"}]},
        {"messages": said("u:1", "a:2", "u:3", "a:4", "u:5"), "think_time": [0.5, 7]},
        {"messages": said("u:1", "a:2", "u:3"), "think_time": 4},
    ]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, lines)))
    asked = chat_sessions(path, model="tiny", think_time="uniform:1,3", seed=5)
    assert bodies(asked)[1]["messages"] == said("u:a", "a:b", "u:c")
    assert "id" not in bodies(asked)[0]
    first, second, *others = asked.think
    assert (first, others) == (None, [None, 0.5, 7.0, None, 4.0])
    assert second is not None
    assert 1 <= second <= 3
    assert asked.source == "chats.jsonl"
    sent = of_requests(asked)
    assert sent.think[2:] == (NEVER, 500_000_000, 7_000_000_000, NEVER, 4_000_000_000)


def test_published_conversations_that_cannot_be_sent_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "sg.jsonl"

    def line(*said: tuple[str, object]) -> str:
        return json.dumps({"conversations": [{"from": who, "value": what} for who, what in said]})

    unusable = [line(), line(("tool", "a"), ("human", "b")), line(("gpt", "a")),
                line(("human", None))]  # fmt: skip
    path.write_text("\n".join([line(("user", "a"), ("bing", "b"), ("human", "c")), *unusable]))
    with pytest.warns(ServebenchWarning, match=r"4 of 5 conversations.*line 2"):
        asked = chat_sessions(path, model="tiny", think_time=1)
    assert [one["messages"] for one in bodies(asked)] == [said("u:a"), said("u:a", "a:b", "u:c")]
    assert asked.source == "sg.jsonl, without 4 of 5 conversations"
    path.write_text("\n".join(unusable[1:]))
    with pytest.raises(OptionError, match=r"line 1.*'tool'"):
        chat_sessions(path, model="tiny", think_time=1)


def test_made_conversations_have_lengths_by_their_distributions() -> None:
    def made(seed: int) -> Requests:
        given = synthetic_conversations(
            40, "uniform:1,4", 20, "uniform:5,9", system_tokens=30, seed=seed
        )
        return chat_sessions(given, model="tiny", think_time="exponential:2", seed=seed)

    asked = made(1)
    assert (bodies(asked), asked.think) == (bodies(made(1)), made(1).think)
    assert bodies(asked) != bodies(made(2))
    before: list[dict[str, str]] = []
    tokens = 0
    for body, think in zip(bodies(asked), asked.think, strict=True):
        messages = body["messages"]
        if think is None:
            system, *asked_now = messages
            assert words(system["content"]) == 30
        else:
            *history, answer, last = messages
            assert history == before
            assert (answer["role"], words(answer["content"])) == ("assistant", tokens)
            asked_now = [last]
        assert [(one["role"], words(one["content"])) for one in asked_now] == [("user", 20)]
        before, tokens = messages, body["max_tokens"]
    turns = len(asked) / asked.choices
    assert asked.choices == 40
    assert turns == pytest.approx(2.5, abs=4 * 1.12 / 40**0.5)


def test_the_servers_answers_come_where_the_conversation_has_its_own() -> None:
    messages = said("s:x", "u:é", "a:one", "u:b", "a:two", "u:c", "a:three")
    given: list[dict[str, Any]] = [{"messages": said("u:a")}]
    given += [{"messages": messages, "max_tokens": 5}]
    scripted = chat_sessions(given, model="tiny", think_time=1)
    asked = chat_sessions(given, model="tiny", think_time=1, answers="server")
    assert (bodies(asked), asked.think) == (bodies(scripted), scripted.think)
    found = [[json.loads(one.body[start:end]) for start, end in places]
             for one, places in zip(asked, asked.answers, strict=True)
             if isinstance(one, HttpRequest)]  # fmt: skip
    assert found == [[], [], ["one"], ["one", "two"]]
    assert asked.source != scripted.source
    assert of_requests(mix({"a": (1, asked), "b": (1, scripted)})).answers == (
        *asked.answers, *[()] * 4
    )  # fmt: skip


@given(st.floats(0, 1, exclude_max=True))
def test_think_times_are_quantiles(share: float) -> None:
    for text, low, high in (("3", 3, 3), ("uniform:1,3", 1, 3), ("exponential:2", 0, 1e3),
                            ("lognormal:5,1,60", 0, 60)):  # fmt: skip
        assert low <= think_times(text, "think_time").at(share) <= high


@pytest.mark.parametrize(
    ("text", "mean"),
    [(4, 4), ("uniform:1,3", 2), ("exponential:2", 2), ("lognormal:5,0.5", 5)],
)
def test_think_times_have_their_mean(text: Any, mean: float) -> None:
    times = think_times(text, "think_time")
    drawn = [times.at((place + 0.5) / 4000) for place in range(4000)]
    assert statistics.fmean(drawn) == pytest.approx(mean, rel=0.01)


def test_a_mix_chooses_conversations_and_single_requests_by_weight() -> None:
    long = sessions([GETS[:2], GETS[2:4]], think_time=1)
    mixed = mix({"long": (1, long), "single": (3, GETS[4:])})
    assert mixed.think == (None, 1.0, None, 1.0, None)
    assert mixed.choice == Weighted((0.5, 0.5, 3.0))
    assert mixed.classes == ("long",) * 4 + ("single",)


A, B = {"messages": said("u:a", "a:b", "u:c")}, said("u:a")
LONG = chat_sessions([{"messages": said("u:a", "a:b", "u:c", "a:d", "u:e")}], model="m",
                     think_time=1, answers="server")  # fmt: skip
WRONG: dict[str, tuple[Callable[[], object], list[str]]] = {
    "no think time": (lambda: chat_sessions([{"messages": B}, A], model="m"),
                      ["think_time", "conversation 1", "exponential:5"]),
    "a wrong one": (lambda: chat_sessions([A], model="m", think_time="normal:1,2"),
                    ["think_time", "normal:1,2", "exponential:MEAN"]),
    "a negative one": (lambda: chat_sessions([A], model="m", think_time=-1), ["-1", "0 to"]),
    "in milliseconds": (lambda: chat_sessions([A], model="m", think_time=5e6), ["5000000.0"]),
    "too few": (lambda: chat_sessions([{**A, "think_time": []}], model="m"),
                ["conversations[0]", "think_time", "[]", "1"]),
    "no user": (lambda: chat_sessions([{"messages": said("a:hi")}], model="m", think_time=1),
                ["conversations[0]", "user"]),
    "prompts": (lambda: chat_sessions(["Hello"], model="m", think_time=1),  # type: ignore[list-item]
                ["conversations[0]", "'Hello'", '"messages"']),
    "no role": (lambda: chat_sessions([{"messages": [{"content": "a"}]}], model="m", think_time=1),
                ["conversations[0]", "role"]),
    "no speaker": (lambda: chat_sessions([{"conversations": [{"from": "tool", "value": "a"}]}],
                                         model="m", think_time=1), ["tool", "human"]),
    "no content": (lambda: chat_sessions([{"messages": [{"role": "user"}]}], model="m",
                                         think_time=1), ["messages[0]", "{'role': 'user'}"]),
    "nothing said": (lambda: chat_sessions([{"messages": [*said("u:a"), {
        "role": "assistant", "content": None}]}], model="m"), ["messages[1]", "content"]),
    "none": (lambda: chat_sessions([], model="m", think_time=1), ["[]", "at least one"]),
    "no turns": (lambda: synthetic_conversations(2, 0, 1, 1), ["turns=0"]),
    "ShareGPT's as a text": (lambda: chat_sessions([{"conversations": "Hi"}], model="m"),
                             ["conversations[0]", "conversations is 'Hi'", "from"]),
    "no requests": (lambda: sessions([[]], think_time=1), ["conversations[0]", "empty"]),
    "one list": (lambda: sessions(GETS, think_time=1), ["conversations[0]", "lists"]),  # type: ignore[arg-type]
    "nobody's answers": (lambda: chat_sessions([A], model="m", think_time=1, answers="mine"),  # type: ignore[arg-type]
                         ["answers='mine'", "server"]),
    "two answers": (lambda: chat_sessions([{"messages": said("u:a", "a:b", "a:c", "u:d")}],
                                          model="m", think_time=1, answers="server"),
                    ["conversations[0]", "messages 2 and 3", "answers="]),
    "a call": (lambda: chat_sessions(
        [{"messages": [*said("u:a"), {"role": "assistant", "tool_calls": [{"id": "b"}]},
                       *said("t:b")]}],
        model="m", think_time=1, answers="server"), ["conversations[0], turn 2", "message 2"]),
    "a place too many": (lambda: Requests(tuple(GETS[:2]), think=(None, 1.0),
                                          answers=((), ((0, 1), (2, 3)))),
                         ["answers[1]", "2 places", "1 earlier turn"]),
    "answers in a GET": (lambda: of_requests(Requests(tuple(GETS[:2]), think=(None, 1.0),
                                                      answers=((), ((0, 1),)))),
                         ["item 0", 'stream="openai"']),
    "a place that is none": (lambda: of_requests(dataclasses.replace(
        chat_sessions([A], model="m", think_time=1, answers="server"), answers=((), ((0, 4),)))),
                             ["item 1", "0 to 4", "JSON strings"]),
    "places in disorder": (lambda: of_requests(dataclasses.replace(
        LONG, answers=(*LONG.answers[:2], LONG.answers[2][::-1]))), ["item 2", "after", "order"]),
    "a turn first": (lambda: Requests(tuple(GETS[:2]), think=(1.0, None)), ["think[0]", "None"]),
    "one too few": (lambda: Requests(tuple(GETS[:2]), think=(None,)), ["think", "2 requests"]),
    "a weight each": (lambda: Requests(tuple(GETS[:2]), Weighted((1, 2)), think=(None, 1.0)),
                      ["Weighted", "2 ", "1 conversations"]),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_sessions_that_cannot_be_are_refused(name: str) -> None:
    refused(*WRONG[name])


@pytest.mark.parametrize(
    ("text", "part"),
    [(json.dumps(A) + '\n{"messages": 5}\n', r"chats\.json, line 2"),
     (json.dumps([A], indent=1), r"chats\.json are one JSON array.* jq .*chats\.jsonl")],
)  # fmt: skip
def test_what_is_wrong_in_a_file_of_conversations_is_named(
    tmp_path: Path, text: str, part: str
) -> None:
    path = tmp_path / "chats.json"
    path.write_text(text)
    with pytest.raises(OptionError, match=part):
        chat_sessions(path, model="m", think_time=1)


def test_conversations_that_are_larger_than_memory_should_hold_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pytest_servebench.workloads.conversations.MOST_BYTES", 2**20)
    given = synthetic_conversations(9, 40, 60, 60)
    with pytest.raises(OptionError, match=r"1 MiB.*shorter conversations"):
        chat_sessions(given, model="tiny", think_time=1)


RUN = """
import pytest
from simulation.streaming import DONE, Script, chat, usage
from pytest_servebench import sessions

ANSWER = Script([(0.0, chat("a", "stop") + usage(1) + DONE)]).request()
FAILS = Script([(0.0, b"")], status=503).request()
SESSIONS = sessions([[ANSWER] * 3, [ANSWER, FAILS, ANSWER]], think_time=0.01)
URL = "http://127.0.0.1:{port}"

def test_load(poisson_load):
    case = poisson_load(URL, requests=SESSIONS, name="scripted", rate=10, duration=2)
    turns, known = case.records.turns, case.sessions
    assert case.summary.arrivals == len(turns.number) == known.begun + known.dependent
    assert case.request_rate == case.summary.achieved_rate == case.summary.arrivals / 2
    assert case.sessions.failed == case.summary.outcomes["error_status"] > 0
    assert case.sessions.completed > 0

@pytest.mark.slo("p90<9s")
def test_capacity(find_capacity):
    find_capacity(URL, requests=SESSIONS, name="scripted")
"""


@pytest.mark.slow
@pytest.mark.usefixtures("own_process")
def test_reports_say_what_became_of_sessions(run_bench: RunBench) -> None:
    with serve() as server:
        result = run_bench("--servebench-page=true", test=RUN.replace("{port}", str(server.port)))
    result.assert_outcomes(passed=1, failed=1)
    out = result.stdout.str()
    assert re.search(r"find_capacity\(requests=…\): .*sessions", out)
    assert RATE in " ".join(out.split())
    directory, run = saved_run()
    case = run["servebench"]["cases"][0]
    jsonschema.validate(run["servebench"], schema())
    assert Records.load(directory / case["records_file"]).turns is not None
    text = (directory / "metrics_summary.txt").read_text()
    known = case["sessions"]
    assert f"{known['begun']} begun: {known['completed']} completed" in text
    assert [one["name"] for one in case["classes"]] == ["first turn", "further turns"]
    assert case["classes"][0]["summary"]["arrivals"] == known["begun"]
    assert f"{known['failed']} with a failed turn" in text
    assert "10 sessions/s offered" in text
    assert "rate 10 sessions/s</th>" in (directory / "report.html").read_text()


def test_what_rests_on_independent_arrivals_does_not_take_sessions_for_such() -> None:
    rows = cases.mm1_records(10.0, 20.0, 400, 1)
    case = dataclasses.replace(
        cases.case(rows),
        records=rows,
        sessions=SessionCounts(200, 200, 0, 0, 200, 0, 0),
        workload=Workload("a" * 64, "b" * 64, 30.0, 1.0, 10.0),
    )
    assert (case.unit, case.request_rate) == ("session", case.summary.achieved_rate)
    assert fit([case]) == Unfit((Misfit.DEPENDENT_ARRIVALS,), requests=len(rows))
    plan = plan_case(parse_slo("success_rate>=99%"), case.rate, [case])
    assert plan.unit == "session"
    assert plan.seconds == pytest.approx(plan.requests / case.summary.achieved_rate)
    idle = dataclasses.replace(case, summary=dataclasses.replace(case.summary, achieved_rate=0.0))
    assert idle.request_rate == case.rate  # of which a plan can be made, too
    fewer = dataclasses.replace(case, sessions=SessionCounts(200, 170, 0, 30, 170, 0, 30))
    runs = [saved.run([one]) for one in (case, fewer)]
    (note,) = notes(*runs)
    assert "400 requests" in note
    assert "370" in note
    assert notes(runs[0], runs[0]) == ()
    # Of the same sessions, more or fewer requests may have come.
    pair = Pair(key_of(case), (case,), (case,))
    (sample,) = samples(METRICS["throughput"], [case], pair)
    assert not sample.share
