"""Samples of a model: of every type and shape, each with what is expected."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_servebench import argmax_equal
from pytest_servebench.errors import BadResponseError, ModelError
from pytest_servebench.measure.traffic import of_model
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols import HttpAnswer, KServeV1
from pytest_servebench.values.arrays import Arrays


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


def test_artifacts_are_paths() -> None:
    text: Any = {"onnx": "b.onnx"}
    assert ServedModel("m", text).artifacts == {"onnx": Path("b.onnx")}
    with pytest.raises(ModelError, match=r"'m'.*'onnx': None.*path"):
        ServedModel("m", {"onnx": None})  # type: ignore[dict-item]


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


def test_samples_whose_shapes_differ() -> None:
    model = ServedModel(
        "m",
        {},
        inputs={"ids": [np.array([1, 2]), [3]], "name": ["a", "b\0"]},
        outputs=[b"x\0", b"y"],
    )
    assert model.samples == 2
    assert [one.tolist() for one in arrays(model.input(0))] == [[1, 2], "a"]
    assert [one.tolist() for one in arrays(model.input(1))] == [[3], "b\0"]
    assert arrays(model.output(0))[0].item() == b"x\0"  # NumPy would drop the NUL
    assert model.check(0, np.array(b"x\0", object)) is None
    assert model.check(0, np.array(b"x", object)) is not None


@pytest.mark.filterwarnings("error")
def test_a_sample_of_parts_that_differ_in_shape() -> None:
    ragged = [1, [[1, 2], [3]]]
    with pytest.raises(ModelError, match=r"input 'x' 1 of the model 'm' is not an array"):
        ServedModel("m", {}, {"x": ragged}, [1, 2]).input(1)
    with pytest.raises(ModelError, match="output 1 of the model 'm' is not an array"):
        ServedModel("m", {}, [1, 2], ragged).check(1, np.zeros(2))


def test_samples_of_an_array_of_text() -> None:
    """NumPy's own strings are text like others."""
    model = ServedModel("m", {}, np.array(["a", "b"]), np.array([b"A", b"B"]))
    assert type(arrays(model.input(1))[0].item()) is str
    assert model.check(1, np.array("B", object)) is None
    assert model.check(0, np.array("B", object)) is not None


def arrays(values: Arrays) -> list[Any]:
    return list(values.values()) if isinstance(values, dict) else [values]


TWO_OUTPUTS = {"logits": np.zeros((1, 2)), "label": np.array(["a"])}


def test_a_tolerance_for_each_output() -> None:
    outputs = {"logits": np.zeros((1, 2)), "scores": np.zeros((1, 2))}
    model = ServedModel("m", {}, np.zeros((1, 1)), outputs, atol={"logits": 0.5})
    close = {"logits": np.array([0.4, 0]), "scores": np.array([5e-5, 0])}
    assert model.check(0, close) is None
    wrong = model.check(0, {**close, "scores": np.array([0.4, 0])})
    assert wrong is not None
    assert "'scores'" in wrong
    assert "atol=0.0001" in wrong


@pytest.mark.parametrize(
    ("outputs", "tolerances", "facts"),
    [
        (TWO_OUTPUTS, {"rtol": {"logit": 0.1}}, ("rtol", "'logit'", "did you mean 'logits'")),
        (np.zeros((1, 2)), {"atol": {"logits": 0.1}}, ("atol", "'logits'", "no names")),
        (TWO_OUTPUTS, {"atol": {"logits": "0.1"}}, ("atol", "'logits'", "'0.1'", "a number")),
        (TWO_OUTPUTS, {"rtol": -1}, ("rtol=-1", "a number")),
        (TWO_OUTPUTS, {"atol": float("nan")}, ("atol=nan", "a number")),
    ],
)
def test_tolerances_that_are_none(outputs: Any, tolerances: Any, facts: tuple[str, ...]) -> None:
    with pytest.raises(ModelError) as raised:
        ServedModel("m", {}, np.zeros((1, 1)), outputs, **tolerances)
    for fact in ("'m'", *facts):
        assert fact in str(raised.value)


def test_one_text_is_not_a_list_of_samples() -> None:
    with pytest.raises(ModelError, match="inputs of the model 'm' are one str: give a list"):
        ServedModel("m", {}, "hello", ["HELLO"]).samples  # noqa: B018


def test_an_expectation_may_do_without_outputs() -> None:
    seen: list[object] = []

    def expect(got: Arrays, expected: object) -> bool:
        seen.append(expected)
        return bool(np.isfinite(np.asarray(got)).all())

    model = ServedModel("m", {}, np.zeros((2, 1)), expect=expect)
    assert model.samples == 2
    assert model.check(1, np.array([1.0])) is None
    assert model.check(1, np.array([np.nan])) == "expect does not accept its prediction"
    assert seen == [None, None]
    with pytest.raises(ModelError, match=r"2 of inputs, 0 of outputs.*expect="):
        ServedModel("m", {}, np.zeros((2, 1))).samples  # noqa: B018


def test_an_expectation_gets_outputs_of_the_same_form() -> None:
    """Some protocols name a single output, and some leave its name out."""
    got = np.array([0.1, 0.9])
    for outputs in (np.array([[1, 2]]), {"logits": np.array([[1, 2]])}):
        model = ServedModel("m", {}, np.zeros((1, 1)), outputs, expect=argmax_equal)
        assert model.check(0, got) is None
        assert model.check(0, {"logits": got}) is None
        assert "largest at 0" in str(model.check(0, got[::-1]))


def test_a_load_names_the_input_that_cannot_be_sent() -> None:
    inputs = np.array([[1.0], [np.nan]])
    model = ServedModel("m", {}, inputs, inputs)
    with pytest.raises(ModelError, match=r"Input 1 of the model 'm': .*NaN"):
        of_model(model, KServeV1("m"))


def test_a_load_checks_answers_by_the_models_expectation() -> None:
    inputs = np.array([[1.0], [2.0]])
    right, wrong = (HttpAnswer(200, b'{"predictions": [[%d]]}' % number) for number in (2, 9))
    for expect, reason in ((None, "differs from the model's"), (small, "9.0 is too large")):
        traffic = of_model(ServedModel("m", {}, inputs, inputs, expect=expect), KServeV1("m"))
        traffic.check(1, right)
        with pytest.raises(BadResponseError, match=reason):
            traffic.check(1, wrong)


def small(got: Any, expected: Any) -> str | None:
    return None if got[0] < 3 else f"{float(got[0])} is too large"
