"""The streams of OpenAI's API, chat and completions, as vLLM and many other servers send them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from pytest_servebench.streaming.events import StreamEvent, StreamReading
from pytest_servebench.streaming.json_lines import not_json
from pytest_servebench.streaming.sse import CUT_OFF, DONE
from pytest_servebench.text.excerpt import cut

_TEXTS: Final = ("content", "reasoning_content", "reasoning", "refusal")
_LONGEST: Final = 300  # characters of a server's message


def read(events: Sequence[StreamEvent]) -> StreamReading:
    """Read content, usage, errors and the end.

    A chunk has output if it has text, reasoning, a refusal, or a part of a call of a tool: those
    with only a role, nothing, or the usage have none. The stream has come to its end with
    ``[DONE]``, or with a ``finish_reason`` of each choice, as some servers do not send the former.
    """
    output: list[int] = []
    texts: list[str] = []
    usage: Mapping[str, Any] = {}
    begun, finished, done, fault = set[Any](), set[Any](), False, ""
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
        if (fault := error_of(chunk, event.name)) != "":
            break
        usage = _mapping(chunk.get("usage")) or usage
        said = ""
        for choice in map(_mapping, _items(chunk.get("choices"))):
            number = str(choice.get("index", 0))
            begun.add(number)
            if choice.get("finish_reason"):
                finished.add(number)
            said += _output(choice)
        if said:
            output.append(place)
            texts.append(said)
    if not fault and not done and not (begun and begun == finished):
        fault = "the stream was cut off: neither [DONE] nor a finish_reason came"
    return StreamReading(
        output, "".join(texts), _count(usage, "completion_tokens"), _count(usage, "prompt_tokens"),
        fault,
    )  # fmt: skip


def error_of(chunk: Any, event: str = "") -> str:
    """Return the error that a server tells inside a successful answer, or an empty text.

    Args:
        chunk: what it sent.
        event: the event's name.
    """
    if not isinstance(chunk, Mapping):
        return f"an event of the stream is {type(chunk).__name__}, not an object"
    error = chunk.get("error")
    if not error and (event == "error" or chunk.get("object") == "error"):
        error = chunk
    if not error:
        return ""
    said = error.get("message", error) if isinstance(error, Mapping) else error
    return f"the server sent an error in the stream: {cut(str(said), _LONGEST)}"


def _output(choice: Mapping[str, Any]) -> str:
    """Return the output of a choice."""
    delta = _mapping(choice.get("delta"))
    found = [choice.get("text"), *map(delta.get, _TEXTS)]
    if "tool_calls" in delta or "function_call" in delta:
        calls = [_mapping(one).get("function") for one in _items(delta.get("tool_calls"))]
        for call in map(_mapping, (*calls, delta.get("function_call"))):
            found += (call.get("name"), call.get("arguments"))
    return "".join([one for one in found if isinstance(one, str)])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    number = usage.get(name)
    return number if type(number) is int and 0 <= number < 2**31 else None
