"""TensorFlow Serving's REST API, in its row format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

from pytest_servebench.model import Arrays
from pytest_servebench.protocols.base import HttpRequest
from pytest_servebench.protocols.predictions import instances_body, read_predictions

_CHOSEN = re.compile(r"(?:/?v1/models/)?(?P<name>.+?)(?P<choice>/versions/\d+|/labels/[^/:]+|)")


@dataclass(frozen=True)
class TensorFlowServingRest:
    """``POST /v1/models/NAME:predict``.

    Attributes:
        model_name: the model's name at the server; a version or label may follow, as in its paths:
            ``NAME/versions/3`` or ``NAME/labels/canary``.
    """

    name: ClassVar[str] = "TensorFlow Serving REST"

    model_name: str

    @property
    def plain_name(self) -> str:
        """Return the model's name without version or label."""
        return self._parts()[0]

    @property
    def path(self) -> str:
        """Return the path of the model, or of its version or label."""
        name, choice = self._parts()
        return f"/v1/models/{quote(name, safe='')}{quote(choice)}"

    def _parts(self) -> tuple[str, str]:
        found = _CHOSEN.fullmatch(self.model_name)
        return (found["name"], found["choice"]) if found else (self.model_name, "")

    def request(self, inputs: Arrays) -> HttpRequest:
        """Return the request for a prediction of one input."""
        return HttpRequest(
            "POST",
            f"{self.path}:predict",
            (("Content-Type", "application/json"),),
            instances_body(inputs),
        )

    def status_request(self) -> HttpRequest:
        """Return the request for the loaded versions of the model."""
        return HttpRequest("GET", self.path)

    read = staticmethod(read_predictions)
