"""Streams are cut into events, and read, however they come."""

from collections.abc import Sequence
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.journal import StreamedAnswer
from pytest_servebench.protocols.base import HttpRequest
from pytest_servebench.protocols.http2 import Http2Request
from pytest_servebench.streaming import json_lines, openai, parts, sse
from pytest_servebench.streaming.events import Piece, StreamEvent, StreamReading, stamped
from pytest_servebench.streaming.formats import FORMATS, StreamFormat, stream_format
from simulation.streaming import DONE, chat, event, usage
from tests.refusals import refused

START = 1_000


def answer(body: bytes, cuts: Sequence[int] = ()) -> StreamedAnswer:
    """Return an answer that came in parts, the k-th of them at START + k."""
    ends = [*sorted({cut % len(body) for cut in cuts if cut % len(body)}), len(body)]
    return StreamedAnswer(0, body, range(START, START + len(ends)), ends, merged=0)


def events_of(body: bytes, name: str = "openai") -> list[StreamEvent]:
    came = answer(body)
    return stamped(FORMATS[name].splitter(body, came.ends), came, START)


lines = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=6)
cuts = st.lists(st.integers(0, 10_000), max_size=12)


@given(
    said=st.lists(st.tuples(st.lists(lines, min_size=1, max_size=3), lines, lines), max_size=6),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.sampled_from(["", "\ufeff"]),
    cuts=cuts,
)
def test_server_sent_events_have_the_time_of_the_part_with_their_last_byte(
    said: list[tuple[list[str], str, str]], end: str, mark: str, cuts: list[int]
) -> None:
    texts = [
        "".join(
            one + end
            for one in (f":{comment}", *(f"data: {line}" for line in data), f"event: {name}", "")
        )
        for data, name, comment in said
    ]
    texts.append(f": the last comment{end}{end}")
    texts[0] = mark + texts[0]
    came = answer("".join(texts).encode(), cuts)
    events = stamped(sse.split(came.body), came, START)
    assert [(one.data, one.name) for one in events] == [
        ("\n".join(data), name) for data, name, _ in said
    ]
    ends = list(accumulate(len(text.encode()) for text in texts))
    for one, last in zip(events, ends, strict=False):
        part = next(number for number, size in enumerate(came.ends) if size >= last)
        assert (one.part, one.time) == (part, part)


@pytest.mark.parametrize(
    ("body", "expected"),
    [  # the examples of the standard
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("YHOO\n+2\n10", "", True)]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n"
            b"data:  third event",
            [("first event", "1", True), ("second event", "", True), (" third event", "", False)],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [("", "", True), ("\n", "", True), ("", "", False)]),
        (b"data:test\n\ndata: test\n\n", [("test", "", True)] * 2),
        # and what they leave out
        (b"id: a\0b\ndata: x\n\n", [("x", "", True)]),
        (b"id: a\n\ndata: x\n\n", [("x", "a", True)]),
        (b"retry: 3\nevent: ping\n\ndata: x\n\n", [("x", "", True)]),
        (b"data: \xff\n\n", [("\ufffd", "", True)]),
        (b"", []),
    ],
)
def test_fields_of_server_sent_events(body: bytes, expected: list[tuple[str, str, bool]]) -> None:
    assert [(one.data, one.id, one.whole) for one in sse.split(body)] == expected


@given(text=st.text(st.characters(codec="utf-8"), min_size=1), cuts=cuts)
def test_parts_are_what_each_read_brought_and_split_no_character(
    text: str, cuts: list[int]
) -> None:
    came = answer(text.encode(), cuts)
    events = stamped(parts.split(came.body, came.ends), came, START)
    assert [one.time for one in events] == list(range(len(came.ends)))
    assert parts.read(events).text == text


def test_each_line_of_json_is_an_event() -> None:
    body = b'{"a": 1}\r\n\n2\n"x"'
    pieces = list(json_lines.split(body))
    assert pieces == [Piece(10, '{"a": 1}'), Piece(13, "2"), Piece(16, '"x"', whole=False)]
    assert list(json_lines.read(events_of(body, "json-lines")).output) == [0, 1, 2]


CHUNK = event(choices=[{"delta": {}, "index": 0}])
TOLD = {"completion_tokens": 9, "prompt_tokens": 7}
REASONED = {"completion_tokens_details": {"reasoning_tokens": 4}}


@pytest.mark.parametrize(
    ("body", "output", "text", "tokens"),
    [
        (chat() + chat("a") + chat("") + chat("b", "stop") + DONE, [1, 3], "ab", None),
        (chat("a", "stop"), [0], "a", None),  # as some servers end
        (chat("a") + chat("b") + DONE, [0, 1], "ab", None),
        (chat("a", "stop") + usage(5) + DONE, [0], "a", 5),
        (chat("a", "length") + event(choices=[], usage=None) + DONE, [0], "a", None),
        (  # usage in each chunk
            event(choices=[{"text": "a"}], usage={"completion_tokens": 1, "prompt_tokens": 7})
            + event(choices=[{"text": "b"}], usage={"completion_tokens": 3, "prompt_tokens": 7})
            + DONE,
            [0, 1], "ab", 3,
        ),
        (chat("a", "stop", 0) + chat("b", "stop", 1), [0, 1], "ab", None),
        (event(choices=[{"delta": {"reasoning_content": "hm"}}]) + DONE, [0], "hm", None),
        (event(choices=[{"delta": {"reasoning": "hm"}}]) + DONE, [0], "hm", None),
        (event(choices=[{"delta": {"refusal": "no"}}]) + DONE, [0], "no", None),
        (
            event(choices=[{"delta": {"tool_calls": [{"function": {"name": "f"}}]}}])
            + event(choices=[{"delta": {"tool_calls": [{"function": {"arguments": "{}"}}]}}])
            + event(choices=[{"delta": {"tool_calls": [{"function": {"arguments": ""}}]}}])
            + DONE,
            [0, 1], "f{}", None,
        ),
        (  # parts of content, of which some is reasoning
            event(choices=[{"delta": {"content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
            ]}}])
            + event(choices=[{"delta": {"content": [{"type": "text", "text": "a"}, {}]}}])
            + event(choices=[], usage={**TOLD, **REASONED}) + DONE,
            [0, 1], "hma", 9,
        ),
        (  # reasoning that is counted but not sent
            chat("a") + event(choices=[], usage={**TOLD, **REASONED}) + DONE, [0], "a", 5,
        ),
        (
            event(choices=[{"delta": {"reasoning": "hm"}}])
            + event(choices=[], usage={**TOLD, **REASONED}) + DONE,
            [0], "hm", 9,
        ),
        (CHUNK + chat("ü") + DONE.rstrip(), [1], "ü", None),  # without the last empty line
        (event(choices="?", usage="?") + event(choices=[3]) + DONE, [], "", None),
    ],
)  # fmt: skip
def test_output_and_usage_of_openai(
    body: bytes, output: list[int], text: str, tokens: int | None
) -> None:
    reading = openai.read(events_of(body))
    assert reading == StreamReading(output, text, tokens, tokens and 7)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (chat() + chat("ä") + chat("b", "stop") + DONE, "äb"),
        (chat("a", "stop", 0) + chat("b", "stop", 1), "a"),
        (event(choices=[{"delta": {"reasoning": "hm"}}]) + chat("a", "stop"), "a"),
        (event(choices=[{"delta": {"content": [{"text": "a"}, {"thinking": "hm"}]}}]) + DONE, "a"),
        (event(choices=[{"delta": {"refusal": "no"}}]) + DONE, ""),
        (chat("a") + event(error="no memory"), None),
        (chat("a"), None),
        (chat() + DONE, None),
        (b"", None),
        (event(choices=[{"index": None, "delta": {"content": "a"}}]) + DONE, "a"),
        (b'data: {"choices": [{"delta": {"content": %s}}]}\n\n' % (b"[" * 900 + b"]" * 900), None),
        (b'data: {"error": %s}\n\n' % (b"[" * 900 + b"]" * 900), None),
    ],
)  # fmt: skip
def test_what_the_next_request_has_of_an_answer(body: bytes, shown: str | None) -> None:
    assert openai.content(body) == shown


@pytest.mark.parametrize(
    ("name", "body", "output", "said"),
    [
        ("openai", chat("a") + chat("b"), [0, 1], "cut off"),
        ("openai", chat("a", "stop", 0) + chat("b", None, 1), [0, 1], "cut off"),
        ("openai", chat("a") + chat("b", "stop")[:-9], [0], "middle of an event"),
        ("openai", chat("a") + b"data: {\n\n", [0], "event 2 of the stream is not JSON: '{'"),
        ("openai", chat("a") + b"data: [3]\n\n", [0], "list, not an object"),
        ("openai", chat("a") + event(error={"message": "no memory"}) + DONE, [0], "no memory"),
        ("openai", event(error="no memory") + DONE, [], "no memory"),
        ("openai", event(object="error", message="no memory"), [], "no memory"),
        ("openai", b"event: error\n" + event(message="no memory"), [], "no memory"),
        ("openai", chat("a", "abort") + DONE, [0], "'abort'"),
        ("openai", chat("a") + chat("", "error"), [0], "'error'"),
        ("sse", b"data: a\n\ndata: b", [0], "middle of an event"),
        ("sse", b"data: a\n\nevent: error\ndata: no memory\n\n" + DONE, [0], "no memory"),
        ("sse", b"data: a\n\n" + event(error={"message": "no memory"}), [0], "no memory"),
        ("json-lines", b'{}\n{"error": "no memory"}\n{}', [0], "no memory"),
        ("json-lines", b'{}\n{"a', [0], "middle of an event"),
        ("json-lines", b"{}\n{a\n{}", [0], "event 2 of the stream is not JSON: '{a'"),
    ],
)
def test_a_stream_with_a_fault_tells_it_and_what_came_before(
    name: str, body: bytes, output: list[int], said: str
) -> None:
    reading = FORMATS[name].read(events_of(body, name))
    assert (list(reading.output), said in reading.fault) == (output, True), reading.fault


def test_a_last_done_of_other_servers_is_no_output() -> None:
    assert list(sse.read(events_of(b"data: a\n\n" + DONE, "sse")).output) == [0]


@pytest.mark.parametrize("line", [b'{"error": null}', b'{"text": "an \\"error\\""}', b'["error"]'])
def test_what_only_mentions_errors_is_output(line: bytes) -> None:
    for name, body in (("json-lines", line), ("sse", b"data: " + line + b"\n\n")):
        reading = FORMATS[name].read(events_of(body, name))
        assert (list(reading.output), reading.fault) == ([0], "")


def own(events: Sequence[StreamEvent]) -> StreamReading:
    return StreamReading(range(len(events)))


def test_a_format_is_named_or_the_users_own() -> None:
    assert [stream_format(one, "r").split for one in FORMATS] == [
        "sse",
        "sse",
        "json-lines",
        "parts",
    ]
    assert stream_format(own, "r") == StreamFormat("own", "sse", own)
    mine = StreamFormat("mine", "parts", own)
    assert stream_format(mine, "r") is mine


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"stream": "openia"}, ["'openia'", "openai", "json-lines"]),
        ({"stream": 3}, ["stream=3"]),
        ({"stream": StreamFormat("mine", "lines", own)}, ["split", "json-lines"]),  # type: ignore[arg-type]
        ({"tokenizer": len}, ["tokenizer", "stream="]),
        ({"stream": "sse", "tokenizer": 3}, ["tokenizer=3"]),
        ({"stream": "sse", "tokenizer": str.split}, ["['Hello']", "len"]),
        ({"stream": "sse", "tokenizer": int}, ["ValueError"]),
    ],
)
def test_what_cannot_be_read_is_refused_before_the_load(
    given: dict[str, object], said: list[str]
) -> None:
    for make in (HttpRequest, Http2Request):
        request = make("POST", "/v1", **given)  # type: ignore[arg-type]
        refused(request.check_sendable, [*said, "POST"])


def test_a_comparison_tells_streamed_requests_from_others() -> None:
    plain, sse_, openai_ = (
        HttpRequest("POST", "/", stream=stream).identity(paths=True)
        for stream in (None, "sse", "openai")
    )
    assert plain == HttpRequest("POST", "/").identity(paths=True)
    assert len({tuple(one) for one in (plain, sse_, openai_)}) == 3
