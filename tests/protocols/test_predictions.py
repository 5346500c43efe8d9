"""Both servers are sent the very same bytes, and only predictions are read as such."""

import json
import logging
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.errors import BadResponseError, ModelError
from pytest_servebench.protocols import row_format
from pytest_servebench.protocols.base import HttpAnswer, PredictionProtocol
from pytest_servebench.protocols.json_values import whole
from pytest_servebench.protocols.tensorflow_serving import TensorFlowServingRest
from pytest_servebench.protocols.torchserve import TorchServeRest
from pytest_servebench.values.expectations import disagreement

TOKEN = "cKjqMB8i"
BOTH: list[Any] = [TensorFlowServingRest("m"), TorchServeRest("m", token=TOKEN)]
both = pytest.mark.parametrize("protocol", BOTH, ids=lambda each: type(each).__name__)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
arrays = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=0, max_dims=4, max_side=5), elements=floats
)


def answer(body: bytes) -> HttpAnswer:
    return HttpAnswer(200, body)


def instances_body(inputs: Any) -> bytes:
    return row_format.instances_body((inputs,))


def read_predictions(answer: HttpAnswer) -> Any:
    return row_format.read_predictions(answer, 1)[0]


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
        (TorchServeRest("fashion", token=TOKEN), "/predictions/fashion", {json_type, key}),
    ):
        request = protocol.request(np.zeros(1, np.float32))
        assert (request.method, request.path) == ("POST", path)
        assert set(request.headers) == headers


@both
def test_a_name_cannot_leave_its_place_in_the_path(protocol: PredictionProtocol) -> None:
    odd = type(protocol)("a/b?c d")  # type: ignore[call-arg]
    assert "a%2Fb%3Fc%20d" in odd.request(np.zeros(1, np.float32)).path


def test_the_token_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    protocol = TorchServeRest("m", token=TOKEN)
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
    outputs = protocol.read(answer(body))
    np.testing.assert_array_equal(outputs, np.asarray(expected))
    assert disagreement(outputs, np.asarray(expected, np.float32), rtol=0, atol=0) is None


def test_reads_nan_which_tensorflow_serving_writes() -> None:
    assert np.isnan(np.asarray(BOTH[0].read(answer(b'{"predictions": [[NaN, 1.0]]}')))[0])


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
        protocol.read(answer(body))


def test_a_long_body_is_quoted_from_its_beginning() -> None:
    with pytest.raises(BadResponseError) as caught:
        BOTH[0].read(answer(b"start " + 100_000 * b"x"))
    assert "start x" in str(caught.value)
    assert "got 100006 bytes" in str(caught.value)
    assert len(str(caught.value)) < 400


def echoed(body: bytes) -> npt.NDArray[Any]:
    """Return the input of a body as a server that gives back what it got would answer it."""
    said = {"predictions": json.loads(body)["instances"]}
    return np.asarray(read_predictions(answer(json.dumps(said).encode())))


def test_whole_numbers_that_no_one_type_can_say_stay_as_they_are() -> None:
    assert whole(np.array([2**63, -1], dtype=object)).tolist() == [2**63, -1]


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


def test_text_of_a_fixed_length() -> None:
    assert instances_body(np.array(["abc", "é"])) == b'{"instances":[["abc","\\u00e9"]]}'
    assert instances_body(np.array([b"\xff\x00"])[0]) == b'{"instances":[{"b64":"/w=="}]}'
    assert instances_body(b"\xff\x00") == b'{"instances":[{"b64":"/wA="}]}'
    assert instances_body("a") == b'{"instances":["a"]}'


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
    ("place", "path", "plain"),
    [
        ("fashion/versions/3", "/v1/models/fashion/versions/3", "fashion"),
        ("fashion/labels/canary", "/v1/models/fashion/labels/canary", "fashion"),
        ("/v1/models/fashion/versions/12", "/v1/models/fashion/versions/12", "fashion"),
        ("fashion/versions/latest", "/v1/models/fashion%2Fversions%2Flatest",
         "fashion/versions/latest"),
        ("a b", "/v1/models/a%20b", "a b"),
    ],
)  # fmt: skip
def test_a_version_or_label_of_a_model(place: str, path: str, plain: str) -> None:
    protocol = TensorFlowServingRest("m").named(place)
    assert protocol.request(np.zeros(1)).path == f"{path}:predict"
    assert protocol.status_request().path == path
    assert protocol.model == plain


@both
def test_inputs_and_outputs_may_have_names(protocol: Any) -> None:
    inputs = {"ids": np.array([1, 2]), "mask": np.array([True]), "text": np.array("a", object)}
    request = protocol.request(inputs)
    assert request.body == b'{"instances":[{"ids":[1,2],"mask":[true],"text":"a"}]}'
    read = protocol.read(
        answer(b'{"predictions": [{"logits": [0.5, 1.5], "label": {"b64": "AA=="}}]}')
    )
    assert isinstance(read, dict)
    assert {name: value.tolist() for name, value in read.items()} == {
        "logits": [0.5, 1.5], "label": b"\0"
    }  # fmt: skip
