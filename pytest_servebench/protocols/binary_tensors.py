"""Tensors in binary form, and their types by the names of the Open Inference Protocol."""

import struct
from typing import Any, Final

import numpy as np

from pytest_servebench.errors import ModelError
from pytest_servebench.values.arrays import Array, holds_text

_BFLOAT16: Final = "BF16"
BYTES: Final = "BYTES"
_NUMBERS: Final = {
    "BOOL": np.dtype(np.bool_),
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
DATATYPES: Final = frozenset({*_NUMBERS, BYTES, _BFLOAT16})
"""The protocol's types of tensors."""

_NAMES: Final = {dtype: name for name, dtype in _NUMBERS.items()}
_PYTHON_TYPES: Final[dict[str, set[type]]] = {
    "b": {bool}, "i": {int}, "u": {int}, "f": {int, float}
}  # fmt: skip


def datatype(array: Array) -> str:
    """Return the protocol's name of an array's type.

    Raises:
        ModelError: it has none.
    """
    if array.dtype.name == "bfloat16":
        return _BFLOAT16
    if holds_text(array):
        return BYTES
    name = _NAMES.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise ModelError(
            f"An input is of type {array.dtype}, which the protocol does not have: "
            "give integers, floats of 16 to 64 bits, booleans, text or bytes."
        )
    return name


def written(array: Array) -> bytes:
    """Return an array in row-major order and little endian; text and bytes after their lengths.

    Raises:
        ModelError: its type is not one of the protocol's, or UTF-8 cannot encode its text.
    """
    name = datatype(array)
    if name == _BFLOAT16:
        return np.ascontiguousarray(array).view(np.uint16).astype("<u2").tobytes()
    if name != BYTES:
        return array.astype(_NUMBERS[name], copy=False).tobytes()
    return b"".join(struct.pack("<I", len(part)) + part for part in encoded(array))


def encoded(array: Array) -> list[bytes]:
    """Return the elements of an array of text or bytes as bytes.

    Raises:
        ModelError: UTF-8 cannot encode its text.
    """
    try:
        return [each.encode() if isinstance(each, str) else bytes(each) for each in array.flat]
    except UnicodeEncodeError as error:
        raise ModelError(f"An input holds text that UTF-8 cannot encode: {error}.") from None


def read(content: bytes, name: str) -> Array:
    """Return the elements of a binary tensor; bytes stay bytes, BF16 becomes float32.

    Raises:
        ValueError: the content does not fit its type.
    """
    if name == _BFLOAT16:
        return (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32)
    if name != BYTES:
        dtype = _NUMBERS[name]
        return np.frombuffer(content, dtype).astype(dtype.newbyteorder("="))
    parts, place = [], 0
    while place < len(content):
        if place + 4 > len(content):
            raise ValueError("the last length is cut off")
        (length,) = struct.unpack_from("<I", content, place)
        place += 4 + length
        if place > len(content):
            raise ValueError(f"the last element has {length} bytes, of which some are missing")
        parts.append(content[place - length : place])
    return _objects(parts)


def dtype_of(name: str) -> np.dtype[Any]:
    """Return NumPy's type of a tensor's elements; objects for bytes."""
    if name == BYTES:
        return np.dtype(object)
    return np.dtype(np.float32) if name == _BFLOAT16 else _NUMBERS[name].newbyteorder("=")


def of_json(data: Any, name: str) -> Array:
    """Return the elements of a tensor's ``data``, flat or nested; text stays text.

    Raises:
        ValueError: the data does not fit its type.
        OverflowError: a number is beyond its type.
    """
    objects = np.asarray(data, dtype=object).reshape(-1)
    types = set(map(type, objects))
    dtype = dtype_of(name)
    allowed = {str} if name == BYTES else _PYTHON_TYPES[dtype.kind]
    if not types <= allowed:
        others = ", ".join(sorted(each.__name__ for each in types - allowed))
        raise ValueError(f"its data has values of type {others}")
    if name == BYTES:
        return objects
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        if not all(bounds.min <= value <= bounds.max for value in objects):
            raise OverflowError(f"a number beyond {dtype}")  # NumPy 1 would wrap it around
    with np.errstate(over="ignore"):  # beyond the type it is infinite
        return objects.astype(dtype)


def _objects(parts: list[bytes]) -> Array:
    array = np.empty(len(parts), dtype=object)
    array[:] = parts
    return array
