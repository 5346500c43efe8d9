"""The weights as a file: safetensors, read with NumPy alone, so that no framework is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from model_build.files import write_atomically
from pytest_servebench.errors import ModelError


@dataclass(frozen=True)
class Weights:
    """Parameters of one network.

    Attributes:
        width: the network's width multiplier.
        tensors: PyTorch's name of each parameter and running statistic to its float32 values, in
            PyTorch's layout (convolutions are ``(out, in, height, width)``).
    """

    width: float
    tensors: Mapping[str, npt.NDArray[np.float32]]


def load_weights(path: Path) -> Weights:
    """Read a safetensors file which :func:`save_weights` wrote.

    Raises:
        ModelError: the file is missing, damaged, or not one of this project's.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            width = float((file.metadata() or {})["width"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(
            f"cannot read the weights {path}: {error!r}. Restore the file with "
            f"'git checkout -- {path}', or train with 'python -m model_build.train'."
        ) from error
    return Weights(width, tensors)


def save_weights(path: Path, weights: Weights) -> None:
    """Write weights to a safetensors file, whole or not at all."""
    tensors = {
        name: np.ascontiguousarray(values, np.float32) for name, values in weights.tensors.items()
    }
    write_atomically(path, save(tensors, metadata={"width": str(weights.width)}))
