"""A model's signatures as plain data: all but the model itself does without TensorFlow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.servers.savedmodel_server.status import ApiError

DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class DType:
    """An element type.

    Args:
        name: the protocol buffer's name, ``DT_FLOAT``.
        word: the name in error texts, ``float``.
        numpy: the type of arrays which hold it, or None where JSON has no form for it.
    """

    name: str
    word: str
    numpy: np.dtype[Any] | None = None


def _dtype(name: str, word: str, numpy: object = None) -> DType:
    return DType(name, word, None if numpy is None else np.dtype(numpy))  # type: ignore[call-overload]


STRING = _dtype("DT_STRING", "string", object)
BOOL = _dtype("DT_BOOL", "bool", np.bool_)
FLOAT = _dtype("DT_FLOAT", "float", np.float32)

# By the number in a SignatureDef.
DTYPES = {
    0: _dtype("DT_INVALID", "INVALID"),
    1: FLOAT,
    2: _dtype("DT_DOUBLE", "double", np.float64),
    3: _dtype("DT_INT32", "int32", np.int32),
    4: _dtype("DT_UINT8", "uint8", np.uint8),
    5: _dtype("DT_INT16", "int16", np.int16),
    6: _dtype("DT_INT8", "int8", np.int8),
    7: STRING,
    8: _dtype("DT_COMPLEX64", "complex64"),
    9: _dtype("DT_INT64", "int64", np.int64),
    10: BOOL,
    11: _dtype("DT_QINT8", "qint8"),
    12: _dtype("DT_QUINT8", "quint8"),
    13: _dtype("DT_QINT32", "qint32"),
    14: _dtype("DT_BFLOAT16", "bfloat16"),
    15: _dtype("DT_QINT16", "qint16"),
    16: _dtype("DT_QUINT16", "quint16"),
    17: _dtype("DT_UINT16", "uint16"),
    18: _dtype("DT_COMPLEX128", "complex128"),
    19: _dtype("DT_HALF", "half"),
    20: _dtype("DT_RESOURCE", "resource"),
    21: _dtype("DT_VARIANT", "variant"),
    22: _dtype("DT_UINT32", "uint32", np.uint32),
    23: _dtype("DT_UINT64", "uint64", np.uint64),
}


@dataclass(frozen=True)
class TensorInfo:
    """One input or output: its tensor, type and sizes (-1: any size; None: any rank)."""

    tensor: str
    dtype: DType
    dims: tuple[int, ...] | None


@dataclass(frozen=True)
class Signature:
    """One signature: its named inputs and outputs, and the method it is made for."""

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    method: str = "tensorflow/serving/predict"


def check_shapes(inputs: Mapping[str, npt.NDArray[Any]], signature: Signature) -> None:
    """Refuse inputs whose shapes the signature rules out.

    TensorFlow does not check this for a SavedModel, and with oneDNN a convolution over a tensor
    of another rank ends the whole process with SIGABRT.

    Raises:
        ApiError: for the first input that does not fit.
    """
    for name, array in inputs.items():
        info = signature.inputs[name]
        if info.dims is not None and not _fits(array.shape, info.dims):
            raise ApiError(
                f"Shape of tensor {info.tensor} {shape_text(array.shape)} is not compatible with "
                f"expected shape {shape_text(info.dims)}."
            )


def _fits(shape: Sequence[int], dims: Sequence[int]) -> bool:
    return len(shape) == len(dims) and all(
        want in (-1, have) for have, want in zip(shape, dims, strict=True)
    )


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape in TensorFlow's notation, ``[?,28,28,1]``."""
    return "[" + ",".join("?" if size < 0 else str(size) for size in shape) + "]"
