"""Requests to OpenAI's API with streamed answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

from pytest_servebench.errors import OptionError
from pytest_servebench.protocols.base import HttpRequest
from pytest_servebench.protocols.openai import PATHS, bearer
from pytest_servebench.streaming.formats import Tokenizer
from pytest_servebench.workloads.answers import answer_places, located
from pytest_servebench.workloads.conversations import (
    Conversations,
    Turn,
    check_size,
    conversations_from,
)
from pytest_servebench.workloads.prompts import Prompt, Prompts, check_tokens, prompts_from
from pytest_servebench.workloads.requests import Requests
from pytest_servebench.workloads.sessions import GivenThinkTime, thought

GivenPrompts = str | Path | Prompts | Iterable[str | Mapping[str, Any]]
"""A file of JSON lines, made prompts, or a list of texts and objects."""

Answers = Literal["conversation", "server"]
"""Whose earlier answers the requests of a session contain."""

GivenConversations = str | Path | Conversations | Iterable[Mapping[str, Any]]
"""A file of JSON lines, made conversations, or a list of objects."""


def chat_requests(
    prompts: GivenPrompts,
    *,
    model: str,
    max_tokens: int | None = None,
    ignore_eos: bool = False,
    key_env: str | None = None,
    path: str = PATHS["chat"],
    settings: Mapping[str, object] | None = None,
    tokenizer: Tokenizer | None = None,
) -> Requests:
    """Return requests for answers in a chat, to a server with OpenAI's API.

    Args:
        prompts: path of a file of JSON lines, each an object with ``messages`` or ``prompt``, and
            perhaps ``max_tokens`` and other fields of the request's body; or a list of such
            objects or texts; or :func:`synthetic_prompts` or :func:`trace_prompts`.
        model: its name on the server.
        max_tokens: of each answer, unless the prompt has its own.
        ignore_eos: whether an answer always continues to ``max_tokens``, so that all servers do the
            same work (a field of vLLM, SGLang and llama.cpp, which OpenAI refuses).
        key_env: the environment variable with the key, which no report shows.
        path: of the API on the server.
        settings: further fields of each body, such as ``{"temperature": 0}``.
        tokenizer: counts output tokens if the server does not report them; see
            :class:`HttpRequest`.

    Raises:
        OptionError: an argument or a prompt is invalid.
    """
    given = prompts_from(prompts)
    bodies = [
        {"messages": one.fields.get("messages") or _asked(one), **_without(one, "prompt")}
        for one in given.items
    ]
    common = _Common(model, max_tokens, ignore_eos, key_env, path, settings, tokenizer)
    return common.requests(given, bodies)


def completion_requests(
    prompts: GivenPrompts,
    *,
    model: str,
    max_tokens: int | None = None,
    ignore_eos: bool = False,
    key_env: str | None = None,
    path: str = PATHS["completions"],
    settings: Mapping[str, object] | None = None,
    tokenizer: Tokenizer | None = None,
) -> Requests:
    """Return requests for the completion of prompts; see :func:`chat_requests`."""
    given = prompts_from(prompts)
    for one in given.items:
        if "messages" in one.fields:
            raise OptionError(
                f"{one.where}: a completion takes no messages: give prompt, or use chat_requests."
            )
    bodies = [dict(one.fields) for one in given.items]
    common = _Common(model, max_tokens, ignore_eos, key_env, path, settings, tokenizer)
    return common.requests(given, bodies)


def chat_sessions(
    conversations: GivenConversations,
    *,
    model: str,
    think_time: GivenThinkTime | None = None,
    max_tokens: int | None = None,
    ignore_eos: bool = False,
    key_env: str | None = None,
    path: str = PATHS["chat"],
    settings: Mapping[str, object] | None = None,
    tokenizer: Tokenizer | None = None,
    seed: int = 0,
    answers: Answers = "conversation",
) -> Requests:
    """Return sessions of several turns, for a server with OpenAI's API.

    Sessions begin as the load's arrivals say: its rate is in sessions per second. Each takes one of
    the conversations at random. The request of each later turn contains the conversation so far,
    and arrives when the previous answer has ended and the think time is over. If a turn does not
    succeed, its session ends.

    Args:
        conversations: path of a file of JSON lines, each an object with the ``messages`` of a user
            and an assistant in turns (or ShareGPT's ``conversations``), and perhaps ``think_time``
            (seconds before each turn but the first, a number or a list), ``max_tokens`` and other
            fields of the requests' bodies; or a list of such objects; or
            :func:`synthetic_conversations`.
        model: its name on the server.
        think_time: seconds from the end of an answer to the user's next message, if the
            conversation has none of its own: a number, ``"exponential:MEAN"``,
            ``"uniform:LOW,HIGH"``, ``"lognormal:MEAN,CV"`` or ``"lognormal:MEAN,CV,MOST"``.
        max_tokens: of each answer, unless the conversation has its own.
        ignore_eos: as for :func:`chat_requests`.
        key_env: likewise.
        path: likewise.
        settings: likewise.
        tokenizer: likewise.
        seed: of the think times. Each turn has its own, the same in every session.
        answers: the earlier answers in later requests: those of the ``"conversation"``, so that
            requests are the same in every run, or those that the ``"server"`` gave in this session,
            as in a real chat.

    Raises:
        OptionError: an argument or a conversation is invalid.
    """
    if answers not in get_args(Answers):
        raise OptionError(
            f"chat_sessions: answers={answers!r}: give one of {', '.join(get_args(Answers))}."
        )
    given = conversations_from(conversations)
    check_size(given)
    turns = [Prompt({"messages": turn.history, **one.fields, **_limit(turn)},
                    f"{one.where}, turn {number}")
             for one in given.items for number, turn in enumerate(one.turns, 1)]  # fmt: skip
    common = _Common(model, max_tokens, ignore_eos, key_env, path, settings, tokenizer)
    made = common.requests(Prompts(tuple(turns), given.source), [dict(one.fields) for one in turns])
    known = [[turn.think for turn in one.turns[1:]] for one in given.items]
    think = thought(known, think_time, seed, "chat_sessions: think_time")
    made = replace(made, think=think)
    if answers == "conversation":
        return made
    # The scripted text around the server's answers.
    found = tuple(
        located(request.body, places, prompt.where)
        for request, places, prompt in zip(
            made.items, chain.from_iterable(map(answer_places, given.items)), turns, strict=True
        )
        if isinstance(request, HttpRequest)
    )
    return replace(made, answers=found, source=f"{given.source}, with the server's own answers")


def _limit(turn: Turn) -> dict[str, int]:
    return {} if turn.max_tokens is None else {"max_tokens": turn.max_tokens}


def _asked(prompt: Prompt) -> list[dict[str, str]]:
    text = prompt.fields["prompt"]
    if not isinstance(text, str):
        raise OptionError(
            f"{prompt.where}: a chat's prompt must be text: give messages, or use "
            "completion_requests."
        )
    return [{"role": "user", "content": text}]


def _without(prompt: Prompt, name: str) -> dict[str, Any]:
    return {key: value for key, value in prompt.fields.items() if key != name}


@dataclass(frozen=True)
class _Common:
    """What all requests of a load have in common: the arguments of :func:`chat_requests`."""

    model: str
    max_tokens: int | None
    ignore_eos: bool
    key_env: str | None
    path: str
    settings: Mapping[str, object] | None
    tokenizer: Tokenizer | None

    def requests(self, given: Prompts, bodies: list[dict[str, Any]]) -> Requests:
        """Return a request for each body; the fields of a body win over the common ones."""
        common = self._fields()
        headers = (
            ("Content-Type", "application/json"), *bearer(self.key_env, "key_env"),
        )  # fmt: skip
        items = tuple(
            HttpRequest(
                "POST", self.path, headers, _body({**common, **body}, one), stream="openai",
                tokenizer=self.tokenizer,
            )
            for one, body in zip(given.items, bodies, strict=True)
        )  # fmt: skip
        return Requests(items, given.choice, given.arrivals, given.source)

    def _fields(self) -> dict[str, Any]:
        check_tokens(self.max_tokens, "max_tokens")
        if not isinstance(self.model, str) or not self.model:
            raise OptionError(f"model={self.model!r}: give the model's name on the server.")
        common: dict[str, Any] = {
            "model": self.model,
            "stream": True,
            "stream_options": {"include_usage": True},
            **({} if self.max_tokens is None else {"max_tokens": self.max_tokens}),
            **({"ignore_eos": True} if self.ignore_eos else {}),
            **(self.settings or {}),
        }
        if common["stream"] is not True:
            raise OptionError(
                f"settings={{'stream': {common['stream']!r}}}: these requests ask for streamed "
                "answers; for others, use HttpRequest(...) without stream=."
            )
        return common


def _body(fields: Mapping[str, Any], prompt: Prompt) -> bytes:
    if fields["stream"] is not True:
        raise OptionError(f"{prompt.where}: stream is {fields['stream']!r}: leave it out.")
    try:
        return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise OptionError(f"{prompt.where}: cannot be written as JSON: {error}.") from None
