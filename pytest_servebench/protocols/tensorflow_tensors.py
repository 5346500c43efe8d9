"""TensorFlow's tensors as messages of protobuf."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pytest_servebench.protocols import binary_tensors
from pytest_servebench.protocols.binary_tensors import BYTES
from pytest_servebench.protocols.json_values import Bad
from pytest_servebench.values.arrays import Array

if TYPE_CHECKING:
    from pytest_servebench.protocols.grpc_messages.tensorflow_serving_pb2 import Tensor

_TYPES: Final = {
    1: ("FP32", "float_val"), 2: ("FP64", "double_val"), 3: ("INT32", "int_val"),
    4: ("UINT8", "int_val"), 5: ("INT16", "int_val"), 6: ("INT8", "int_val"),
    7: (BYTES, "string_val"), 9: ("INT64", "int64_val"), 10: ("BOOL", "bool_val"),
    14: ("BF16", "half_val"), 17: ("UINT16", "int_val"), 19: ("FP16", "half_val"),
    22: ("UINT32", "uint32_val"), 23: ("UINT64", "uint64_val"),
}  # fmt: skip
"""Number of a type in TensorFlow to its name in :mod:`.binary_tensors`, and its field."""

_NUMBERS: Final = {name: number for number, (name, _) in _TYPES.items()}
_MOST_ELEMENTS: Final = 2**28  # a few bytes may stand for any number of equal elements


def write(tensor: Tensor, array: Array, *, as_content: bool = True) -> None:
    """Fill in an empty message.

    Args:
        tensor: the message.
        array: what it holds.
        as_content: whether numbers are bytes, else elements of the field for their type, as in the
            answers of TensorFlow Serving.

    Raises:
        ModelError: TensorFlow has no such type, or UTF-8 cannot encode the text.
    """
    name = binary_tensors.datatype(array)
    tensor.dtype = _NUMBERS[name]
    # Empty, too, for a scalar: without a shape, any rank would fit.
    tensor.tensor_shape.SetInParent()
    for size in array.shape:
        tensor.tensor_shape.dim.add().size = size
    if name == BYTES:
        tensor.string_val.extend(binary_tensors.encoded(array))
    elif as_content:
        tensor.tensor_content = binary_tensors.written(array)
    else:
        values = np.asarray(array).reshape(-1)
        if name in ("FP16", "BF16"):  # as their bits
            values = np.frombuffer(binary_tensors.written(values), "<u2")
        getattr(tensor, _TYPES[tensor.dtype][1]).extend(values.tolist())


def read(tensor: Tensor, wrong: Bad) -> Array:
    """Return the array; text is bytes, and bfloat16 becomes float32.

    Raises:
        BadResponseError: the message is not a tensor of a supported type.
    """
    if tensor.dtype not in _TYPES:
        raise wrong(f"has a tensor of TensorFlow's type {tensor.dtype}, which is not supported")
    name, field = _TYPES[tensor.dtype]
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    size = math.prod(shape)
    if tensor.tensor_shape.unknown_rank or min(shape, default=0) < 0 or size > _MOST_ELEMENTS:
        raise wrong(f"has a tensor of the shape {shape}")
    if tensor.tensor_content and name != BYTES:
        try:
            return binary_tensors.read(tensor.tensor_content, name).reshape(shape)
        except ValueError as error:
            raise wrong(f"has a tensor that is not {name} of {shape}: {error}") from None
    values = list(getattr(tensor, field))
    if len(values) > size:
        raise wrong(f"has a tensor of the shape {shape} with {len(values)} values")
    if len(values) < size:  # equal ones at the end are sent once
        values += [values[-1] if values else _default(name)] * (size - len(values))
    return _array(values, name).reshape(shape)


def _default(name: str) -> Any:
    return b"" if name == BYTES else 0


def _array(values: list[Any], name: str) -> Array:
    if name == BYTES:
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    if name in ("FP16", "BF16"):  # as their bits
        return binary_tensors.read(np.array(values, np.int64).astype("<u2").tobytes(), name)
    return np.array(values, dtype=binary_tensors.dtype_of(name))
