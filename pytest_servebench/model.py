"""What is served: one model, packaged for each server kind that it supports."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import ModelError

Array = npt.NDArray[Any]
Arrays = Array | Mapping[str, Array]
"""One array without a name, or several by their names."""


def _nothing() -> Array:
    return np.empty(0)


@dataclass(frozen=True)
class ServedModel:
    """A model, packaged for one or more server kinds, with inputs and expected outputs.

    Attributes:
        name: what the model is called in reports.
        artifacts: server kind (``"tensorflow_serving"``, ``"torchserve"``, …) to what that kind
            serves: a directory of numbered SavedModel versions, or a ``.mar`` file; ``"onnx"`` to
            the ONNX file that several kinds serve. Tests of a kind without an artifact are
            skipped, with that reason.
        inputs: sample inputs, one request each; array of shape ``(n, *input_shape)``, or one for
            each of the model's inputs by name. Floats, integers, booleans, text and bytes keep
            their type when sent. Leave empty if tests send their own requests.
        outputs: what the model itself predicts for ``inputs``; shape ``(n, *output_shape)``, or one
            for each of its outputs by name.
        rtol: relative tolerance within which an answer must agree with ``outputs``.
        atol: absolute tolerance within which an answer must agree with ``outputs``; integers,
            booleans and text must be equal.
        input_source: where the inputs come from, in words for the report.
        weights_sha256: digest of the weights; two runs with different digests are not compared.
        served_names: server kind to the name under which that server offers the model;
            ``name`` if a kind is missing.
    """

    name: str
    artifacts: Mapping[str, Path]
    inputs: Arrays = field(default_factory=_nothing)
    outputs: Arrays = field(default_factory=_nothing)
    rtol: float = 1e-4
    atol: float = 1e-4
    input_source: str = "sample inputs of the model"
    weights_sha256: str = ""
    served_names: Mapping[str, str] = field(default_factory=dict)

    def served_name(self, kind: str) -> str:
        """Return the name under which a server of ``kind`` offers this model."""
        return self.served_names.get(kind, self.name)

    @property
    def samples(self) -> int:
        """Return the number of inputs, each with its expected outputs.

        Raises:
            ModelError: inputs and outputs differ in number, one has no axis of samples, or a name
                is not a string.
        """
        numbers: dict[str, int] = {}
        for what, arrays in (("inputs", self.inputs), ("outputs", self.outputs)):
            named = arrays if isinstance(arrays, Mapping) and arrays else {"": arrays}
            for name, array in named.items():
                if not isinstance(name, str):
                    raise ModelError(
                        f"The model {self.name!r} has {what} named {name!r}: give a string."
                    )
                each = f"{what} {name!r}" if name else what
                try:
                    numbers[each] = len(array)
                except TypeError:
                    raise ModelError(
                        f"The {each} of the model {self.name!r} have no axis of samples: give an "
                        "array of shape (n, ...), or leave inputs and outputs out."
                    ) from None
        if len(set(numbers.values())) > 1:
            counts = ", ".join(f"{number} of {name}" for name, number in numbers.items())
            raise ModelError(
                f"The model {self.name!r} has {counts}; give the expected output of each input."
            )
        return next(iter(numbers.values()), 0)

    def input(self, index: int) -> Arrays:
        """Return one sample input: that of a single request."""
        return _at(self.inputs, index)

    def output(self, index: int) -> Arrays:
        """Return what the model itself predicts for one sample input."""
        return _at(self.outputs, index)


def _at(arrays: Arrays, index: int) -> Arrays:
    if isinstance(arrays, Mapping):
        return {name: array[index] for name, array in arrays.items()}
    one: Array = arrays[index]
    return one


ModelFactory = Callable[[Collection[str]], ServedModel]
"""What ``servebench_model = "module:callable"`` names: it gets the keys of the artifacts that
the selected server kinds serve, builds these and nothing else, and returns a
:class:`ServedModel`."""
