"""Prompts from files, distributions of lengths and traces, and the requests made of them."""

import dataclasses
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench import (
    HttpRequest,
    Requests,
    chat_requests,
    completion_requests,
    synthetic_prompts,
    trace_prompts,
)
from pytest_servebench.errors import OptionError
from pytest_servebench.load.choice import AtRandom, InOrder
from pytest_servebench.measure.workload import requests_digest
from pytest_servebench.text.redaction import redact
from pytest_servebench.workloads.lengths import lengths
from pytest_servebench.workloads.words import WORDS, Writer
from tests.refusals import refused

MOONCAKE = [
    {"timestamp": 0, "input_length": 1100, "output_length": 20, "hash_ids": [7, 8, 9]},
    {"timestamp": 500, "input_length": 600, "output_length": 0, "hash_ids": [7, 8]},
    {"timestamp": 3000, "input_length": 40, "output_length": 5, "hash_ids": [3]},
]
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,374,44
2023-11-16 18:17:04.0319600,396,109
2023-11-16 18:17:06.9799600,879,55
"""
BURST_GPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,GPT-4,1087,230,1317,API log
"""


def bodies(requests: Requests) -> list[dict[str, Any]]:
    found = []
    for one in requests:
        assert isinstance(one, HttpRequest)
        found.append(json.loads(one.body))
    return found


def words(text: str) -> int:
    return len(text.split())


def test_lines_of_a_file_become_requests_of_a_chat(tmp_path: Path) -> None:
    asked = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hé\u2028?"}]
    path = tmp_path / "prompts.jsonl"
    lines = [{"messages": asked, "max_tokens": 7, "temperature": 1}, {"prompt": "Which?"}]
    path.write_text("\n\n".join(json.dumps(one, ensure_ascii=False) for one in lines))
    requests = chat_requests(
        path, model="tiny", max_tokens=32, ignore_eos=True, settings={"temperature": 0}
    )
    common = {"model": "tiny", "stream": True, "stream_options": {"include_usage": True},
              "ignore_eos": True}  # fmt: skip
    assert bodies(requests) == [
        {**common, "messages": asked, "max_tokens": 7, "temperature": 1},
        {**common, "messages": [{"role": "user", "content": "Which?"}], "max_tokens": 32,
         "temperature": 0},
    ]  # fmt: skip
    first = requests[0]
    assert isinstance(first, HttpRequest)
    assert (first.path, first.stream) == ("/v1/chat/completions", "openai")
    assert requests.source == "prompts.jsonl"


def test_prompts_become_completions() -> None:
    requests = completion_requests(["One", {"prompt": [1, 2], "max_tokens": 3}], model="tiny")
    assert [(one["prompt"], one.get("max_tokens")) for one in bodies(requests)] == [
        ("One", None), ([1, 2], 3),
    ]  # fmt: skip
    assert {one.path for one in requests} == {"/v1/completions"}


def test_a_key_comes_from_the_environment_and_is_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TINY_KEY", "sk-very-secret\n")
    plain = chat_requests(["Hello"], model="tiny")
    keyed = chat_requests(["Hello"], model="tiny", key_env="TINY_KEY")
    one = keyed[0]
    assert isinstance(one, HttpRequest)
    assert ("Authorization", "Bearer sk-very-secret") in one.headers
    assert "secret" not in repr(one)
    assert "secret" not in redact("401: sk-very-secret is unknown")
    monkeypatch.setenv("TINY_KEY", "sk-another-secret")
    again = chat_requests(["Hello"], model="tiny", key_env="TINY_KEY")
    assert requests_digest(keyed) == requests_digest(again) != requests_digest(plain)


@given(st.integers(0, 300), st.integers(1, 200), st.integers(1, 4))
def test_texts_have_as_many_words_as_fit_into_their_tokens(
    key: int, tokens: int, each: int
) -> None:
    made = Writer(0).text(key, tokens)
    assert words(made) == tokens
    assert made == Writer(0).text(key, tokens) != Writer(1).text(key, tokens + 1)
    assert Writer(0).text(key, tokens + 5).startswith(made)
    assert set(made.split()) <= set(WORDS)
    counted = Writer(0, lambda text: each * words(text)).text(key, tokens)
    assert words(counted) == max(1, tokens // each)
    halves = Writer(0, lambda text: -(-words(text) // 2)).text(key, tokens)
    assert -(-words(halves) // 2) == tokens


def test_words_are_the_same_on_every_machine() -> None:
    assert Writer(0).text("block 7", 6) == "would next just could then must"
    assert len(WORDS) == len(set(WORDS)) > 200


@pytest.mark.slow
def test_lengths_follow_their_distribution() -> None:
    shares = [(k + 0.5) / 20_000 for k in range(20_000)]

    def drawn(text: str) -> list[int]:
        return [lengths(text, "").at(share) for share in shares]

    assert set(drawn("17")) == {17}
    even = drawn("uniform:3,6")
    assert [even.count(number) for number in range(2, 8)] == [0, 5000, 5000, 5000, 5000, 0]
    skewed = drawn("lognormal:200,0.8")
    assert statistics.fmean(skewed) == pytest.approx(200, rel=0.01)
    assert statistics.stdev(skewed) / 200 == pytest.approx(0.8, rel=0.03)
    assert max(drawn("lognormal:200,2,512")) == 512
    assert min(drawn("lognormal:1,3")) == 1
    assert [lengths("lognormal:50,1", "").at(end) for end in (0.0, 1.0)][1] < 100_000


def test_synthetic_prompts_differ_and_are_the_same_for_a_seed() -> None:
    made = synthetic_prompts(50, "lognormal:40,1,120", "uniform:8,16", seed=3)
    assert made == synthetic_prompts(50, "lognormal:40,1,120", "uniform:8,16", seed=3)
    assert made != synthetic_prompts(50, "lognormal:40,1,120", "uniform:8,16", seed=4)
    found = bodies(chat_requests(made, model="tiny"))
    texts = [one["messages"][0]["content"] for one in found]
    assert len({text.split()[0] + text for text in texts}) == 50
    assert all(1 <= words(text) <= 120 for text in texts)
    assert {one["max_tokens"] for one in found} <= set(range(8, 17))
    assert made.choice == AtRandom()


@pytest.mark.parametrize(
    ("name", "text", "expected", "times"),
    [
        ("azure.csv", AZURE, [(374, 44), (396, 109), (879, 55)], (0, 0.052, 3.0)),
        ("burst.csv", BURST_GPT, [(472, 18), (1087, 230)], (0, 40)),
        ("mooncake.jsonl", "\n".join(map(json.dumps, MOONCAKE)),
         [(1100, 20), (600, 1), (40, 5)], (0, 0.5, 3.0)),
        ("mooncake.json", json.dumps(MOONCAKE), [(1100, 20), (600, 1), (40, 5)], (0, 0.5, 3.0)),
    ],
)  # fmt: skip
def test_public_traces_give_arrivals_and_lengths_in_their_order(
    tmp_path: Path, name: str, text: str, expected: list[tuple[int, int]], times: tuple[float, ...]
) -> None:
    (tmp_path / name).write_text(text)
    made = trace_prompts(tmp_path / name, recorded=True)
    requests = completion_requests(made, model="tiny", max_tokens=999)
    assert [(words(one["prompt"]), one["max_tokens"]) for one in bodies(requests)] == expected
    assert requests.choice == InOrder()
    arrivals: Any = requests.arrivals
    assert arrivals.times == pytest.approx(times)
    assert arrivals.as_recorded
    assert str(arrivals) == f"trace:{name}@recorded"


@pytest.mark.parametrize("scale", [1.0, 0.125])
def test_prompts_share_the_blocks_that_the_trace_did(tmp_path: Path, scale: float) -> None:
    path = tmp_path / "mooncake.jsonl"
    path.write_text("\n".join(map(json.dumps, MOONCAKE)))
    first, second, third = (
        one["prompt"].split()
        for one in bodies(completion_requests(trace_prompts(path, scale=scale), model="tiny"))
    )
    assert [len(first), len(second), len(third)] == [
        round(each["input_length"] * scale)  # type: ignore[operator]
        for each in MOONCAKE
    ]
    assert first[: len(second)] == second  # 7, 8 and the beginning of 8
    assert first[: len(third)] != third
    assert len(trace_prompts(path, first=2).items) == 2


@dataclasses.dataclass(frozen=True)
class Own:
    """A user's distribution of lengths."""

    length: Any

    def at(self, share: float) -> int:
        found: int = self.length
        return found


WRONG: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "no file": (lambda at: chat_requests(at / "no.jsonl", model="m"), ["no.jsonl", "No such file"]),
    "no JSON": (lambda at: chat_requests(at / "lines", model="m"), ["lines, line 2", "not JSON"]),
    "nothing": (lambda at: chat_requests(at / "empty", model="m"), ["empty", '"prompt"']),
    "no prompt": (lambda _: chat_requests([{"text": "x"}], model="m"),
                  ["prompts[0]", "neither", "messages"]),
    "both": (lambda _: chat_requests([{"prompt": "x", "messages": []}], model="m"), ["both"]),
    "no role": (lambda _: chat_requests([{"messages": [{"content": "x"}]}], model="m"), ["role"]),
    "no prompts": (lambda _: chat_requests([], model="m"), ["prompts=[]"]),
    "tokens in a chat": (lambda _: chat_requests([{"prompt": [1]}], model="m"),
                         ["completion_requests"]),
    "messages in a completion": (
        lambda _: completion_requests(
            [{"messages": [{"role": "user", "content": "x"}]}], model="m"
        ),
        ["prompts[0]", "chat_requests"],
    ),
    "no model": (lambda _: chat_requests(["x"], model=""), ["model=''"]),
    "max_tokens": (lambda _: chat_requests(["x"], model="m", max_tokens=0), ["max_tokens = 0"]),
    "its max_tokens": (lambda _: chat_requests([{"prompt": "x", "max_tokens": "9"}], model="m"),
                       ["prompts[0]", "max_tokens = '9'"]),
    "not streamed": (lambda _: chat_requests(["x"], model="m", settings={"stream": False}),
                     ["stream", "HttpRequest"]),
    "no key": (lambda _: chat_requests(["x"], model="m", key_env="NO_SUCH_KEY"),
               ["NO_SUCH_KEY", "not set"]),
    "not JSON": (lambda _: chat_requests(["x"], model="m", settings={"seed": {1}}), ["JSON"]),
    "length": (lambda _: synthetic_prompts(1, "normal:3", 1), ["prompt_tokens", "lognormal"]),
    "order": (lambda _: synthetic_prompts(1, 3, "uniform:6,3"), ["output_tokens", "uniform:6,3"]),
    "no tokens": (lambda _: synthetic_prompts(1, 0, 3), ["prompt_tokens=0"]),
    "no lengths": (lambda at: trace_prompts(at / "times.csv"), ["ContextTokens", "time, row"]),
    "no number": (lambda at: trace_prompts(at / "odd.csv"), ["odd.csv, line 3", "'many'"]),
    "scale": (lambda at: trace_prompts(at / "odd.csv", scale=2), ["scale=2"]),
    "at once": (lambda at: trace_prompts(at / "azure.csv", first=1), ["first=1"]),
    "tokenizer": (lambda _: synthetic_prompts(1, 3, 3, tokenizer=lambda text: text),  # type: ignore[arg-type,return-value]
                  ["tokenizer", "number of tokens"]),
    "truncation": (
        lambda _: synthetic_prompts(1, 99, 3, tokenizer=lambda text: min(words(text), 9)),
        ["tokenizer", " 9 ", "99 are wanted", "truncat"],
    ),
    "truncation to as many": (
        lambda _: synthetic_prompts(1, 9, 3, tokenizer=lambda text: min(words(text), 9)),
        ["tokenizer", " 9 ", "9 are wanted", "truncat"],
    ),
    "no prompts at all": (lambda _: synthetic_prompts(None, 3, 3), ["number = None"]),  # type: ignore[arg-type]
    "a half": (lambda _: synthetic_prompts(1, Own(2.5), 3), ["prompt_tokens", "at(", "2.5"]),
    "none of a length": (lambda _: synthetic_prompts(1, 3, Own(0)), ["output_tokens", "at(", "0"]),
    "times alone": (lambda at: trace_prompts(at / "times.json"),
                    ["times.json", "request 1 is 0.5", "input_length"]),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_remedy(tmp_path: Path, name: str) -> None:
    (tmp_path / "lines").write_text('{"prompt": "x"}\n{"prompt": \n')
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "times.csv").write_text("time,row\n1,2\n3,4\n")
    (tmp_path / "odd.csv").write_text("time,input_length,output_length\n1,2,3\n3,many,5\n")
    (tmp_path / "azure.csv").write_text(AZURE)
    (tmp_path / "times.json").write_text("[0.5, 0.7, 0.9]")
    make, said = WRONG[name]
    refused(lambda: make(tmp_path), said)


def test_more_text_than_memory_should_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_servebench.workloads.prompts.MOST_BYTES", 2**20)
    with pytest.raises(OptionError, match=r"more than 1 MiB.*scale="):
        synthetic_prompts(1000, 1000, 1)
