"""TensorFlow Serving's REST API, in its row format."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from pytest_servebench.protocols.base import HttpRequest
from pytest_servebench.protocols.predictions import instances_body, read_predictions


@dataclass(frozen=True)
class TensorFlowServingRest:
    """``POST /v1/models/NAME:predict``.

    Attributes:
        model_name: the name under which the server offers the model.
    """

    model_name: str

    @property
    def name(self) -> str:
        """Return the protocol's name, as reports show it."""
        return "TensorFlow Serving REST"

    def request(self, inputs: npt.NDArray[np.float32]) -> HttpRequest:
        """Return the request for a prediction of one input."""
        return HttpRequest(
            "POST",
            f"/v1/models/{quote(self.model_name, safe='')}:predict",
            (("Content-Type", "application/json"),),
            instances_body(inputs),
        )

    def read(self, body: bytes) -> npt.NDArray[np.float32]:
        """Return the outputs of one input from a status-200 body.

        Raises:
            BadResponseError: the body is not a prediction.
        """
        return read_predictions(body)
