"""A server of a language model with OpenAI's API: a command, a container image, or a URL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from pytest_servebench.model import ServedModel
from pytest_servebench.protocols.base import HttpAnswer
from pytest_servebench.protocols.openai import Api, OpenAiApi
from pytest_servebench.servers.command import Command
from pytest_servebench.servers.first_prediction import Refusal, by_status
from pytest_servebench.servers.kind_options import option, spelled

_GREETING: Final = "Hello"


@dataclass(frozen=True)
class OpenAiServer(Command):
    """A server that is ready when it answers with a token.

    Attributes:
        key_env: name of the environment variable with the server's key.
        api: the part of the API that is asked for the first token.
    """

    told_by: ClassVar[tuple[str, ...]] = ()  # only by its name: the keys are those of Command

    key_env: str = option(
        "", "name of the environment variable with the key that each request sends", compared=False
    )
    api: Api = option("chat", "what is asked for the first token", compared=False)

    def __post_init__(self) -> None:
        """Check what needs no server; see :class:`Command`."""
        if self.protocol:
            raise ValueError("protocol is that of OpenAI: omit it, or the kind")
        if not self.model:
            raise ValueError("model is missing: give the model's name at the server")
        if urlsplit(self.url).path.rstrip("/").endswith("/v1"):
            raise ValueError("url: /v1 is added to the address; leave it out")
        super().__post_init__()
        if isinstance(self.artifact, str) and self.artifact:
            raise ValueError("artifact: give the path of the model, with a slash: './tiny'")

    @property
    def own_model(self) -> ServedModel:
        """Return what is served, instead of the session's model: any answer is right."""
        return ServedModel(
            name=self.model, artifacts={}, inputs=[_GREETING], expect=lambda *_: None,
            input_source="a greeting",
        )  # fmt: skip

    def _protocol(self, served: str, signature: str) -> OpenAiApi:  # noqa: ARG002
        return OpenAiApi(served, self.api, self.key_env)

    def _judge(self, answer: Any, _: Callable[..., Any]) -> Refusal:
        if isinstance(answer, HttpAnswer) and answer.status in (401, 403):
            return Refusal(
                f"it requires another key; {spelled(self.name, 'key_env')}=NAME names the "
                "environment variable that has it."
            )
        return by_status(answer, self)
