"""Where the server's own earlier answers go in the requests of a session."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from pytest_servebench.errors import OptionError
from pytest_servebench.workloads.conversations import Conversation
from pytest_servebench.workloads.requests import Places


def answer_places(of: Conversation) -> Iterator[Sequence[int]]:
    """Yield for each turn which of its messages are answers to earlier turns.

    Raises:
        OptionError: several messages of the assistant answer one turn.
    """
    before: list[int] = []
    for turn in of.turns:
        for place in before:
            if turn.history[place + 1]["role"] == "assistant":
                raise OptionError(
                    f"{of.where}: messages {place + 1} and {place + 2} are both from the "
                    "assistant, and one answer of the server cannot replace both: join them, or "
                    'leave answers="server" out.'
                )
        yield tuple(before)
        before.append(len(turn.history))


def located(body: bytes, places: Sequence[int], where: str) -> Places:
    """Return the positions of the contents of some messages in a request's body.

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
                f"{where}: message {place + 1}, from the assistant, has no text content that the "
                "server's answer could replace: give one."
            )
        # No text contains a character of this kind (a lone surrogate).
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
