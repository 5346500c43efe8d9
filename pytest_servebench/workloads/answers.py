"""Where in the requests of a session the server's own earlier answers come."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from pytest_servebench.errors import OptionError
from pytest_servebench.workloads.conversations import Conversation
from pytest_servebench.workloads.requests import Places


def answer_places(of: Conversation) -> Iterator[Sequence[int]]:
    """Yield for each turn which of its messages are answers to the turns before it.

    Raises:
        OptionError: several messages of the assistant answer one turn.
    """
    before: list[int] = []
    for turn in of.turns:
        for place in before:
            if turn.history[place + 1]["role"] == "assistant":
                raise OptionError(
                    f"{of.where}: messages {place + 1} and {place + 2} are both of the assistant: "
                    'one answer of the server cannot be both; join them, or leave answers="server" '
                    "out."
                )
        yield tuple(before)
        before.append(len(turn.history))


def located(body: bytes, places: Sequence[int], where: str) -> Places:
    """Return where the contents of some messages stand in a request's body.

    Args:
        body: of the request, as ``json.dumps(..., ensure_ascii=False)`` writes it.
        places: of the messages, ascending.
        where: how messages name the request.

    Raises:
        OptionError: one has no text.
    """
    fields = json.loads(body)
    marks = []
    for number, place in enumerate(places):
        message = fields["messages"][place]
        if not isinstance(message.get("content"), str):
            raise OptionError(
                f"{where}: message {place + 1} of the assistant has no text as its content, where "
                "the server's answer could come: give one."
            )
        # No text can have a character of this kind: it is none.
        marks.append((f"\ud800{number}", message["content"]))
        message["content"] = marks[-1][0]
    written, found = json.dumps(fields, ensure_ascii=False), []
    at = 0
    for mark, content in marks:
        before, _, written = written.partition(json.dumps(mark, ensure_ascii=False))
        at += len(before.encode())
        size = len(json.dumps(content, ensure_ascii=False).encode())
        found.append((at, at + size))
        at += size
    return tuple(found)
