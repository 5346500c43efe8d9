"""Both servers are sent the very same bytes, and only predictions are read as such."""

from __future__ import annotations

import json
import logging

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.errors import BadResponseError, ModelError
from pytest_servebench.protocols.base import PredictionProtocol
from pytest_servebench.protocols.predictions import instances_body
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


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_body_of_what_json_cannot_say(bad: float) -> None:
    with pytest.raises(ModelError, match="NaN or infinity"):
        instances_body(np.array([0.0, bad], np.float32))


def test_body_of_nothing() -> None:
    with pytest.raises(ModelError, match=r"shape \(0, 28\) has no numbers"):
        instances_body(np.zeros((0, 28), np.float32))


def test_tensorflow_serving_request() -> None:
    request = TensorFlowServingRest("fashion").request(np.zeros(1, np.float32))
    assert (request.method, request.path) == ("POST", "/v1/models/fashion:predict")
    assert request.headers == (("Content-Type", "application/json"),)


def test_torchserve_request() -> None:
    request = TorchServeRest("fashion", TOKEN).request(np.zeros(1, np.float32))
    assert (request.method, request.path) == ("POST", "/predictions/fashion")
    assert dict(request.headers) == {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {TOKEN}",
    }


def test_torchserve_without_authorization() -> None:
    request = TorchServeRest("fashion").request(np.zeros(1, np.float32))
    assert "Authorization" not in dict(request.headers)


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
    assert outputs.dtype == np.float32
    np.testing.assert_array_equal(outputs, np.asarray(expected, np.float32))


def test_reads_nan_which_tensorflow_serving_writes() -> None:
    assert np.isnan(BOTH[0].read(b'{"predictions": [[NaN, 1.0]]}')[0])


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
        (b'{"predictions": [["1.0"]]}', "not all numbers"),
        (b'{"predictions": [[1.0, null]]}', "not all numbers"),
        (b'{"predictions": [[true, false]]}', "not all numbers"),
        (b'{"predictions": [{"logits": [1.0], "classes": [1]}]}', "named outputs .'logits', 'cla"),
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
