"""Paths, requests and answers, with a model that needs no TensorFlow."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pytest_servebench.servers.savedmodel_server.metrics import Metrics
from pytest_servebench.servers.savedmodel_server.rest import RestApi
from pytest_servebench.servers.savedmodel_server.signatures import (
    DTYPES,
    FLOAT,
    STRING,
    Signature,
    TensorInfo,
)
from pytest_servebench.servers.savedmodel_server.status import ApiError

Array = np.ndarray[Any, Any]
X = TensorInfo("x:0", FLOAT, (-1, 2))
TEXT = TensorInfo("text:0", STRING, (-1,))


class FakeModel:
    """Answers each signature with fixed outputs, or its inputs."""

    name = "fake"
    version = 3

    def __init__(self) -> None:
        self.outputs: dict[str, Array] = {}
        self.seen: Mapping[str, Array] = {}
        self.signatures = {
            "serving_default": Signature({"x": X}, {"y": X}),
            "text": Signature({"text": TEXT}, {"text": TEXT}),
            "classes": Signature({"x": X}, {}, "tensorflow/serving/classify"),
            "half": Signature({"x": TensorInfo("h:0", DTYPES[19], (-1,))}, {}),
            "pair": Signature({"a": X, "b": X}, {}),
            "__saved_model_init_op": Signature({}, {}, ""),
        }

    def run(self, signature: str, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        self.seen = inputs
        if self.outputs.pop("fail", None) is not None:
            raise ApiError("too slow", "DEADLINE_EXCEEDED")
        return self.outputs or {"y": next(iter(inputs.values()))}


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


def post(model: FakeModel, body: object, status: int, verb: str = "predict") -> dict[str, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = RestApi(model).answer("POST", f"/v1/models/fake:{verb}", raw)
    assert (reply.status, reply.content_type) == (status, "application/json"), reply.body
    answer: dict[str, Any] = json.loads(reply.body)
    return answer


def predict(model: FakeModel, body: object) -> object:
    return post(model, body, 200)


def error(model: FakeModel, body: object, verb: str = "predict", status: int = 400) -> str:
    return str(post(model, body, status, verb)["error"])


ROW = {"instances": [[1.0, 2.0]]}


@pytest.mark.parametrize(
    ("array", "values"),
    [
        (np.array([[1, 2.5], [3, 4]], np.float32), [[1.0, 2.5], [3.0, 4.0]]),
        (np.array([1, -2], np.int64), [1, -2]),
        (np.array([[True, False]]), [[True, False]]),
        (np.zeros((0, 2), np.float32), []),
        (np.zeros((2, 0), np.float32), [[], []]),
        (np.arange(6, dtype=np.int8).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
    ],
)
def test_one_output(model: FakeModel, array: Array, values: object) -> None:
    model.outputs = {"y": array}
    assert predict(model, ROW) == {"predictions": values}
    assert predict(model, {"inputs": [[1.0, 2.0]]}) == {"outputs": values}


def test_several_outputs_in_rows(model: FakeModel) -> None:
    model.outputs = {"b": np.array([True, False]), "a": np.array([[1], [2]], np.uint8)}
    assert predict(model, ROW) == {"predictions": [{"a": [1], "b": True}, {"a": [2], "b": False}]}


def test_several_outputs_in_columns(model: FakeModel) -> None:
    model.outputs = {"b": np.array(7, np.int32), "a": np.array([[1.5], [2]], np.float64)}
    assert predict(model, {"inputs": [[1.0, 2.0]]}) == {"outputs": {"a": [[1.5], [2.0]], "b": 7}}


def test_text_and_bytes(model: FakeModel) -> None:
    body = {"signature_name": "text", "instances": ["é\n", {"b64": "/wA="}]}
    model.outputs = {"y": np.array(["é\n".encode()], object)}
    assert predict(model, body) == {"predictions": ["é\n"]}
    assert model.seen["text"].tolist() == ["é\n".encode(), b"\xff\0"]
    model.outputs = {"y_bytes": np.array([b"\xff\0", b""], object)}
    binary = [{"b64": "/wA="}, {"b64": ""}]
    assert predict(model, {"signature_name": "text", "inputs": ["", ""]}) == {"outputs": binary}
    assert predict(model, {"signature_name": "text", "instances": ["", ""]}) == {
        "predictions": binary
    }


def test_bytes_that_are_not_utf8_come_back_unchanged(model: FakeModel) -> None:
    raw = b'{"signature_name": "text", "instances": ["\xff"]}'
    reply = RestApi(model).answer("POST", "/v1/models/fake:predict", raw)
    assert b'["\xff"]' in reply.body


@pytest.mark.parametrize(
    ("body", "facts"),
    [
        ({}, ["'inputs'", "'instances'"]),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, ["'inputs'", "'instances'", "only one"]),
        ({"instances": []}, ["'instances'"]),
        ({"instances": {"x": [[1, 2]]}}, ["'instances'"]),
        ({"signature_name": 7, "instances": []}, ["'signature_name'", "string"]),
        ({"signature_name": "nope", "instances": [1]}, ['"nope"']),
        (b'{"signature_name": "\\ud800", "instances": [1]} ', ["ud800"]),
        (b'{"signature_name": "\xff", "instances": [1]}', ["udcff"]),
        ({"signature_name": "__saved_model_init_op", "instances": [1]}, ["__saved_model_init_op"]),
        ({"instances": [[1, "a"]]}, ["x", '"a"', "float"]),
        ({"instances": [[1, [2]]]}, ["x", "depth"]),
        ({"instances": [1, {"x": 1}]}, ["x", "object", "float"]),
        ({"instances": [{"x": [1, 2]}, 1]}, ["Item 1", "x"]),
        ({"instances": [[[1, 2]], [[1], [2]]]}, ["x", "length"]),
        ({"signature_name": "pair", "instances": [[1, 2]]}, ["'instances'", "a, b"]),
        ({"signature_name": "pair", "inputs": [[1, 2]]}, ["'inputs'", "a, b"]),
        ({"signature_name": "pair", "inputs": {"a": [[1, 2]]}}, ["'inputs'", "named input: b"]),
        ({"signature_name": "pair", "instances": [{"a": [1, 2]}]}, ["Item 0", "a, b"]),
        ({"signature_name": "text", "instances": [{"b64": "?"}]}, ["text"]),
        ({"signature_name": "text", "inputs": {"text": [{"b64": "", "x": 1}]}}, ["text", "b64"]),
        ({"signature_name": "text", "instances": [1]}, ["text", "1", "string"]),
        ({"instances": [[1, 2, 3]]}, ["x:0", "[1,3]", "[?,2]"]),
        ({"inputs": 5}, ["x:0", "[]", "[?,2]"]),
        ({"inputs": []}, ["x:0", "[0]", "[?,2]"]),
    ],
)
def test_what_is_wrong_with_a_request(model: FakeModel, body: object, facts: list[str]) -> None:
    message = error(model, body)
    assert [fact for fact in facts if fact not in message] == []
    assert model.seen == {}


def test_types_without_a_form_in_json(model: FakeModel) -> None:
    assert "half" in error(model, {"signature_name": "half", "inputs": [1]}, status=501)
    # Within a list of instances the real server makes it an error of the request.
    assert "half" in error(model, {"signature_name": "half", "instances": [1]})
    model.outputs = {"y": np.zeros(1, np.float16)}
    assert "float16" in error(model, ROW)


def test_outputs_that_cannot_be_told_apart(model: FakeModel) -> None:
    model.outputs = {"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)}
    assert "b has inconsistent batch size: 3" in error(model, ROW)
    model.outputs = {"a": np.array(2.0, np.float32)}
    assert "a has no shape" in error(model, ROW)


def test_errors_of_the_model(model: FakeModel) -> None:
    model.outputs = {"fail": np.zeros(1)}
    assert error(model, ROW, status=504) == "too slow"


def test_classify_and_regress(model: FakeModel) -> None:
    examples = {"examples": [{"x": 1.0}]}
    for verb in ("classify", "regress"):
        message = error(model, examples, verb)
        assert f"tensorflow/serving/{verb}" in message
        assert "tensorflow/serving/predict" in message
    assert "nope" in error(model, {"signature_name": "nope", **examples}, "classify")
    for body in (b"{}", b'{"examples": []}', b'{"examples": 1}'):
        assert "'examples'" in error(model, body, "regress")
    supported = {"signature_name": "classes", **examples}
    assert ":predict" in error(model, supported, "classify", status=501)


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v1/models/fake", 200, '"state":"AVAILABLE"'),
        ("GET", "/V1/Models/fake/Versions/3", 200, '"version":"3"'),
        ("GET", "/v1/models/f%61ke", 200, '"version":"3"'),
        ("GET", "/v1/models/fake/versions/3/metadata", 200, '"signature_def"'),
        ("GET", "/v1/models/fake/versions/4", 404, "Could not find version 4 of model fake"),
        ("GET", "/v1/models/nope/versions/3", 404, "Could not find version 3 of model nope"),
        ("GET", "/v1/models/fake/versions/4/metadata", 404, "request: Specific(fake, 4)"),
        ("GET", "/v1/models/fake/labels/stable", 400, "Unrecognized servable version label: st"),
        ("GET", f"/v1/models/fake/versions/{'9' * 30}", 400, f"version: {'9' * 30} to numeric"),
        ("GET", "/v1/models/fake?x=1", 404, "any versions of model fake?x=1"),
        ("HEAD", "/v1/models/fake", 400, "Malformed request: HEAD /v1/models/fake"),
        ("POST", "/v1/models/fake:PREDICT", 400, "Malformed request: POST /v1/models/fake:PRED"),
        ("POST", "/v1/models/fake:predict?x", 400, "Malformed request: POST /v1/models/fake:pre"),
        ("GET", "/v2/models/fake", 404, "<H1>Not Found</H1>"),
        ("GET", "/monitoring/prometheus/metrics", 404, "<H1>Not Found</H1>"),
    ],
)
def test_paths(model: FakeModel, method: str, path: str, status: int, text: str) -> None:
    reply = RestApi(model).answer(method, path, b"")
    assert reply.status == status
    assert text in reply.body.decode()


def test_the_body_is_read_before_the_model_is_looked_for(model: FakeModel) -> None:
    api = RestApi(model)
    assert api.answer("POST", "/v1/models/nope:predict", b"{").status == 400
    assert api.answer("POST", "/v1/models/nope:predict", b"{}").status == 404
    body = json.dumps(ROW).encode()
    assert api.answer("POST", "/v1/models/nope:predict", body).status == 404
    assert api.answer("POST", "/v1/models/fake/versions/4:predict", body).status == 404
    assert api.answer("POST", "/v1/models/fake/versions/3:predict", body).status == 200


def test_only_work_leaves_the_event_loop(model: FakeModel) -> None:
    api = RestApi(model)
    assert api.takes_time("POST", "/v1/models/fake:predict")
    assert not api.takes_time("GET", "/v1/models/fake")
    assert not api.takes_time("POST", "/v1/models/fake")


def test_metrics_count_predictions(model: FakeModel) -> None:
    api = RestApi(model, Metrics())
    for body in (json.dumps(ROW).encode(), json.dumps(ROW).encode(), b"{}"):
        api.answer("POST", "/v1/models/fake:predict", body)
    api.answer("GET", "/v1/models/fake", b"")
    page = api.answer("GET", "/monitoring/prometheus/metrics", b"")
    assert (page.status, page.content_type) == (200, "text/plain")
    lines = page.body.decode().splitlines()
    count = ":tensorflow:serving:request_count"
    assert f'{count}{{model_name="fake",status="OK"}} 2' in lines
    assert f'{count}{{model_name="fake",status="INVALID_ARGUMENT"}} 1' in lines
    latency = ':tensorflow:serving:request_latency_{}{{model_name="fake",API="Predict",'
    (total,) = [line for line in lines if line.startswith(latency.format("count"))]
    assert total.endswith(" 3")
    buckets = [int(line.split()[-1]) for line in lines if line.startswith(latency.format("bucket"))]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 3
