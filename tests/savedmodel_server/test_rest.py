"""Paths, requests and answers, with a model that needs no TensorFlow."""

from __future__ import annotations

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


def predict(model: FakeModel, body: object, path: str = "/v1/models/fake:predict") -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = RestApi(model).answer("POST", path, raw)
    assert reply.status == 200, reply.body
    return reply.body.decode()


def error(model: FakeModel, body: object, verb: str = "predict", status: int = 400) -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = RestApi(model).answer("POST", f"/v1/models/fake:{verb}", raw)
    assert (reply.status, reply.content_type) == (status, "application/json")
    return str(json.loads(reply.body)["error"])


ROW = {"instances": [[1.0, 2.0]]}


def test_one_output_in_rows(model: FakeModel) -> None:
    model.outputs = {"y": np.array([[1, 2.5], [3, 4]], np.float32)}
    assert predict(model, ROW) == '{\n    "predictions": [[1.0, 2.5], [3.0, 4.0]\n    ]\n}'


def test_scalars_in_rows(model: FakeModel) -> None:
    model.outputs = {"y": np.array([1, -2], np.int64)}
    assert predict(model, ROW) == '{\n    "predictions": [1, -2\n    ]\n}'


def test_no_rows(model: FakeModel) -> None:
    model.outputs = {"y": np.zeros((0, 2), np.float32)}
    assert predict(model, ROW) == '{\n    "predictions": []\n}'


def test_several_outputs_in_rows(model: FakeModel) -> None:
    model.outputs = {"b": np.array([True, False]), "a": np.array([[1], [2]], np.uint8)}
    assert predict(model, ROW) == (
        '{\n    "predictions": [\n'
        '        {\n            "a": [1],\n            "b": true\n        },\n'
        '        {\n            "a": [2],\n            "b": false\n        }\n'
        "    ]\n}"
    )


def test_several_outputs_in_columns(model: FakeModel) -> None:
    model.outputs = {"b": np.array(7, np.int32), "a": np.array([[1.5], [2]], np.float64)}
    assert predict(model, {"inputs": [[1.0, 2.0]]}) == (
        '{\n    "outputs": {\n'
        '        "a": [\n            [\n                1.5\n            ],\n'
        "            [\n                2.0\n            ]\n        ],\n"
        '        "b": 7\n'
        "    }\n}"
    )


def test_one_output_in_columns(model: FakeModel) -> None:
    model.outputs = {"y": np.array([[True, False]])}
    assert predict(model, {"inputs": [[1.0, 2.0]]}) == (
        '{\n    "outputs": [\n        [\n            true,\n            false\n        ]\n    ]\n}'
    )


def test_empty_lists_in_columns(model: FakeModel) -> None:
    model.outputs = {"y": np.zeros((2, 0), np.float32)}
    assert predict(model, {"inputs": [[1.0, 2.0]]}) == (
        '{\n    "outputs": [\n        [],\n        []\n    ]\n}'
    )


def test_text_and_bytes(model: FakeModel) -> None:
    body = {"signature_name": "text", "instances": ["é\n", {"b64": "/wA="}]}
    model.outputs = {"y": np.array(["é\n".encode()], object)}
    assert predict(model, body) == '{\n    "predictions": ["é\\n"\n    ]\n}'
    assert model.seen["text"].tolist() == ["é\n".encode(), b"\xff\0"]
    model.outputs = {"y_bytes": np.array([b"\xff\0", b""], object)}
    assert predict(model, {"signature_name": "text", "inputs": ["", ""]}) == (
        '{\n    "outputs": [\n        {\n            "b64": "/wA="\n        },\n'
        '        {\n            "b64": ""\n        }\n    ]\n}'
    )
    assert predict(model, {"signature_name": "text", "instances": ["", ""]}) == (
        '{\n    "predictions": [{\n            "b64": "/wA="\n        }, '
        '{\n            "b64": ""\n        }\n    ]\n}'
    )


def test_bytes_that_are_not_utf8_come_back_unchanged(model: FakeModel) -> None:
    raw = b'{"signature_name": "text", "instances": ["\xff"]}'
    reply = RestApi(model).answer("POST", "/v1/models/fake:predict", raw)
    assert reply.body == b'{\n    "predictions": ["\xff"\n    ]\n}'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"signature_name": 7, "instances": []}, "'signature_name' key must be a string value."),
        (
            {"signature_name": "__saved_model_init_op", "instances": [1]},
            "Failed to get input map for signature: __saved_model_init_op",
        ),
        ({"instances": [[1, "a"]]}, 'JSON Value: "a" Type: String is not of expected type: float'),
        ({"instances": [[1, [2]]]}, "Encountered list at unexpected level: 1 expected < 1"),
        ({"instances": [[[1], 2]]}, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. "),
        ({"instances": [1, {"x": 1}]}, "Expecting value/list but got object at item 1 of input "),
        ({"instances": [{"x": [1, 2]}, 1]}, "Expecting object but got list at item 1 of input "),
        ({"instances": [[[1, 2]], [[1], [2]]]}, "Expecting shape [1,2] but got: [2,1]"),
        (
            {"signature_name": "pair", "instances": [[1, 2]]},
            "instances is a plain list, but expecting list of objects as multiple input tensors ",
        ),
        (
            {"signature_name": "pair", "inputs": [[1, 2]]},
            "inputs is a plain value/list, but expecting an object as multiple input tensors ",
        ),
        (
            {"signature_name": "pair", "inputs": {"a": [[1, 2]]}},
            "Missing named input: b in 'inputs' object.",
        ),
        (
            {"signature_name": "pair", "instances": [{"a": [1, 2]}]},
            "JSON object: {\n    \"a\": [1, 2]\n} keys must be equal to: a,b",
        ),
        ({"signature_name": "text", "instances": [{"b64": "?"}]}, "Unable to base64 decode"),
        (
            {"signature_name": "text", "inputs": {"text": [{"b64": "", "x": 1}]}},
            "not formatted correctly for base64 data",
        ),
        ({"signature_name": "text", "instances": [1]}, "JSON Value: 1 Type: Number is not of "),
        (
            {"instances": [[1, 2, 3]]},
            "Shape of tensor x:0 [1,3] is not compatible with expected shape [?,2].",
        ),
        ({"inputs": 5}, "Shape of tensor x:0 [] is not compatible with expected shape [?,2]."),
        ({"inputs": []}, "Shape of tensor x:0 [0] is not compatible with expected shape [?,2]."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_request(model: FakeModel, body: object, message: str) -> None:
    assert message in error(model, body)
    assert model.seen == {}


def test_types_without_a_form_in_json(model: FakeModel) -> None:
    # Within a list of instances the real server makes it an error of the request.
    body = {"signature_name": "half", "inputs": [1]}
    assert error(model, body, status=501) == "Conversion of JSON Value: 1 to type: half"
    model.outputs = {"y": np.zeros(1, np.float16)}
    assert error(model, ROW) == "Failed to write JSON value for tensor type: half"


def test_outputs_that_cannot_be_told_apart(model: FakeModel) -> None:
    model.outputs = {"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)}
    assert error(model, ROW) == "Tensor name: b has inconsistent batch size: 3 expecting: 2"
    model.outputs = {"a": np.array(2.0, np.float32)}
    assert error(model, ROW) == "Tensor name: a has no shape information "


def test_integers_have_ranges(model: FakeModel) -> None:
    model.signatures["serving_default"] = Signature(
        {"x": TensorInfo("x:0", DTYPES[3], (-1,))}, {"y": X}
    )
    predict(model, {"instances": [2**31 - 1, -(2**31)]})
    assert model.seen["x"].tolist() == [2**31 - 1, -(2**31)]
    for wrong in (2**31, -(2**31) - 1, 1.0, True):
        assert "is not of expected type: int32" in error(model, {"instances": [wrong]})


def test_errors_of_the_model(model: FakeModel) -> None:
    model.outputs = {"fail": np.zeros(1)}
    assert error(model, ROW, status=504) == "too slow"


def test_classify_and_regress(model: FakeModel) -> None:
    examples = {"examples": [{"x": 1.0}]}
    assert error(model, examples, "classify") == (
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/predict"
    )
    assert error(model, examples, "regress") == (
        "Expected regression signature method_name to be tensorflow/serving/regress. "
        "Was: tensorflow/serving/predict"
    )
    named = {"signature_name": "nope", **examples}
    assert error(model, named, "classify") == "No signature was found with the name: nope"
    assert "key 'examples' is expected" in error(model, {}, "classify")
    assert "'examples' value is an empty array" in error(model, {"examples": []}, "regress")
    assert "to be an list/array" in error(model, {"examples": 1}, "regress")
    supported = {"signature_name": "classes", **examples}
    assert ":predict" in error(model, supported, "classify", status=501)


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v1/models/fake", 200, '"state": "AVAILABLE"'),
        ("GET", "/V1/Models/fake/Versions/3", 200, '"version": "3"'),
        ("GET", "/v1/models/f%61ke", 200, '"version": "3"'),
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
