"""A prediction is right within tolerances, or if a function accepts it."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pytest_servebench.errors import BadResponseError, ModelError
from pytest_servebench.protocols.json_values import output
from pytest_servebench.values.arrays import Arrays
from pytest_servebench.values.expectations import (
    Expectation,
    argmax_equal,
    cosine,
    disagreement,
    fields,
    said_by,
)


@pytest.mark.parametrize(
    ("got", "expected", "words"),
    [
        ([1, 2], [1, 3], "1 of 2 .*got 2, expected 3"),
        ([True, False], [True, True], "1 of 2"),
        ([True], [1.0], "of booleans, the model's of numbers"),
        ([1], ["1"], "of numbers, the model's of text"),
        (["a"], ["b"], "got b'a', expected b'b'"),
        ([1.5], [1], "got 1.5, expected 1"),
        ([1.00001], [1], "got 1.00001, expected 1"),
        ([float(2**60)], [2**60 + 1], f"expected {2**60 + 1}"),
        ([np.nan, 1.0], [np.nan, 2.0], "by up to 1"),
        ([np.nan], [1.0], "NaN .*got .nan"),
        ([1.0], [np.nan], "NaN .*expected .nan"),
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


TEN = np.arange(10.0)


@pytest.mark.parametrize(
    ("expect", "got", "expected", "words"),
    [
        (argmax_equal, TEN * 2, TEN, None),
        (argmax_equal, -TEN, TEN, "largest at 0, the model's at 9"),
        (argmax_equal, {"a": [TEN, TEN]}, {"a": np.array([TEN, -TEN])}, "'a'.*9, 9.*9, 0"),
        (argmax_equal, TEN, TEN[1:], r"shape \(10,\), the model's has \(9,\)"),
        (argmax_equal, {"a": TEN}, {"a": TEN, "b": TEN}, "named 'a', the model's.*'a', 'b'"),
        (argmax_equal, np.array("x"), np.array("x"), "no axis"),
        (argmax_equal, np.array(["x"]), np.array(["x"]), "text"),
        (argmax_equal, TEN * np.nan, TEN[::-1], "has NaN"),
        (argmax_equal, {"cat": np.array(0.7), "dog": np.array(0.2)}, np.array("cat"), None),
        (argmax_equal, {"cat": np.array(0.7)}, np.array("cat", object), None),
        (argmax_equal, {"cat": np.array(0), "dog": np.array(1.0)}, np.array("cat"), "for 'dog'"),
        (argmax_equal, {}, np.array("cat"), "not all single numbers"),
        (argmax_equal, {"cat": np.array(np.nan)}, np.array("cat"), "has NaN"),
        (argmax_equal, {"cat": np.array("x")}, np.array("cat"), "not all single numbers"),
        (argmax_equal, TEN, None, "no outputs to compare"),
        (cosine(0.999), TEN * 3, TEN, None),
        (cosine(0.999), TEN.astype(np.float16) + 1, TEN, "0.996[0-9]+ .*below 0.999"),
        (cosine(0.9), [TEN, -TEN], np.array([TEN, TEN]), "similarity of -1 "),
        (cosine(-1), TEN * 0, TEN, "nan"),
        (fields("a"), {"a": TEN, "took_ms": np.array(3)}, {"a": TEN}, None),
        (fields("a"), {"a": TEN, "b": TEN}, {"a": TEN, "b": TEN * 2}, None),
        (fields("a"), {"a": TEN + 1, "b": TEN}, TEN, "by up to 1"),
        (fields("a", atol=1), {"a": TEN + 1, "b": TEN}, TEN, None),
        (fields("a"), {"b": TEN, "c": TEN}, TEN, "named 'b', 'c', and no 'a'"),
        (fields("a", "b"), TEN, {"a": TEN, "b": TEN}, "without a name, and no 'a'"),
        (fields("a"), {"a": TEN, "b": TEN}, {"A": TEN}, "model has outputs named 'A', and no 'a'"),
        (fields("a", expect=argmax_equal), {"a": TEN * 2, "b": TEN}, {"a": TEN}, None),
        (fields("a", expect=argmax_equal), {"a": -TEN, "b": TEN}, {"a": TEN}, "largest at 0"),
    ],
)
def test_ready_expectations(
    expect: Expectation, got: Any, expected: Any, words: str | None
) -> None:
    said = said_by(expect, got, expected)
    assert re.search(words, said or "") if words else said is None


@pytest.mark.parametrize(
    ("make", "facts"),
    [
        (lambda: cosine(1.1), r"1\.1.*from -1 to 1"),
        (lambda: cosine(np.nan), "nan.*from -1 to 1"),
        (fields, "names"),
    ],
)
def test_an_expectation_that_nothing_meets(make: Callable[[], Expectation], facts: str) -> None:
    with pytest.raises(ModelError, match=facts):
        make()


def refuse(got: object, expected: object) -> None:
    assert got == expected, "not the same"


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        (lambda got, expected: "too small", "too small"),
        (lambda got, expected: np.bool_(False), "does not accept"),
        (lambda got, expected: np.bool_(True), None),
        (lambda got, expected: "", None),
        (lambda got, expected: 0.3, "returned 0.3: return text, True, False or None"),
        (refuse, "not the same"),
    ],
)
def test_what_an_expectation_may_say(expect: Expectation, words: str | None) -> None:
    said = said_by(expect, np.array(1), np.array(2))
    assert words in said if words and said else said is words
