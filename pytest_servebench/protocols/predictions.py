"""The JSON that TensorFlow Serving and TorchServe are both spoken to in: instances and predictions.

One function writes the body for every server, so that none is sent other bytes than its rival.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import BadResponseError, ModelError

_EXCERPT = 200  # characters of a bad body that go into the error
_BITS = np.uint32


def instances_body(inputs: npt.NDArray[np.float32]) -> bytes:
    """Return ``{"instances": [inputs]}`` as compact JSON, the same bytes for the same input.

    Each number is the shortest one that reads back as the same float32, with a decimal point or
    an exponent, so that a handler which builds a tensor from an all-zero image gets floats too.

    Raises:
        ModelError: the input has a number for which JSON has no word, or no numbers at all.
    """
    array = np.ascontiguousarray(inputs, dtype=np.float32)
    if array.size == 0:
        raise ModelError(f"An input of shape {np.shape(inputs)} has no numbers to send.")
    if not np.isfinite(array).all():
        raise ModelError("An input holds NaN or infinity, for which JSON has no word.")
    # By bit pattern, as np.unique calls 0.0 and -0.0 the same. Images have few distinct values.
    bits, places = np.unique(array.reshape(-1).view(_BITS), return_inverse=True)
    words = [str(value) for value in bits.view(np.float32)]
    parts = [words[place] for place in places.reshape(-1).tolist()]
    for size in reversed(np.shape(inputs)):
        parts = [f"[{','.join(parts[i : i + size])}]" for i in range(0, len(parts), size)]
    return f'{{"instances":[{parts[0]}]}}'.encode("ascii")


def read_predictions(body: bytes) -> npt.NDArray[np.float32]:
    """Return the outputs of one input from ``{"predictions": [outputs]}``.

    Raises:
        BadResponseError: the body is anything else; the message holds its beginning.
    """
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _bad(f"is not JSON ({type(error).__name__})", body) from None
    if not isinstance(answer, dict):
        raise _bad(f"is a JSON {type(answer).__name__}, not an object", body)
    if "error" in answer:
        raise _bad("is an error", body)
    if "predictions" not in answer:
        raise _bad('has no "predictions"', body)
    predictions = answer["predictions"]
    if not isinstance(predictions, list):
        raise _bad('has "predictions" that are not a list', body)
    if len(predictions) != 1:
        raise _bad(f"has {len(predictions)} predictions for one input", body)
    if isinstance(predictions[0], dict):
        names = ", ".join(map(repr, predictions[0]))
        raise _bad(f"has several named outputs ({names}); the model must have one", body)
    try:
        outputs = np.asarray(predictions[0])
    except ValueError:
        raise _bad("has ragged predictions", body) from None
    if outputs.dtype.kind not in "iuf":
        raise _bad("has predictions that are not all numbers", body)
    return outputs.astype(np.float32)


def excerpt(body: bytes) -> str:
    """Return the beginning of a body, on one line, for an error message."""
    text = " ".join(body[: 4 * _EXCERPT].decode("utf-8", "replace").split())
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"


def _bad(what: str, body: bytes) -> BadResponseError:
    return BadResponseError(
        f'The answer {what}; expected {{"predictions": [[…]]}}, '
        f"got {len(body)} bytes: {excerpt(body)!r}"
    )
