"""What is served: one model, packaged for each server kind that it supports."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pytest_servebench.errors import ModelError
from pytest_servebench.text.closest import closest
from pytest_servebench.values.arrays import Array, Arrays, as_array
from pytest_servebench.values.expectations import (
    TOLERANCE,
    Expectation,
    Tolerance,
    disagreement,
    said_by,
)

Samples = Array | Sequence[Any] | Mapping[str, Array | Sequence[Any]]
"""Samples of one array without a name, or of several by their names.

Those of one array have a leading axis of samples, or are a list if their shapes differ.
"""


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
            skipped, with that reason. Text is taken as a path.
        inputs: sample inputs, one request each; array of shape ``(n, *input_shape)``, or a list of
            ``n`` arrays, texts or bytes, whose shapes may differ; or one such for each of the
            model's inputs by name. Floats, integers, booleans, text and bytes keep their type when
            sent. Leave empty if tests send their own requests.
        outputs: what the model itself predicts for ``inputs``; shape ``(n, *output_shape)`` or a
            list of ``n``, or one for each of its outputs by name. May be left out if ``expect``
            needs none.
        rtol: relative tolerance within which an answer must agree with ``outputs``; one for all, or
            by name of the output.
        atol: absolute tolerance likewise; integers, booleans and text must be equal.
        expect: decides whether a prediction is right, instead of the tolerances:
            ``expect(got, expected)`` returns what is wrong, or ``False``, if it is not.
            :func:`argmax_equal`, :func:`cosine` and :func:`fields` are some.
        signature: name of the SavedModel's signature; by default, the server's.
        input_source: where the inputs come from, in words for the report.
        weights_sha256: digest of the weights; two runs with different digests are not compared.
        served_names: server kind to the name under which that server offers the model;
            ``name`` if a kind is missing.
    """

    name: str
    artifacts: Mapping[str, Path]
    inputs: Samples = field(default_factory=_nothing)
    outputs: Samples = field(default_factory=_nothing)
    rtol: Tolerance = TOLERANCE
    atol: Tolerance = TOLERANCE
    expect: Expectation | None = None
    signature: str = ""
    input_source: str = "sample inputs of the model"
    weights_sha256: str = ""
    served_names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check artifacts and tolerances.

        Raises:
            ModelError: an artifact is not a path, a tolerance is not a number, or it is for an
                output that the model does not have.
        """
        for kind, path in self.artifacts.items():
            if not isinstance(path, (str, os.PathLike)):
                raise ModelError(
                    f"The model {self.name!r}: artifacts={{{kind!r}: {path!r}}}: give the path of "
                    "a file or directory."
                )
        paths = {kind: Path(path) for kind, path in self.artifacts.items()}
        object.__setattr__(self, "artifacts", paths)
        for what in ("rtol", "atol"):
            self._check_tolerance(what, getattr(self, what))

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
        for what, samples in (("inputs", self.inputs), ("outputs", self.outputs)):
            if what == "outputs" and not self._has_outputs and self.expect is not None:
                continue
            named = samples if isinstance(samples, Mapping) and samples else {"": samples}
            for name, each in named.items():
                if not isinstance(name, str):
                    raise ModelError(
                        f"The model {self.name!r} has {what} named {name!r}: give a string."
                    )
                whose = f"{what} {name!r}" if name else what
                if isinstance(each, (str, bytes)):
                    raise ModelError(
                        f"The {whose} of the model {self.name!r} are one {type(each).__name__}: "
                        "give a list with one for each sample."
                    )
                try:
                    numbers[whose] = len(each)
                except TypeError:
                    raise ModelError(
                        f"The {whose} of the model {self.name!r} have no axis of samples: give an "
                        "array of shape (n, ...) or a list, or leave inputs and outputs out."
                    ) from None
        if len(set(numbers.values())) > 1:
            counts = ", ".join(f"{number} of {name}" for name, number in numbers.items())
            raise ModelError(
                f"The model {self.name!r} has {counts}; give the expected output of each input, or "
                "expect=, a function that needs none."
            )
        return next(iter(numbers.values()), 0)

    def input(self, index: int) -> Arrays:
        """Return one sample input: that of a single request.

        Raises:
            ModelError: it is not an array, as its parts differ in shape.
        """
        return self._at("input", self.inputs, index)

    def output(self, index: int) -> Arrays:
        """Return what the model itself predicts for one sample input.

        Raises:
            ModelError: as :meth:`input`.
        """
        return self._at("output", self.outputs, index)

    def check(self, index: int, got: Arrays) -> str | None:
        """Return what is wrong with a prediction for one sample input; ``None`` if it is right."""
        expected = self.output(index) if self._has_outputs else None
        if self.expect is not None:
            return said_by(self.expect, got, expected)
        assert expected is not None  # samples counts the outputs
        return disagreement(got, expected, rtol=self.rtol, atol=self.atol)

    def _at(self, what: str, samples: Samples, index: int) -> Arrays:
        named = samples if isinstance(samples, Mapping) else {"": samples}
        arrays = {}
        for name, each in named.items():
            try:
                arrays[name] = as_array(each[index])
            except ValueError as error:
                whose = f"{what} {name!r}" if name else what
                raise ModelError(
                    f"The {whose} {index} of the model {self.name!r} is not an array: {error}."
                ) from None
        return arrays if isinstance(samples, Mapping) else arrays[""]

    @property
    def _has_outputs(self) -> bool:
        outputs = self.outputs
        return bool(outputs) if isinstance(outputs, Mapping) else _length(outputs) > 0

    def _check_tolerance(self, what: str, given: object) -> None:
        by_name = given if isinstance(given, Mapping) else {"": given}
        for name, value in by_name.items():
            where = f"{what}={{{name!r}: {value!r}}}" if name else f"{what}={value!r}"
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float, np.floating))
                or not 0 <= value < math.inf
            ):
                raise ModelError(f"The model {self.name!r}: {where}: give a number from 0.")
            if not name:
                continue
            known = list(self.outputs) if isinstance(self.outputs, Mapping) else []
            if name not in known:
                close = closest(str(name), known)
                guess = f"; did you mean {close!r}?" if close else ""
                has = f"its outputs are {known}" if known else "its outputs have no names"
                raise ModelError(
                    f"The model {self.name!r}: {where}: it has no such output: {has}{guess}."
                )


def _length(samples: object) -> int:
    try:
        return len(samples)  # type: ignore[arg-type]
    except TypeError:
        return 1  # no axis of samples, which is reported when they are counted
