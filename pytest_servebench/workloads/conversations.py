"""Conversations of several turns: from a file, or made to distributions of lengths."""

from __future__ import annotations

import random
import reprlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pytest_servebench.errors import OptionError, ServebenchWarning
from pytest_servebench.streaming.formats import Tokenizer
from pytest_servebench.text.safe import counted
from pytest_servebench.workloads.lengths import Lengths, lengths
from pytest_servebench.workloads.prompts import (
    MOST_BYTES,
    check_messages,
    check_number,
    check_tokens,
    drawn,
    json_lines,
)
from pytest_servebench.workloads.think_times import MOST_SECONDS, is_think_time
from pytest_servebench.workloads.words import Writer

Message = Mapping[str, Any]

_WHAT: Final = (
    '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}, '
    '{"role": "user", "content": "..."}]}'
)
# Of ShareGPT and its kin, whose users asked several models.
_ROLES: Final = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "assistant", "bing", "bard", "claude", "model", "bot"),
                    "assistant"),
    "system": "system",
}  # fmt: skip


class _UnusableError(OptionError):
    """A conversation such as published files have a few of, which nobody can send."""


@dataclass(frozen=True)
class Turn:
    """What a user asks in one turn.

    Attributes:
        history: the conversation so far, with what is asked now.
        max_tokens: of the answer; ``None`` if not given.
        think: seconds since the end of the previous answer; ``None`` if not given, and in the first
            turn.
    """

    history: Sequence[Message]
    max_tokens: int | None = None
    think: float | None = None


@dataclass(frozen=True)
class Conversation:
    """What is said in a session.

    Attributes:
        turns: at least one.
        fields: other fields of each request's body.
        where: file and line, or its number, for messages.
    """

    turns: tuple[Turn, ...]
    fields: Mapping[str, Any]
    where: str

    @classmethod
    def of(cls, given: object, where: str) -> Conversation:
        """Check what a user gave.

        Raises:
            OptionError: it is no conversation; names place and remedy.
        """
        if not isinstance(given, Mapping) or not ({"messages", "conversations"} & set(given)):
            raise OptionError(
                f"{where}: {reprlib.repr(given)} is not a conversation: give {_WHAT}."
            )
        messages = given.get("messages")
        if messages is None:
            messages = _of_share_gpt(given.get("conversations"), where)
        check_messages(messages, where)
        histories = list(_histories(messages))
        if not histories:
            problem = f"{where}: no message has the role user: give {_WHAT}."
            raise OptionError(problem) if "messages" in given else _UnusableError(problem)
        check_tokens(given.get("max_tokens"), f"{where}: max_tokens")
        think = _think(given.get("think_time"), len(histories) - 1, where)
        turns = tuple(Turn(one, given.get("max_tokens"), seconds)
                      for one, seconds in zip(histories, (None, *think), strict=True))  # fmt: skip
        own = ("messages", "conversations", "max_tokens", "think_time", "id")
        return cls(turns, {key: value for key, value in given.items() if key not in own}, where)


def _of_share_gpt(given: object, where: str) -> list[Message]:
    """Return messages of an array such as ``[{"from": "human", "value": "..."}, ...]``."""
    if not isinstance(given, list) or not given:
        kind = _UnusableError if given == [] else OptionError
        raise kind(
            f"{where}: conversations is {reprlib.repr(given)}: give a list of objects with "
            '"from" and "value", or messages.'
        )
    found: list[Message] = []
    for number, one in enumerate(given):
        told = isinstance(one, Mapping) and {"from", "value"} <= set(one)
        role = _ROLES.get(str(one["from"])) if told else None
        if role is None or not isinstance(one["value"], str):
            kind = _UnusableError if told else OptionError
            raise kind(
                f"{where}: conversations[{number}] is {reprlib.repr(one)}: give objects with "
                f'"from" (one of {", ".join(_ROLES)}) and "value".'
            )
        found.append({"role": role, "content": one["value"]})
    return found


def _histories(messages: Sequence[Message]) -> Iterable[Sequence[Message]]:
    """Yield what is sent in each turn: the messages up to each of the assistant's, and all of them.

    Messages of the assistant before the first one of the user belong to the first turn; one at the
    end, after which nothing is asked, belongs to none.
    """
    asked = answered = False
    for place, one in enumerate(messages):
        if one["role"] == "assistant":
            if asked and not answered:
                yield messages[:place]
            answered = True
        else:
            asked = asked or one["role"] == "user"
            answered = False
    if asked and not answered:
        yield messages


def _think(given: object, number: int, where: str) -> Sequence[float | None]:
    """Return the seconds before each turn but the first; ``None`` where they are not given."""
    if given is None:
        return [None] * number
    times = given if isinstance(given, list) else [given] * number
    known = [float(one) for one in times if is_think_time(one)]
    if len(known) == len(times) == number:
        return known
    raise OptionError(
        f"{where}: think_time is {reprlib.repr(given)}: give seconds (0 to {MOST_SECONDS:g}), or a "
        f"list of them, one before each turn but the first: {number}."
    )


@dataclass(frozen=True)
class Conversations:
    """Conversations, of which each session takes one at random.

    Attributes:
        items: the conversations.
        source: where they come from, in words for reports.
    """

    items: tuple[Conversation, ...] = field(repr=False)
    source: str


def conversations_from(given: object) -> Conversations:
    """Return the conversations that a user gave: synthetic ones, a file of JSON lines, or a list.

    Raises:
        OptionError: it is none of these, or one is not a conversation.
    """
    if isinstance(given, Conversations):
        return given
    if isinstance(given, (str, Path)):
        path = Path(given)
        return _read(path)
    if not isinstance(given, Iterable) or isinstance(given, (bytes, Mapping)):
        raise OptionError(
            f"conversations={reprlib.repr(given)}: give the path of a file of JSON lines, a list, "
            "or synthetic_conversations(...)."
        )
    items = tuple(Conversation.of(one, f"conversations[{place}]")
                  for place, one in enumerate(given))  # fmt: skip
    if not items:
        raise OptionError("conversations=[]: give at least one.")
    return Conversations(items, "conversations of the test")


def _read(path: Path) -> Conversations:
    """Return the conversations of a file, without those of ShareGPT's form that cannot be sent.

    Published files have some without messages, without a user's, or with a role of their own.

    Raises:
        OptionError: the file cannot be read, or a line is wrong, or none can be sent.
    """
    lines = json_lines(path, "conversations", _WHAT)
    items: list[Conversation] = []
    unusable: list[_UnusableError] = []
    for where, given in lines:
        try:
            items.append(Conversation.of(given, where))
        except _UnusableError as problem:
            unusable.append(problem)
    if not items:
        raise unusable[0]
    if not unusable:
        return Conversations(tuple(items), path.name)
    left_out = f"without {len(unusable):,} of {counted(len(lines), 'conversation')}"
    warnings.warn(
        ServebenchWarning(f"{path}: {left_out}, which cannot be sent, the first: {unusable[0]}"),
        stacklevel=4,  # where the test calls chat_sessions
    )
    return Conversations(tuple(items), f"{path.name}, {left_out}")


def synthetic_conversations(
    number: int,
    turns: int | str | Lengths,
    prompt_tokens: int | str | Lengths,
    output_tokens: int | str | Lengths,
    *,
    system_tokens: int = 0,
    seed: int = 0,
    tokenizer: Tokenizer | None = None,
) -> Conversations:
    """Return conversations of random words, whose lengths follow distributions.

    Earlier answers of the assistant are random words too, as long as the answers that were asked
    for, so that every request is known before the load.

    Args:
        number: of conversations; a session takes one at random.
        turns: of each: a number, ``"uniform:LOW,HIGH"``, ``"lognormal:MEAN,CV"`` or
            ``"lognormal:MEAN,CV,MOST"``.
        prompt_tokens: likewise of each user's message.
        output_tokens: likewise of each answer: ``max_tokens``, and the length of its text in later
            turns.
        system_tokens: length of a system message that starts all conversations; 0 for none.
        seed: of lengths and words.
        tokenizer: returns the number of tokens of a text; without one, each word counts as one.

    Raises:
        OptionError: an argument is invalid.
    """
    check_number(number, "synthetic_conversations: number")
    if system_tokens != 0:
        check_number(system_tokens, "synthetic_conversations: system_tokens")
    named = {"turns": turns, "prompt_tokens": prompt_tokens, "output_tokens": output_tokens}
    of_turns, of_prompts, of_outputs = (
        (lengths(one, name), f"{name}={one!r}: at") for name, one in named.items()
    )
    writer = Writer(seed, tokenizer)
    draw = random.Random(f"{seed} lengths").random
    system: list[Message] = [{"role": "system", "content": writer.text("system", system_tokens)}]
    items = []
    for place in range(number):
        said: list[Message] = system if system_tokens else []
        made: list[Turn] = []
        for turn in range(drawn(of_turns[0], draw(), of_turns[1])):
            prompt, output = (drawn(one, draw(), where) for one, where in (of_prompts, of_outputs))
            said = [*said, {"role": "user", "content": writer.text(f"{place} {turn} user", prompt)}]
            made.append(Turn(said, output))
            answer = writer.text(f"{place} {turn} assistant", output)
            said = [*said, {"role": "assistant", "content": answer}]
        items.append(Conversation(tuple(made), {}, f"conversation {place}"))
    return Conversations(tuple(items), f"{number} random conversations, seed {seed}")


def check_size(given: Conversations) -> None:
    """Check the total text of all requests, each of which repeats the conversation so far.

    Raises:
        OptionError: it is too much.
    """
    size = 0
    for number, one in enumerate(given.items):
        # The histories of a conversation share their messages.
        whole = {id(said): len(repr(said)) for turn in one.turns for said in turn.history}
        size += sum(whole[id(said)] for turn in one.turns for said in turn.history)
        if size > MOST_BYTES:
            raise OptionError(
                f"{one.where}: the requests of the first {number + 1} conversations have more "
                f"than {MOST_BYTES >> 20} MiB in total, as each repeats the conversation so far, "
                "and all of them are in memory during the load: give fewer or shorter "
                "conversations."
            )
