"""The JSON of TensorFlow Serving and TorchServe: instances and predictions.

One function writes the body for every server, so that all get the same bytes.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import BadResponseError, ModelError
from pytest_servebench.model import Array, Arrays
from pytest_servebench.text.redaction import redact

_EXCERPT = 200  # characters of a bad body quoted in the error
_LOOKED_INTO = 16_384  # bytes of it that are scanned for secrets
_BITS = {4: np.uint32, 8: np.uint64}


def instances_body(inputs: npt.ArrayLike | Mapping[str, npt.ArrayLike]) -> bytes:
    """Return ``{"instances": [inputs]}`` as compact JSON, the same bytes for the same input.

    Inputs that have names are one object: ``{"instances": [{"name": …, …}]}``.

    Whole numbers, booleans and text stay as they are; bytes become ``{"b64": "..."}``. A float is
    the shortest number that reads back as the same float32 (or float64), with a decimal point or an
    exponent: a handler that builds a tensor from an all-zero image gets floats too.

    Raises:
        ModelError: the input is empty, or has something that JSON cannot represent.
    """
    if isinstance(inputs, Mapping):
        pairs = (f"{json.dumps(name)}:{_in_json(each)}" for name, each in inputs.items())
        instance = f"{{{','.join(pairs)}}}"
    else:
        instance = _in_json(inputs)
    return f'{{"instances":[{instance}]}}'.encode("ascii")


def _in_json(inputs: npt.ArrayLike) -> str:
    array = _as_array(inputs)
    if array.size == 0:
        raise ModelError(f"An input of shape {array.shape} has no numbers to send.")
    parts = _words(array)
    for size in reversed(array.shape):
        parts = [f"[{','.join(parts[i : i + size])}]" for i in range(0, len(parts), size)]
    return parts[0]


def _as_array(inputs: npt.ArrayLike) -> Array:
    if isinstance(inputs, (str, bytes)):  # of which NumPy drops trailing NULs
        return np.array([inputs], dtype=object).reshape(())
    array = np.ascontiguousarray(inputs) if np.ndim(inputs) else np.asarray(inputs)
    if array.dtype.name in ("float16", "bfloat16", "longdouble", "float128"):
        # As float32 they read back exactly, both in their own type and as float32.
        return array.astype(np.float32 if array.dtype.itemsize == 2 else np.float64)
    return array


def _words(array: Array) -> list[str]:
    kind = array.dtype.kind
    flat = array.reshape(-1)
    if kind == "f":
        if not np.isfinite(array).all():
            raise ModelError("An input holds NaN or infinity, which JSON cannot represent.")
        # By bit pattern, as np.unique calls 0.0 and -0.0 the same. Images have few distinct values.
        bits, places = np.unique(flat.view(_BITS[array.dtype.itemsize]), return_inverse=True)
        words = [str(value) for value in bits.view(array.dtype)]
        return [words[place] for place in places.reshape(-1).tolist()]
    if kind in "iubUSO":
        return [_word(value) for value in flat.tolist()]
    raise ModelError(
        f"An input is of type {array.dtype}, which JSON cannot represent: give numbers, booleans, "
        "text or bytes."
    )


def _word(value: object) -> str:
    if isinstance(value, bytes):
        return json.dumps({"b64": base64.b64encode(value).decode("ascii")}, separators=(",", ":"))
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ModelError("An input holds NaN or infinity, which JSON cannot represent.")
    if not isinstance(value, (str, bool, int, float)):
        raise ModelError(
            f"An input holds a {type(value).__name__}, which JSON cannot represent: give numbers, "
            "booleans, text or bytes."
        )
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ModelError(f"An input holds text that UTF-8 cannot encode: {error}.") from None
    return json.dumps(value)


def read_predictions(body: bytes) -> Arrays:
    """Return the outputs of one input from ``{"predictions": [outputs]}``, by name if named.

    Whole numbers become int64 (uint64 or Python integers if they are larger), other numbers
    float64, booleans stay booleans, text and bytes become an array of ``str`` or ``bytes``.

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
    (prediction,) = predictions
    if isinstance(prediction, dict) and not _is_binary(prediction):
        return {name: _outputs(each, body) for name, each in prediction.items()}
    return _outputs(prediction, body)


def _outputs(prediction: Any, body: bytes) -> Array:
    # As objects first: NumPy would turn [true, 1.5] into numbers and ["a", 1] into text.
    objects = np.asarray(prediction, dtype=object)
    if any(map(_is_binary, objects.flat)):
        places = objects.reshape(-1)
        places[:] = [_binary(each, body) if _is_binary(each) else each for each in places]
    types = set(map(type, objects.flat))
    if list in types:
        raise _bad("has ragged predictions", body)
    if types <= {int}:
        return _whole(objects) if types else objects.astype(np.float64)
    if types <= {int, float}:
        try:
            return objects.astype(np.float64)
        except OverflowError:
            raise _bad("has numbers beyond any float", body) from None
    if types == {bool}:
        return objects.astype(np.bool_)
    if types <= {str, bytes}:
        return objects
    raise _bad("has predictions that are not all numbers, all booleans or all text", body)


def _whole(objects: Array) -> Array:
    for dtype in (np.int64, np.uint64):
        with contextlib.suppress(OverflowError):
            return objects.astype(dtype)
    return objects


def _is_binary(value: object) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _binary(value: dict[str, str], body: bytes) -> bytes:
    try:
        return base64.b64decode(value["b64"], validate=True)
    except ValueError:
        raise _bad('has a "b64" that is not base64', body) from None


def disagreement(
    got: Arrays, expected: npt.ArrayLike | Mapping[str, npt.ArrayLike], *, rtol: float, atol: float
) -> str | None:
    """Return how a prediction differs from the expected output; ``None`` if they agree.

    Outputs must have the same names; an answer may omit the name of a single output. Whole numbers,
    booleans and text must be equal. Floats are compared with the tolerances, and NaN agrees with
    NaN; the answer is first rounded to the model's type.
    """
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping) and len(expected) == 1:
            got = dict.fromkeys(expected, got)
        if not isinstance(got, Mapping) or got.keys() != expected.keys():
            return f"its prediction has {_names(got)}, the model's has {_names(expected)}"
        for name, want in expected.items():
            if wrong := disagreement(got[name], want, rtol=rtol, atol=atol):
                return f"output {name!r}: {wrong}"
        return None
    if isinstance(got, Mapping):
        return f"its prediction has {_names(got)}, the model's has {_names(expected)}"
    return _difference(got, np.asarray(expected), rtol, atol)


def _names(outputs: object) -> str:
    if isinstance(outputs, Mapping):
        return f"outputs named {_cut(', '.join(map(repr, outputs)))}"
    return "one output without a name"


def _difference(got: Array, want: Array, rtol: float, atol: float) -> str | None:
    if want.dtype.name == "bfloat16":
        want = want.astype(np.float32)
    if got.shape != want.shape:
        return f"its prediction has shape {got.shape}, the model's has {want.shape}"
    sorts = _sort(got), _sort(want)
    if sorts[0] != sorts[1]:
        return f"its prediction is of {sorts[0]}, the model's of {sorts[1]}"
    if "f" not in (got.dtype.kind, want.dtype.kind):
        left, right = (list(map(_comparable, each.reshape(-1).tolist())) for each in (got, want))
        places = [n for n, pair in enumerate(zip(left, right, strict=True)) if pair[0] != pair[1]]
        if not places:
            return None
        return (
            f"{len(places)} of {want.size} values of its prediction differ from the model's; "
            f"the first: got {_shown(left[places[0]])}, "
            f"expected {_shown(right[places[0]])}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = got.astype(want.dtype) if want.dtype.kind == "f" else got
        one, other = rounded.astype(np.float64), want.astype(np.float64)
        if np.allclose(one, other, rtol=rtol, atol=atol, equal_nan=True):
            return None
        worst = float(np.nanmax(np.abs(one - other))) if one.size else 0.0
    return (
        f"its prediction differs from the model's by up to {worst:.3g} "
        f"(allowed: rtol={rtol:g}, atol={atol:g}); got {_short(got)}, expected {_short(want)}"
    )


def _sort(array: Array) -> str:
    if array.dtype.kind == "b":
        return "booleans"
    if array.dtype.kind in "US":
        return "text"
    if array.dtype.kind == "O":
        types = set(map(type, array.flat))
        if types <= {str, bytes}:
            return "text"
        return "booleans" if types == {bool} else "numbers"
    return "numbers"


def _comparable(value: object) -> object:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _short(values: Array) -> str:
    return np.array2string(values, precision=4, threshold=12, separator=", ").replace("\n", "")


def _shown(value: object) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"


def excerpt(body: bytes) -> str:
    """Return the beginning of a body, on one line, for an error message."""
    # Redacted before it is cut: part of a secret would not be recognized.
    text = redact(body[:_LOOKED_INTO].decode("utf-8", "replace"))
    return _cut(" ".join(text.split()))


def _bad(what: str, body: bytes) -> BadResponseError:
    return BadResponseError(
        f'The answer {what}; expected {{"predictions": [[…]]}}, '
        f"got {len(body)} bytes: {excerpt(body)!r}"
    )
