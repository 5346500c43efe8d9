"""A prediction is right within tolerances, or if a function accepts it."""

import re

import numpy as np
import pytest

from pytest_servebench.arrays import Arrays
from pytest_servebench.errors import BadResponseError
from pytest_servebench.expectations import disagreement
from pytest_servebench.protocols.json_values import output


@pytest.mark.parametrize(
    ("got", "expected", "words"),
    [
        ([1, 2], [1, 3], "1 of 2 .*got 2, expected 3"),
        ([True, False], [True, True], "1 of 2"),
        ([True], [1.0], "of booleans, the model's of numbers"),
        ([1], ["1"], "of numbers, the model's of text"),
        (["a"], ["b"], "got b'a', expected b'b'"),
        ([1.5], [1], "by up to 0.5"),
        ([np.nan, 1.0], [np.nan, 2.0], "by up to 1"),
        ([1.0], [[1.0]], "shape"),
        ([3.0], [3], None),
        ([3], [3.0], None),
        ([np.nan], [np.nan], None),
        ([0.1], [np.float32(0.1)], None),
        (["a"], [b"a"], None),
    ],
)
def test_disagreement(got: list[object], expected: list[object], words: str | None) -> None:
    allowed = 1e-4 if words else 0.0
    said = disagreement(
        output(got, BadResponseError), np.array(expected), rtol=allowed, atol=allowed
    )
    assert re.search(words, said or "") if words else said is None


ONE, TWO = np.array([1.0]), np.array([2.0])


@pytest.mark.parametrize(
    ("got", "expected", "words"),
    [
        ({"a": ONE, "b": TWO}, {"b": TWO, "a": ONE}, None),
        (ONE, {"a": ONE}, None),  # TensorFlow Serving leaves out the name of a single output
        ({"a": ONE}, ONE, None),  # the Open Inference Protocol always has one
        ({"a": TWO}, ONE, "by up to 1"),
        ({"a": ONE, "b": TWO}, {"a": ONE, "b": ONE}, "output 'b': .*by up to 1"),
        (TWO, {"a": ONE}, "output 'a': .*by up to 1"),
        ({"a": ONE}, {"a": ONE, "b": ONE}, "named 'a', the model's has outputs named 'a', 'b'"),
        ({"a": ONE, "b": TWO}, ONE, "named 'a', 'b', the model's has one output without a name"),
        (ONE, {"a": ONE, "b": ONE}, "one output without a name, the model's has outputs named"),
    ],
)
def test_disagreement_of_named_outputs(got: Arrays, expected: Arrays, words: str | None) -> None:
    said = disagreement(got, expected, rtol=1e-4, atol=1e-4)
    assert re.search(words, said or "") if words else said is None
