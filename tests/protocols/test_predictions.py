"""Both servers are sent the very same bytes, and only predictions are read as such."""

import json
import logging
import re
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.errors import BadResponseError, ModelError
from pytest_servebench.model import Arrays, ServedModel
from pytest_servebench.protocols.base import PredictionProtocol
from pytest_servebench.protocols.predictions import disagreement, instances_body, read_predictions
from pytest_servebench.protocols.tensorflow_serving import TensorFlowServingRest
from pytest_servebench.protocols.torchserve import TorchServeRest

TOKEN = "cKjqMB8i"
BOTH: list[PredictionProtocol] = [TensorFlowServingRest("m"), TorchServeRest("m", TOKEN)]
both = pytest.mark.parametrize("protocol", BOTH, ids=lambda each: type(each).__name__)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
arrays = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=0, max_dims=4, max_side=5), elements=floats
)


@given(arrays)
def test_body_reads_back_as_the_same_numbers(inputs: npt.NDArray[np.float32]) -> None:
    instances = json.loads(instances_body(inputs))["instances"]
    assert len(instances) == 1
    back = np.asarray(instances[0], np.float32)
    assert back.shape == inputs.shape
    assert back.tobytes() == inputs.tobytes()  # -0.0 too


@given(arrays)
def test_both_servers_get_the_same_bytes_each_time(inputs: npt.NDArray[np.float32]) -> None:
    bodies = {protocol.request(inputs).body for protocol in BOTH for _ in range(2)}
    assert len(bodies) == 1


def test_body_is_short() -> None:
    inputs = np.array([[0.1, 1.0], [0.0, 1e-7]], np.float32)
    assert instances_body(inputs) == b'{"instances":[[[0.1,1.0],[0.0,1e-07]]]}'


def test_numbers_of_an_empty_image_are_floats() -> None:
    """A handler's torch.tensor() of whole numbers would be one of integers."""
    parsed = json.loads(instances_body(np.zeros((2, 2), np.float32)))
    assert all(type(number) is float for row in parsed["instances"][0] for number in row)


def test_body_of_a_view_that_is_not_contiguous() -> None:
    inputs = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert json.loads(instances_body(inputs))["instances"] == [inputs.tolist()]


def test_body_of_nothing() -> None:
    with pytest.raises(ModelError, match=r"shape \(0, 28\) has no numbers"):
        instances_body(np.zeros((0, 28), np.float32))


def test_each_protocol_has_its_path_and_headers() -> None:
    json_type = ("Content-Type", "application/json")
    key = ("Authorization", f"Bearer {TOKEN}")
    for protocol, path, headers in (
        (TensorFlowServingRest("fashion"), "/v1/models/fashion:predict", {json_type}),
        (TorchServeRest("fashion"), "/predictions/fashion", {json_type}),
        (TorchServeRest("fashion", TOKEN), "/predictions/fashion", {json_type, key}),
    ):
        request = protocol.request(np.zeros(1, np.float32))
        assert (request.method, request.path) == ("POST", path)
        assert set(request.headers) == headers


@both
def test_a_name_cannot_leave_its_place_in_the_path(protocol: PredictionProtocol) -> None:
    odd = type(protocol)("a/b?c d")  # type: ignore[call-arg]
    assert "a%2Fb%3Fc%20d" in odd.request(np.zeros(1, np.float32)).path


def test_the_token_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    protocol = TorchServeRest("m", TOKEN)
    request = protocol.request(np.zeros(1, np.float32))
    logging.getLogger("t").warning("%r %s %r %s", protocol, protocol, request, request)
    shown = f"{protocol!r} {protocol} {request!r} {request} {caplog.text}"
    assert TOKEN not in shown


@both
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b'{\n    "predictions": [[-0.0941808, 0.0392234325]\n    ]\n}',
            [-0.0941808, 0.0392234325],
        ),
        (b'{"predictions": [[[1], [2]]]}', [[1.0], [2.0]]),
        (b'{"predictions": [0.5]}', 0.5),
        (b'{"predictions": [[1, 2]], "model_version": "1"}', [1.0, 2.0]),
    ],
)
def test_reads_a_prediction(protocol: PredictionProtocol, body: bytes, expected: object) -> None:
    outputs = protocol.read(body)
    np.testing.assert_array_equal(outputs, np.asarray(expected))
    assert disagreement(outputs, np.asarray(expected, np.float32), rtol=0, atol=0) is None


def test_reads_nan_which_tensorflow_serving_writes() -> None:
    assert np.isnan(np.asarray(BOTH[0].read(b'{"predictions": [[NaN, 1.0]]}'))[0])


@both
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "is not JSON"),
        (b"<html>502 Bad Gateway</html>", "is not JSON"),
        (b'{"predictions": [[1.0', "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b"[[1.0]]", "is a JSON list, not an object"),
        (b"null", "is a JSON NoneType, not an object"),
        (b"{}", 'has no "predictions"'),
        (b'{"outputs": [[1.0]]}', 'has no "predictions"'),
        (b'{"error": "Servable not found"}', "is an error.*Servable not found"),
        (b'{"code": 503, "type": "InternalServerException"}', 'no "predictions".*InternalServer'),
        (b'{"error": "x", "predictions": [[1.0]]}', "is an error"),
        (b'{"predictions": null}', "not a list"),
        (b'{"predictions": {"a": 1}}', "not a list"),
        (b'{"predictions": []}', "0 predictions for one input"),
        (b'{"predictions": [[1.0], [2.0]]}', "2 predictions for one input"),
        (b'{"predictions": [[[1.0], [1.0, 2.0]]]}', "ragged"),
        (b'{"predictions": [["1.0", 1.0]]}', "not all numbers"),
        (b'{"predictions": [[1.0, null]]}', "not all numbers"),
        (b'{"predictions": [[true, 0.5]]}', "not all numbers"),
        (b'{"predictions": [[{"b64": "AA=="}, 0.5]]}', "not all numbers"),
        (b'{"predictions": [[{"b64": "not base64!"}]]}', "not base64"),
        (b'{"predictions": [[1.5, 1%s]]}' % (400 * b"0"), "beyond any float"),
        (b'{"predictions": [{"logits": [1.0], "classes": [null]}]}', "not all numbers"),
    ],
)
def test_reads_nothing_else(protocol: PredictionProtocol, body: bytes, reason: str) -> None:
    with pytest.raises(BadResponseError, match=reason):
        protocol.read(body)


@both
@given(body=st.binary(max_size=60) | st.text(max_size=30).map(str.encode))
def test_any_body_is_a_prediction_or_a_bad_response(
    protocol: PredictionProtocol, body: bytes
) -> None:
    try:
        protocol.read(body)
    except BadResponseError as error:
        assert len(str(error)) < 600  # noqa: PT017


def test_a_long_body_is_quoted_from_its_beginning() -> None:
    with pytest.raises(BadResponseError) as caught:
        BOTH[0].read(b"start " + 100_000 * b"x")
    assert "start x" in str(caught.value)
    assert "got 100006 bytes" in str(caught.value)
    assert len(str(caught.value)) < 400


whole = hnp.integer_dtypes(endianness="=") | hnp.unsigned_integer_dtypes(endianness="=")
exact_arrays = hnp.arrays(
    st.one_of(whole, st.just(np.dtype(np.bool_))), hnp.array_shapes(min_dims=0, max_side=4)
)
texts = st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.binary(), min_size=1)


def echoed(body: bytes) -> npt.NDArray[Any]:
    """Return the input of a body as a server that gives back what it got would answer it."""
    answer = {"predictions": json.loads(body)["instances"]}
    return np.asarray(read_predictions(json.dumps(answer).encode()))


@given(exact_arrays)
def test_whole_numbers_and_booleans_stay_what_they_are(inputs: npt.NDArray[Any]) -> None:
    back = echoed(instances_body(inputs))
    assert back.astype(inputs.dtype).tobytes() == inputs.tobytes()
    assert (back.dtype.kind == "b") == (inputs.dtype.kind == "b")
    assert disagreement(back, inputs, rtol=0.1, atol=0.1) is None


@pytest.mark.parametrize("number", [16777217, 2**53 + 1, -(2**63), 2**64 - 1])
def test_whole_numbers_that_no_float_can_say(number: int) -> None:
    inputs = np.array([number, 1], np.uint64 if number > 0 else np.int64)
    assert f"[{number},1]" in instances_body(inputs).decode()
    back = echoed(instances_body(inputs))
    assert back.tolist() == [number, 1]
    other = number - 1 if number > 0 else number + 1
    near = np.array([other, 1], inputs.dtype)
    words = disagreement(back, near, rtol=0.1, atol=10)
    assert words is not None
    assert str(number) in words
    assert str(other) in words


@given(texts)
def test_text_and_bytes_stay_what_they_are(values: list[str | bytes]) -> None:
    inputs = np.array(values, dtype=object)
    back = echoed(instances_body(inputs))
    assert back.tolist() == values
    assert disagreement(back, inputs, rtol=0, atol=0) is None
    assert disagreement(back, np.array(["other", *values[1:]], object), rtol=9, atol=9)


def test_text_of_a_fixed_length() -> None:
    assert instances_body(np.array(["abc", "é"])) == b'{"instances":[["abc","\\u00e9"]]}'
    assert instances_body(np.array([b"\xff\x00"])[0]) == b'{"instances":[{"b64":"/w=="}]}'
    assert instances_body(b"\xff\x00") == b'{"instances":[{"b64":"/wA="}]}'
    assert instances_body("a") == b'{"instances":["a"]}'


@given(hnp.arrays(np.float64, 3, elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_doubles_stay_what_they_are(inputs: npt.NDArray[np.float64]) -> None:
    back = echoed(instances_body(inputs))
    assert back.tobytes() == inputs.tobytes()


@given(
    hnp.arrays(np.float16, 3, elements=st.floats(width=16, allow_nan=False, allow_infinity=False))
)
def test_halves_read_back_as_halves_and_as_floats(inputs: npt.NDArray[np.float16]) -> None:
    back = echoed(instances_body(inputs))
    assert back.astype(np.float16).tobytes() == inputs.tobytes()
    assert back.astype(np.float32).tobytes() == inputs.astype(np.float32).tobytes()
    assert disagreement(back, inputs, rtol=0, atol=0) is None


@pytest.mark.parametrize(
    "bad",
    [
        *(np.array([0.0, one], np.float32) for one in (np.nan, np.inf, -np.inf)),
        np.array([1 + 2j]),
        np.array(["2026-01-01"], "datetime64[D]"),
        np.array([None]),
        np.array([object()]),
        np.array(["\ud800"], object),
        np.array([1, float("nan")], object),
        np.zeros(1, [("a", "f4")]),
    ],
    ids=lambda bad: str(bad.dtype),
)
def test_what_json_has_no_word_for(bad: npt.NDArray[Any]) -> None:
    with pytest.raises(ModelError, match=r"JSON cannot|UTF-8 cannot|NaN or infinity"):
        instances_body(bad)


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
    body = json.dumps({"predictions": [got]}).encode()
    allowed = 1e-4 if words else 0.0
    said = disagreement(read_predictions(body), np.array(expected), rtol=allowed, atol=allowed)
    assert re.search(words, said or "") if words else said is None


@pytest.mark.parametrize(
    ("name", "path", "plain"),
    [
        ("fashion/versions/3", "/v1/models/fashion/versions/3", "fashion"),
        ("fashion/labels/canary", "/v1/models/fashion/labels/canary", "fashion"),
        ("/v1/models/fashion/versions/12", "/v1/models/fashion/versions/12", "fashion"),
        ("fashion/versions/latest", "/v1/models/fashion%2Fversions%2Flatest",
         "fashion/versions/latest"),
        ("a b", "/v1/models/a%20b", "a b"),
    ],
)  # fmt: skip
def test_a_version_or_label_of_a_model(name: str, path: str, plain: str) -> None:
    protocol = TensorFlowServingRest(name)
    assert protocol.request(np.zeros(1)).path == f"{path}:predict"
    assert protocol.status_request().path == path
    assert protocol.plain_name == plain


@both
def test_inputs_and_outputs_may_have_names(protocol: PredictionProtocol) -> None:
    inputs = {"ids": np.array([1, 2]), "mask": np.array([True]), "text": np.array("a", object)}
    request = protocol.request(inputs)
    assert request.body == b'{"instances":[{"ids":[1,2],"mask":[true],"text":"a"}]}'
    read = protocol.read(b'{"predictions": [{"logits": [0.5, 1.5], "label": {"b64": "AA=="}}]}')
    assert isinstance(read, dict)
    assert {name: value.tolist() for name, value in read.items()} == {
        "logits": [0.5, 1.5], "label": b"\0"
    }  # fmt: skip


ONE, TWO = np.array([1.0]), np.array([2.0])


@pytest.mark.parametrize(
    ("got", "expected", "words"),
    [
        ({"a": ONE, "b": TWO}, {"b": TWO, "a": ONE}, None),
        (ONE, {"a": ONE}, None),  # TensorFlow Serving leaves out the name of a single output
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
