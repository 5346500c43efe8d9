"""Samples of a model: of every type and shape, each with what is expected."""

from typing import Any

import numpy as np
import pytest

from pytest_servebench.errors import ModelError
from pytest_servebench.model import ServedModel


def test_samples_of_a_model_with_names() -> None:
    numbers = np.arange(6).reshape(3, 2)
    model = ServedModel("m", {}, {"x": numbers, "y": numbers + 1}, {"sum": numbers.sum(axis=1)})
    assert model.samples == 3
    picked = model.input(2)
    assert isinstance(picked, dict)
    assert {name: value.tolist() for name, value in picked.items()} == {"x": [4, 5], "y": [5, 6]}
    assert model.output(2) == {"sum": 9}
    assert ServedModel("m", {}).samples == 0
    uneven = ServedModel("m", {}, {"x": numbers, "y": numbers[:2]}, numbers)
    with pytest.raises(ModelError, match=r"3 of inputs 'x', 2 of inputs 'y', 3 of outputs"):
        uneven.samples  # noqa: B018


@pytest.mark.parametrize(
    ("inputs", "facts"),
    [
        ({"a": np.float32(1)}, ("inputs 'a'", "(n, ...)")),
        (np.float32(1), ("inputs", "(n, ...)")),
        (None, ("inputs", "(n, ...)")),
        ({}, ("0 of inputs", "3 of outputs")),
        ({1: np.zeros((3, 2))}, ("named 1", "string")),
    ],
)
def test_inputs_that_are_no_samples_are_named(inputs: Any, facts: tuple[str, ...]) -> None:
    model = ServedModel("m", {}, inputs, np.zeros((3, 1)))
    with pytest.raises(ModelError) as raised:
        model.samples  # noqa: B018
    for fact in facts:
        assert fact in str(raised.value)
