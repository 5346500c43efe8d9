"""The arrays that a model takes and gives."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = Array | Mapping[str, Array]
"""One array without a name, or several by their names."""


def as_array(value: npt.ArrayLike) -> Array:
    """Return a value as an array; text and bytes as objects, so that NumPy keeps trailing NULs.

    Raises:
        ValueError: its parts differ in shape.
    """
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, (str, bytes)):
        value = value.item() if isinstance(value, np.generic) else value
        return np.array([value], dtype=object).reshape(())
    array = np.asarray(value)
    return np.asarray(value, dtype=object) if array.dtype.kind in "US" else array


def holds_text(array: Array) -> bool:
    """Return whether every element is text or bytes."""
    if array.dtype.kind == "O":
        return all(isinstance(each, (str, bytes)) for each in array.flat)
    return array.dtype.kind in "US"
