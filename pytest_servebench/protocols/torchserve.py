"""TorchServe's inference API, for handlers that use instances and predictions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import quote

from pytest_servebench.model import Arrays
from pytest_servebench.protocols.base import HttpRequest
from pytest_servebench.protocols.predictions import instances_body, read_predictions


@dataclass(frozen=True)
class TorchServeRest:
    """``POST /predictions/NAME``.

    Attributes:
        model_name: the model's name at the server.
        token: TorchServe's inference key, never shown; ``None`` if authorization is off.
    """

    name: ClassVar[str] = "TorchServe REST"

    model_name: str
    token: str | None = field(default=None, repr=False)

    @property
    def authorization(self) -> tuple[tuple[str, str], ...]:
        """Return the headers that the server requires in every request."""
        return (("Authorization", f"Bearer {self.token}"),) if self.token is not None else ()

    def request(self, inputs: Arrays) -> HttpRequest:
        """Return the request for a prediction of one input."""
        return HttpRequest(
            "POST",
            f"/predictions/{quote(self.model_name, safe='')}",
            (("Content-Type", "application/json"), *self.authorization),
            instances_body(inputs),
        )

    read = staticmethod(read_predictions)
