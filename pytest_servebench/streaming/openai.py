"""The streams of OpenAI's API, chat and completions, as vLLM and many other servers send them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from pytest_servebench.streaming.events import StreamEvent, StreamReading
from pytest_servebench.streaming.faults import CUT_OFF, error_of, not_json
from pytest_servebench.streaming.sse import DONE, split

_GIVEN_UP: Final = ("abort", "error")  # reasons for the end of an answer


CONTENT: Final = f"{__name__}:content"
"""The name of :func:`content`."""


def content(body: bytes) -> str | None:
    """Return what a user sees of a chat's answer, and sends with the next request.

    That is the content of the first choice, without reasoning and tool calls. ``None`` if the
    answer is not a success.
    """
    try:
        reading, shown = _read([StreamEvent(0, 0, *piece[1:]) for piece in split(body)])
    except RecursionError:  # nested too deeply to be text; the load continues
        return None
    return None if reading.fault or not (reading.output or reading.tokens) else shown


def read(events: Sequence[StreamEvent]) -> StreamReading:
    """Read content, usage, errors and the end.

    A chunk has output if it has text, reasoning, a refusal, or part of a tool call: those with only
    a role, nothing, or the usage have none. The stream is complete with ``[DONE]``, or with a
    ``finish_reason`` for each choice, as some servers do not send the former; ``"abort"`` and
    ``"error"`` mean that the server gave up on the answer.
    """
    return _read(events)[0]


def _read(events: Sequence[StreamEvent]) -> tuple[StreamReading, str]:
    """Return the reading of the events, and the content of the first choice."""
    output: list[int] = []
    texts: list[str] = []
    shown: list[str] = []
    usage: Mapping[str, Any] = {}
    begun, finished, done, reasoned = set[Any](), set[Any](), False, False
    fault = given_up = ""
    for place, event in enumerate(events):
        if event.data == DONE:
            done = True
            continue
        if not event.whole:
            fault = CUT_OFF
            break
        try:
            chunk = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            fault = not_json(place, event)
            break
        if (fault := _fault(chunk, event.name)) != "":
            break
        usage = _mapping(chunk.get("usage")) or usage
        said = ""
        for choice in map(_mapping, _items(chunk.get("choices"))):
            number = str(choice.get("index") or 0)
            begun.add(number)
            if reason := choice.get("finish_reason"):
                finished.add(number)
                given_up = reason if reason in _GIVEN_UP else given_up
            output_of, reasoning = _output(choice)
            said += output_of
            if number == "0":
                shown.append(_text(_mapping(choice.get("delta")).get("content")))
            reasoned = reasoned or reasoning != ""
        if said:
            output.append(place)
            texts.append(said)
    if not fault and given_up:
        fault = f"the server gave up on the answer: finish_reason is {given_up!r}"
    if not fault and not done and not (begun and begun == finished):
        fault = "the stream was cut off: it has neither [DONE] nor a finish_reason"
    reading = StreamReading(
        output, "".join(texts), _output_tokens(usage, reasoned=reasoned),
        _count(usage, "prompt_tokens"), fault,
    )  # fmt: skip
    return reading, "".join(shown)


def _fault(chunk: Any, event: str) -> str:
    fault = error_of(chunk, event)
    if not fault and not isinstance(chunk, Mapping):
        return f"an event of the stream is {type(chunk).__name__}, not an object"
    return fault


def _output(choice: Mapping[str, Any]) -> tuple[str, str]:
    """Return the output of a choice, and what of it is reasoning."""
    delta = _mapping(choice.get("delta"))
    content = delta.get("content")
    thoughts = [_mapping(one).get("thinking") for one in _items(content)]
    reasoning = _text([delta.get("reasoning_content"), delta.get("reasoning"), thoughts])
    found = [choice.get("text"), content, reasoning, delta.get("refusal")]
    if "tool_calls" in delta or "function_call" in delta:
        calls = [_mapping(one).get("function") for one in _items(delta.get("tool_calls"))]
        for call in map(_mapping, (*calls, delta.get("function_call"))):
            found += (call.get("name"), call.get("arguments"))
    return _text(found), reasoning


def _text(value: Any) -> str:
    """Return a text, or that of a part of content (``{"text": ...}``), or of a list of either."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_text, value))
    return _text(value.get("text")) if isinstance(value, dict) else ""


def _output_tokens(usage: Mapping[str, Any], *, reasoned: bool) -> int | None:
    """Return the tokens of the output that was streamed: of reasoning only if that was."""
    tokens = _count(usage, "completion_tokens")
    if tokens is None or reasoned:
        return tokens
    hidden = _count(_mapping(usage.get("completion_tokens_details")), "reasoning_tokens")
    return max(0, tokens - (hidden or 0))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    number = usage.get(name)
    return number if type(number) is int and 0 <= number < 2**31 else None
