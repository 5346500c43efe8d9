"""The gRPC API: predictions as over REST, and errors with the statuses of the real server."""

import base64
import json
import pickle
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from pytest_servebench.protocols import GrpcAnswer, GrpcRequest, TensorFlowServingGrpc
from pytest_servebench.protocols.grpc_messages import tensorflow_serving_pb2 as messages
from pytest_servebench.protocols.tensorflow_tensors import read, write
from pytest_servebench.servers.savedmodel_server.grpc_api import GrpcApi, listen
from pytest_servebench.servers.savedmodel_server.signatures import DTYPES, Signature, TensorInfo
from pytest_servebench.servers.savedmodel_server.status import ApiError
from pytest_servebench.values.expectations import disagreement
from tests.savedmodel_server.running import Running


class Halves:
    """Halves its input, whose type is what the signature says."""

    name, version = "m", 7

    def __init__(self, number: int = 1) -> None:
        info = TensorInfo("x:0", DTYPES[number], (-1, 2))
        scalar = TensorInfo("n:0", DTYPES[3], ())
        self.signatures = {"serving_default": Signature({"x": info}, {"y": info, "n": scalar})}

    def run(self, signature: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        assert signature == "serving_default"
        if inputs["x"].dtype.kind == "f" and (inputs["x"] < 0).any():
            raise ApiError("negative", "OUT_OF_RANGE")
        return {"y": inputs["x"], "n": np.int32(len(inputs["x"]))}


def ask(**spec: Any) -> messages.PredictRequest:
    message = messages.PredictRequest(model_spec=messages.ModelSpec(**spec))
    write(message.inputs["x"], np.array([[1.5, 2.5]], np.float32))
    return message


def other(array: Any, name: str = "x") -> messages.PredictRequest:
    message = messages.PredictRequest(model_spec=messages.ModelSpec(name="m"))
    write(message.inputs[name], np.asarray(array))
    return message


FILTERED = ask(name="m")
FILTERED.output_filter.append("z")
FLOATS = np.array([[1, 2]], np.float32)


@pytest.mark.parametrize(
    ("message", "code", "facts"),
    [
        (ask(), "INVALID_ARGUMENT", "ModelSpec"),
        (ask(name="n"), "NOT_FOUND", "Latest(n)"),
        (ask(name="m", version=messages.Version(value=8)), "NOT_FOUND", "Specific(m, 8)"),
        (ask(name="m", version_label="canary"), "INVALID_ARGUMENT", "canary"),
        (ask(name="m", signature_name="s"), "FAILED_PRECONDITION", '"s" not found'),
        (other(FLOATS, "z"), "INVALID_ARGUMENT", "extra: {z}. Missing but required: {x}"),
        (other([[1.0, 2.0]]), "INVALID_ARGUMENT", "expects float but double"),
        (other(FLOATS[0]), "INVALID_ARGUMENT", "[2] is not compatible with expected shape [?,2]"),
        (other(-FLOATS), "OUT_OF_RANGE", "negative"),
        (FILTERED, "INVALID_ARGUMENT", "z Outputs expected"),
    ],
)
def test_statuses(message: messages.PredictRequest, code: str, facts: str) -> None:
    with pytest.raises(ApiError) as no:
        GrpcApi(Halves()).predict(message.SerializeToString())
    assert (no.value.code, facts in no.value.message) == (code, True)


@pytest.mark.parametrize(
    "number", [number for number, each in DTYPES.items() if each.numpy] + [14, 19]
)
def test_every_type_comes_back_as_it_was(number: int) -> None:
    values: Any = [[1, 0]] if number != 7 else [["1", "ä"]]
    dtype = {14: np.float32, 19: np.float16, 7: object}.get(number, DTYPES[number].numpy)
    array = np.array(values, dtype)
    message = other(array)
    if number == 14:  # NumPy has no such type
        message.inputs["x"].dtype = 14
        message.inputs["x"].tensor_content = b"\x80\x3f\0\0"
    answer = messages.PredictResponse.FromString(
        GrpcApi(Halves(number)).predict(message.SerializeToString())
    )
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("m", 7)
    assert not answer.outputs["y"].tensor_content  # as the real server writes it
    assert disagreement(read(answer.outputs["y"], AssertionError), array) is None  # type: ignore[arg-type]
    assert read(answer.outputs["n"], AssertionError).shape == ()  # type: ignore[arg-type]


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=str(port)):
            listen(Halves(), "127.0.0.1", port, 1)


def call(server: tuple[Running, grpc.Channel], request: GrpcRequest | None) -> GrpcAnswer:
    assert request is not None
    answer = server[1].unary_unary(request.method)(request.message, timeout=30)
    return GrpcAnswer(0, message=answer)


@pytest.fixture
def both(mixed: Running) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{mixed.grpc_port}") as channel:
        yield mixed, channel


@pytest.mark.servers
def test_the_same_predictions_as_over_rest(both: Any) -> None:
    server = both[0]
    for signature, inputs in (
        ("add", {"a": np.array([1.5, 2.5], np.float32), "b": np.array(3, np.int32)}),
        ("strings", {"text": np.array("né", object)}),
        ("flip", {"flags": np.array([True, False])}),
        ("same", {"x": np.array(1e300)}),
    ):
        protocol = TensorFlowServingGrpc("mixed", signature=signature)
        got: Any = protocol.read(call(both, protocol.request(inputs)))
        row = {name: value.tolist() for name, value in inputs.items()}
        body = {"signature_name": signature, "instances": [row]}
        told = json.loads(server.post("/v1/models/mixed:predict", json.dumps(body).encode()).body)
        expected = told["predictions"][0]
        if not isinstance(got, Mapping):
            got, expected = {"": got}, {"": expected}
        for name, value in expected.items():
            said = got[name].tolist()
            if name.endswith("_bytes"):
                assert {"b64": base64.b64encode(said).decode()} == value
            else:
                assert (said.decode() if isinstance(said, bytes) else said) == value


@pytest.mark.servers
def test_metadata_status_and_errors_over_the_wire(both: Any) -> None:
    protocol = TensorFlowServingGrpc("mixed", signature="flip")
    told = protocol.told(call(both, protocol.question(np.array([True, False]))))
    assert told.input == "flags"
    assert protocol.states(call(both, protocol.status_request())) == {"AVAILABLE"}
    for request, code, details in (
        (TensorFlowServingGrpc("none").status_request(), "NOT_FOUND", "Latest(none)"),
        (GrpcRequest("/tensorflow.serving.PredictionService/Classify"), "UNIMPLEMENTED", ""),
        (GrpcRequest(protocol.status_request().method, b"\xff"), "INVALID_ARGUMENT", "parsed"),
    ):
        with pytest.raises(grpc.RpcError) as no:
            call(both, request)
        assert (no.value.code().name, details in no.value.details()) == (code, True)


@pytest.mark.servers
def test_our_tensors_are_tensorflows(models: Path) -> None:
    """Both register their messages in one process, and read each other's."""
    seen = pickle.loads((models / "tensors.pickle").read_bytes())
    assert {array.dtype.kind for array, _, _ in seen} == set("fiO")
    for array, made, message in seen:
        assert made.shape == array.shape
        if array.dtype == object:
            assert made.tolist() == [each.encode() for each in array]
        else:
            assert made.tobytes() == array.tobytes()
        back = messages.Tensor.FromString(message)
        assert disagreement(read(back, AssertionError), array) is None  # type: ignore[arg-type]
