"""Arrays as JSON, and back: one encoder and one decoder for every protocol that speaks JSON.

The same input gives the same bytes, so that all servers are sent the same numbers.
"""

import base64
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import BadResponseError, ModelError
from pytest_servebench.values.arrays import Array, Arrays, as_array

_BITS: Final = {4: np.uint32, 8: np.uint64}

Bad = Callable[[str], BadResponseError]
"""Returns the error for an answer, from a phrase that says what is wrong with it."""


def in_json(inputs: npt.ArrayLike | Mapping[str, npt.ArrayLike]) -> str:
    """Return one array as compact JSON; several with names as one object.

    Whole numbers, booleans and text stay as they are; bytes become ``{"b64": "..."}``. A float is
    the shortest number that reads back as the same float32 (or float64), with a decimal point or an
    exponent: a handler that builds a tensor from an all-zero image gets floats too.

    Raises:
        ModelError: an input is empty, or has something that JSON cannot represent.
    """
    if isinstance(inputs, Mapping):
        return in_object({name: _named(name, each) for name, each in inputs.items()})
    array = checked_array(inputs)
    if array.size == 0:
        raise ModelError(f"An input of shape {array.shape} has no numbers to send.")
    parts = words(array)
    for size in reversed(array.shape):
        parts = [in_list(parts[i : i + size]) for i in range(0, len(parts), size)]
    return parts[0]


def _named(name: str, value: npt.ArrayLike) -> str:
    try:
        return in_json(value)
    except ModelError as error:
        raise ModelError(f"Input {name!r}: {error}") from None


def in_list(values: list[str]) -> str:
    """Return values that are JSON already as a list."""
    return f"[{','.join(values)}]"


def in_object(values: Mapping[str, str]) -> str:
    """Return values that are JSON already as an object."""
    return f"{{{','.join(f'{json.dumps(name)}:{value}' for name, value in values.items())}}}"


def checked_array(inputs: npt.ArrayLike) -> Array:
    """Return an input as an array.

    Raises:
        ModelError: its parts differ in shape.
    """
    try:
        return as_array(inputs)
    except ValueError as error:
        raise ModelError(f"An input is not an array: {error}.") from None


def words(array: Array) -> list[str]:
    """Return the elements of an array as JSON, in row-major order.

    Raises:
        ModelError: JSON cannot represent one of them.
    """
    if array.dtype.name in ("float16", "bfloat16", "longdouble", "float128"):
        # As float32 they read back exactly, both in their own type and as float32.
        array = array.astype(np.float32 if array.dtype.itemsize == 2 else np.float64)
    kind = array.dtype.kind
    flat = array.reshape(-1)
    if kind == "f":
        if not np.isfinite(flat).all():
            raise ModelError("An input holds NaN or infinity, which JSON cannot represent.")
        # By bit pattern, as np.unique calls 0.0 and -0.0 the same. Images have few distinct values.
        native = flat.astype(flat.dtype.newbyteorder("="), copy=False)
        bits, places = np.unique(native.view(_BITS[native.dtype.itemsize]), return_inverse=True)
        distinct = [str(value) for value in bits.view(native.dtype)]
        return [distinct[place] for place in places.reshape(-1).tolist()]
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


def parsed(body: bytes, bad: Bad) -> Any:
    """Return a body parsed as JSON.

    Raises:
        BadResponseError: it is not JSON.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise bad(f"is not JSON ({type(error).__name__})") from None


def parsed_object(body: bytes, bad: Bad) -> dict[str, Any]:
    """Return a body parsed as a JSON object that is not an error.

    Raises:
        BadResponseError: it is anything else.
    """
    answer = parsed(body, bad)
    if not isinstance(answer, dict):
        raise bad(f"is a JSON {type(answer).__name__}, not an object")
    if "error" in answer:
        raise bad("is an error")
    return answer


def prediction(value: Any, bad: Bad) -> Arrays:
    """Return the outputs in a JSON value, by name if it is an object; see :func:`output`."""
    if isinstance(value, dict) and not is_binary(value):
        return {name: output(each, bad) for name, each in value.items()}
    return output(value, bad)


def output(value: Any, bad: Bad) -> Array:
    """Return one output from a JSON value.

    Whole numbers become int64 (uint64 or Python integers if they are larger), other numbers
    float64, booleans stay booleans, text and bytes become an array of ``str`` or ``bytes``.

    Raises:
        BadResponseError: it is ragged, or mixes types.
    """
    # As objects first: NumPy would turn [true, 1.5] into numbers and ["a", 1] into text.
    objects = np.asarray(value, dtype=object)
    if any(map(is_binary, objects.flat)):
        places = objects.reshape(-1)
        places[:] = [_binary(each, bad) if is_binary(each) else each for each in places]
    types = set(map(type, objects.flat))
    if list in types:
        raise bad("has ragged predictions")
    if types <= {int}:
        return whole(objects) if types else objects.astype(np.float64)
    if types <= {int, float}:
        try:
            return objects.astype(np.float64)
        except OverflowError:
            raise bad("has numbers beyond any float") from None
    if types == {bool}:
        return objects.astype(np.bool_)
    if types <= {str, bytes}:
        return objects
    if dict in types:
        raise bad("has an object where an output should be")
    raise bad("has predictions that are not all numbers, all booleans or all text")


def whole(objects: Array) -> Array:
    """Return Python integers as int64; as uint64, or as they are, if they are larger."""
    low, high = min(objects.flat, default=0), max(objects.flat, default=0)
    for dtype in (np.int64, np.uint64):
        bounds = np.iinfo(dtype)
        if bounds.min <= low and high <= bounds.max:  # NumPy 1 would wrap what is beyond around
            return objects.astype(dtype)
    return objects


def is_binary(value: object) -> bool:
    """Return whether a JSON value stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _binary(value: dict[str, str], bad: Bad) -> bytes:
    try:
        return base64.b64decode(value["b64"], validate=True)
    except ValueError:
        raise bad('has a "b64" that is not base64') from None
