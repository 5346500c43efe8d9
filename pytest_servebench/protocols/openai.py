"""OpenAI's API, which most servers of language models have: a request for one token."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NoReturn

import numpy as np

from pytest_servebench.errors import BadResponseError, OptionError
from pytest_servebench.protocols.base import HttpAnswer, HttpRequest
from pytest_servebench.text.excerpt import excerpt
from pytest_servebench.values.arrays import Arrays

Api = Literal["chat", "completions"]

PATHS: dict[Api, str] = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}
"""Path on the server of each part of the API."""


def bearer(key_env: str | None, where: str) -> tuple[tuple[str, str], ...]:
    """Return the header with the key in an environment variable, if one is named.

    Args:
        key_env: name of the variable.
        where: how messages name what names it.

    Raises:
        OptionError: the variable is not set.
    """
    if not key_env:
        return ()
    if not (key := os.environ.get(key_env, "").strip()):
        raise OptionError(
            f"{where}={key_env!r}: the environment variable {key_env} is not set: export the key "
            "in it."
        )
    return (("Authorization", f"Bearer {key}"),)


@dataclass(frozen=True)
class OpenAiApi:
    """How to ask a server with OpenAI's API whether it serves: for one token.

    Attributes:
        model: the model's name at the server.
        api: the part of the API that is asked.
        key_env: name of the environment variable with the key; empty: none is sent.
    """

    name: ClassVar[str] = "OpenAI"

    model: str
    api: Api = "chat"
    key_env: str = ""

    @property
    def authorization(self) -> tuple[tuple[str, str], ...]:
        """Return the headers that each request needs.

        Raises:
            OptionError: the variable with the key is not set.
        """
        return bearer(self.key_env, "key_env")

    def request(self, inputs: Arrays) -> HttpRequest:
        """Return the request for one token after a text."""
        text = str(np.asarray(inputs).item())
        asked: dict[str, Any] = {"prompt": text}
        if self.api == "chat":
            asked = {"messages": [{"role": "user", "content": text}]}
        body = {"model": self.model, **asked, "max_tokens": 1}
        headers = (("Content-Type", "application/json"), *self.authorization)
        return HttpRequest("POST", PATHS[self.api], headers, json.dumps(body).encode())

    def read(self, answer: HttpAnswer) -> Arrays:
        """Return the number of choices; shape ``()``."""
        try:
            whole = json.loads(answer.body)
        except (ValueError, RecursionError):
            whole = None
        choices = whole.get("choices") if isinstance(whole, dict) else None
        if not isinstance(choices, list) or not choices:
            raise BadResponseError(
                f"The answer has no choices, as OpenAI's API has: {excerpt(answer.body)!r}"
            )
        return np.array(len(choices))

    def refuse(self, fixture: str) -> NoReturn:
        """Explain what to send with ``fixture``, as there is no prediction to compare with.

        Raises:
            OptionError: always.
        """
        raise OptionError(
            f"{fixture}(server) needs requests for a language model: {fixture}(server, requests="
            'chat_requests("prompts.jsonl", model=server.protocol.model)).'
        )
