"""The quick ways from a request's bytes to arrays.

An image of 28 x 28 pixels is 5 to 17 kB of JSON, and reading it is most of what this server does
besides running the model. Both ways here either return exactly what the exact way
(``rapid_json.py``, ``tensors.py``) would, or None, upon which the exact way reads the request
again and finds out what is odd or wrong about it. They never raise.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.servers.savedmodel_server.signatures import (
    DEFAULT_SIGNATURE,
    DType,
    Signature,
)
from pytest_servebench.servers.savedmodel_server.tensors import INT_RANGES, PredictRequest

Array = npt.NDArray[Any]

_HEAD = re.compile(
    rb"[ \t\n\r]*\{[ \t\n\r]*"
    rb'(?:"signature_name"[ \t\n\r]*:[ \t\n\r]*"([A-Za-z0-9_]*)"[ \t\n\r]*,[ \t\n\r]*)?'
    rb'"(instances|inputs)"[ \t\n\r]*:[ \t\n\r]*'
)
_TAIL = re.compile(rb"[ \t\n\r]*\}")
_NUMBER_BYTES = b"0123456789+-.eE"
_SPACE_BYTES = b" \t\n\r"
# Every byte of a number becomes 0, so that "number next to bracket" is one of two fixed pairs.
_NUMBERS_TO_ZERO = bytes.maketrans(_NUMBER_BYTES, b"0" * len(_NUMBER_BYTES))
_PIECE = 32 * 1024  # an image is read in one go; of a large batch, some tenths of a millisecond
_decode_one = json.JSONDecoder().raw_decode


class _OddError(Exception):
    """The request is not for the quick way at hand."""


def _require(condition: object) -> None:
    if not condition:
        raise _OddError


def decode(body: bytes, signatures: Mapping[str, Signature]) -> PredictRequest | None:
    """Read an ordinary predict request, or return None for the exact way to read."""
    return decode_dense(body, signatures) or decode_plain(body, signatures)


def decode_dense(body: bytes, signatures: Mapping[str, Signature]) -> PredictRequest | None:
    """Read a request for the one input of a signature whose sizes are all known but the first."""
    try:
        return _dense(body, signatures)
    except (_OddError, ValueError):
        return None


def decode_plain(body: bytes, signatures: Mapping[str, Signature]) -> PredictRequest | None:
    """Read a request of numbers for any signature, through Python's own JSON parser."""
    try:
        return _plain(body, signatures)
    except (_OddError, ValueError, OverflowError, RecursionError):
        return None


def _dense(body: bytes, signatures: Mapping[str, Signature]) -> PredictRequest:
    """Compare the brackets with those the shape must have; read what is between as one flat list.

    So no list is made for every pixel, which saves up to half of the time. It is right because

    * brackets and commas alone, in order, are those of an array of that shape, so each stretch
      between two commas is opening brackets, then closing ones;
    * no number stands before an opening or after a closing bracket, so a number in a stretch can
      only stand between the two groups;
    * the flat list is valid JSON, so there is exactly one number in each stretch, in one piece.
    """
    head = _HEAD.match(body)
    if head is None:
        raise _OddError
    name = (head[1] or b"").decode()
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None or len(signature.inputs) != 1:
        raise _OddError
    ((input_name, info),) = signature.inputs.items()
    if not info.dims or any(size < 1 for size in info.dims[1:]):
        raise _OddError
    end = body.rfind(b"]") + 1
    _require(end > head.end() and _TAIL.match(body, end))
    value = body[head.end() : end]
    zeroed = value.translate(_NUMBERS_TO_ZERO, _SPACE_BYTES)
    _require(b"0[" not in zeroed and b"]0" not in zeroed)
    skeleton = zeroed.translate(None, b"0")
    shape = info.dims[1:]
    each = _skeleton(shape)
    count = (len(skeleton) - 1) // (len(each) + 1)
    _require(count and skeleton == b"[" + b",".join([each] * count) + b"]")
    array = _to_dtype(_flat_numbers(value.translate(None, b"[]")), info.dtype)
    arrays = {input_name: array.reshape(count, *shape)}
    return PredictRequest(head[2] == b"instances", name, arrays)


def _flat_numbers(text: bytes) -> list[object]:
    """Read numbers between commas, piece by piece: the parser holds the GIL while it reads one.

    A piece that is empty, because a comma has nothing after it, gives no number, so that the
    array has too few for its shape.
    """
    numbers: list[object] = []
    start = 0
    while start < len(text):
        end = text.find(b",", start + _PIECE)
        if end < 0:
            end = len(text)
        numbers += json.loads(b"[" + text[start:end] + b"]")
        start = end + 1
    return numbers


@functools.lru_cache(maxsize=64)
def _skeleton(shape: tuple[int, ...]) -> bytes:
    """Return the brackets and commas of an array of that shape."""
    text = b""
    for size in reversed(shape):
        text = b"[" + b",".join([text] * size) + b"]"
    return text


def _plain(body: bytes, signatures: Mapping[str, Signature]) -> PredictRequest:
    # Escapes and words are read alike by both parsers only where they are right.
    _require(b"\\" not in body and b"true" not in body and b"false" not in body)
    document, _ = _decode_one(body.decode("ascii").lstrip(" \t\n\r"))
    if not isinstance(document, dict):
        raise _OddError
    name = document.pop("signature_name", None)
    _require(name is None or isinstance(name, str))
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None or len(document) != 1:
        raise _OddError
    ((key, value),) = document.items()
    _require(key in ("inputs", "instances"))
    columns, names = _columns(value, key == "instances", signature)
    # Names that occur twice are read differently, and strings are not numbers: count the quotes.
    strings = names + (1 if name is None else 3)
    _require(body.count(b'"', 0, body.rfind(b"}")) == 2 * strings)
    arrays = {
        input_name: _to_dtype(column, signature.inputs[input_name].dtype)
        for input_name, column in columns.items()
    }
    return PredictRequest(key == "instances", name or "", arrays)


def _columns(value: object, row: bool, signature: Signature) -> tuple[dict[str, object], int]:
    """Return each input's values, and how many names there were in the request for that."""
    wanted = signature.inputs.keys()
    if isinstance(value, dict) and not row:
        _require(value.keys() == wanted)
        return value, len(value)
    if not isinstance(value, list) or not value:
        raise _OddError
    if isinstance(value[0], dict):
        _require(row and all(isinstance(one, dict) and one.keys() == wanted for one in value))
        return {name: [one[name] for one in value] for name in wanted}, len(wanted) * len(value)
    _require(len(wanted) == 1)
    return dict.fromkeys(wanted, value), 0


def _to_dtype(numbers: object, dtype: DType) -> Array:
    """Return numbers, in lists of lists, as an array."""
    _require(isinstance(numbers, list))
    array = np.array(numbers)
    _require(array.size)
    if dtype.word in ("float", "double"):
        _require(array.dtype.kind in "iuf")
        wide = array.astype(np.float64, copy=False)
        # Infinite is what Python makes of 1e309, which the real server refuses.
        _require(np.isfinite(wide).all())
        with np.errstate(over="ignore"):
            return wide.astype(dtype.numpy, copy=False)
    _require(array.dtype.kind == "i" and dtype.word in INT_RANGES)
    low, high = INT_RANGES[dtype.word]
    _require(low <= array.min() and array.max() < high)
    return array.astype(dtype.numpy, copy=False)
