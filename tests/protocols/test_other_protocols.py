"""What each protocol sends, to the byte, and which answers it takes for predictions."""

import dataclasses
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.errors import BadResponseError, ModelError
from pytest_servebench.protocols import (
    PROTOCOLS,
    Headers,
    HttpAnswer,
    KServeV1,
    OpenInference,
    PlainJson,
    RowsProtocol,
    TensorFlowServingRest,
    TorchServeRest,
    protocol_from,
)
from pytest_servebench.values.expectations import disagreement

EXCHANGES = Path(__file__).parents[1] / "savedmodel_server" / "tfserving-rest-exchanges.json"
LENGTH = "Inference-Header-Content-Length"
TWO = {"ids": np.array([7, 2**60]), "mask": np.array([True, False])}
TEXT, BYTES = np.array("né", object), np.array(b"\xff\x00", object)


@pytest.mark.parametrize(
    ("protocol", "samples", "path", "body"),
    [
        (TensorFlowServingRest("m", signature="s", version=3), [TWO],
         "/v1/models/m/versions/3:predict",
         b'{"signature_name":"s","instances":[{"ids":[7,1152921504606846976],"mask":[true,false]}]}'),
        (TensorFlowServingRest("m", layout="columns", label="a b"), [TWO, TWO],
         "/v1/models/m/labels/a%20b:predict",
         b'{"inputs":{"ids":[[7,1152921504606846976],[7,1152921504606846976]],'
         b'"mask":[[true,false],[true,false]]}}'),
        (TensorFlowServingRest("m", layout="single"), [BYTES], "/v1/models/m:predict",
         b'{"inputs":{"b64":"/wA="}}'),
        (KServeV1("m"), [TEXT, TEXT], "/v1/models/m:predict",
         b'{"instances":["n\\u00e9","n\\u00e9"]}'),
        (OpenInference("m", version="v2"), [TWO], "/v2/models/m/versions/v2/infer",
         b'{"id":"servebench","inputs":[{"name":"ids","shape":[1,2],"datatype":"INT64",'
         b'"data":[7,1152921504606846976]},{"name":"mask","shape":[1,2],"datatype":"BOOL",'
         b'"data":[true,false]}]}'),
        (OpenInference("m", layout="single", input="x"), [np.eye(2, dtype=np.float16)],
         "/v2/models/m/infer",
         b'{"id":"servebench","inputs":[{"name":"x","shape":[2,2],"datatype":"FP16",'
         b'"data":[1.0,0.0,0.0,1.0]}]}'),
        (OpenInference("m", binary=True), [BYTES, TEXT], "/v2/models/m/infer",
         b'{"id":"servebench","inputs":[{"name":"input","shape":[2],"datatype":"BYTES",'
         b'"parameters":{"binary_data_size":13}}],"parameters":{"binary_data_output":true}}'
         b'\x02\0\0\0\xff\0\x03\0\0\0n\xc3\xa9'),
        (OpenInference("m", base64=True), [{"a": BYTES, "b": TEXT}], "/v2/models/m/infer",
         b'{"id":"servebench","inputs":[{"name":"a","shape":[1],"datatype":"BYTES",'
         b'"parameters":{"content_type":"base64"},"data":["/wA="]},{"name":"b","shape":[1],'
         b'"datatype":"BYTES","data":["n\\u00e9"]}]}'),
        (TorchServeRest("m", version="1.0"), [TEXT], "/predictions/m/1.0",
         b'{"instances":["n\\u00e9"]}'),
        (TorchServeRest("m", body="bytes"), [{"image": BYTES}], "/predictions/m", b"\xff\x00"),
        (TorchServeRest("m", body="bytes"), [np.array(["a"])], "/predictions/m", b"a"),
        (PlainJson("/p", body="bytes"), [{"image": BYTES}], "/p", b"\xff\x00"),
        (PlainJson(), [TEXT], "/predict", b'{"input":"n\\u00e9"}'),
        (PlainJson(input=""), [np.array([1, 2])], "/predict", b"[1,2]"),
        (PlainJson("/", wrapper="data"), [TWO], "/",
         b'{"data":{"ids":[7,1152921504606846976],"mask":[true,false]}}'),
        (PlainJson(layout="rows", input="instances"), [{"a": np.array(1)}] * 2, "/predict",
         b'{"instances":[{"a":1},{"a":1}]}'),
        (PlainJson(layout="columns"), [np.array(1.5)] * 2, "/predict", b'{"input":[1.5,1.5]}'),
    ],
)  # fmt: skip
def test_requests(protocol: Any, samples: Any, path: str, body: bytes) -> None:
    request = protocol.request_rows(samples)
    assert (request.method, request.path, request.body) == ("POST", path, body)


def test_headers_of_binary_tensors() -> None:
    request = OpenInference("m", binary=True).request(TWO)
    head, raw = request.body[:-18], request.body[-18:]
    assert dict(request.headers)[LENGTH] == str(len(head))
    assert json.loads(head)["inputs"][1]["parameters"] == {"binary_data_size": 2}
    assert raw == struct.pack("<qq??", 7, 2**60, True, False)


@pytest.mark.parametrize(
    ("protocol", "samples", "reason"),
    [
        (OpenInference("m"), [BYTES], r"'input' has bytes that are not UTF-8.*binary = true"),
        (OpenInference("m"), [np.array([np.nan])], "'input' holds NaN.*binary = true"),
        (KServeV1("m"), [{"a": np.array([np.nan])}], "Input 'a': .*NaN"),
        (OpenInference("m"), [np.array([1j])], "complex128.*give integers"),
        (OpenInference("m"), [np.array([[]])], r"'input' of shape \(1, 1, 0\)"),
        (OpenInference("m", binary=True), [np.array("\ud800", object)], "UTF-8 cannot"),
        (OpenInference("m"), [np.zeros(2), np.zeros(3)], r"shapes \(2,\) and \(3,\).*pad"),
        (TensorFlowServingRest("m"), [TWO, {**TWO, "ids": np.array([1])}],
         r"'ids' has samples of shapes \(2,\) and \(1,\).*one row"),
        (TensorFlowServingRest("m", layout="columns"), [TWO, {"ids": np.array([1])}],
         "different names"),
        (TensorFlowServingRest("m", layout="single"), [TWO, TWO], "2 rows.*layout = \"single\""),
        (OpenInference("m", layout="single"), [TWO, TWO], "2 rows.*one sample"),
        (PlainJson(), [TWO, TWO], "2 rows.*one sample"),
        (TorchServeRest("m", body="bytes"), [TEXT, TEXT], "2 rows.*body = \"bytes\""),
        (TorchServeRest("m", body="bytes"), [TWO], "one input.*2: 'ids', 'mask'.*multipart"),
        (TorchServeRest("m", body="bytes"), [np.zeros(3)], "array of float64.*\"json\""),
        (KServeV1("m"), [], "at least one sample"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent(protocol: RowsProtocol, samples: Any, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        protocol.request_rows(samples)


def binary(head: object, raw: bytes = b"", length: str | None = None) -> HttpAnswer:
    said = json.dumps(head).encode()
    return HttpAnswer(200, said + raw, Headers([(LENGTH.lower(), length or str(len(said)))]))


def output(datatype: str = "FP32", shape: Any = (1,), **more: object) -> dict[str, Any]:
    size = {"parameters": {"binary_data_size": more.pop("size")}} if "size" in more else {}
    one = {"name": "y", "datatype": datatype, "shape": list(shape), **size, **more}
    return {"outputs": [one]}


BASE64 = {"content_type": "base64"}
INFER, SCORES = OpenInference("m"), PlainJson(answer="result.scores")
COLUMNS = TensorFlowServingRest("m", layout="columns")


@pytest.mark.parametrize(
    ("protocol", "said", "expected"),
    [
        (INFER, output(data=[1]), {"y": 1.0}),
        (INFER, output("BYTES", (1, 2), data=[["a", "é"]]), {"y": ["a", "é"]}),
        (INFER, output("UINT64", data=[2**64 - 1]), {"y": 2**64 - 1}),
        (INFER, output("BF16", data=[0.5]), {"y": 0.5}),
        (INFER, binary(output("BF16", size=2), b"\x80\x3f"), {"y": 1.0}),
        (INFER, binary(output("FP64", size=8), struct.pack("<d", np.nan)), {"y": np.nan}),
        (INFER, binary(output("BYTES", size=6), b"\x02\0\0\0\xff\0"), {"y": b"\xff\0"}),
        (INFER, output("BYTES", data=["/wA="], parameters=BASE64), {"y": b"\xff\0"}),
        # Some servers send in JSON what they were asked to send binary.
        (INFER, binary(output("INT8", data=[-3])), {"y": -3}),
        (COLUMNS, {"outputs": {"a": [1], "b": [[0.5]]}}, {"a": 1, "b": [0.5]}),
        (COLUMNS, {"outputs": [{"b64": "/wA="}]}, b"\xff\x00"),
        (TensorFlowServingRest("m", layout="single"), {"outputs": 3}, 3),
        (SCORES, {"result": {"scores": [0.5, 1]}}, [0.5, 1]),
        (PlainJson(answer="outputs.0.data"), {"outputs": [{"data": "x"}]}, "x"),
        (PlainJson(answer="0.label, 0.score"), [{"label": "a", "score": 1, "ms": None}],
         {"label": "a", "score": 1}),
        (PlainJson(), {"label": "a", "score": 0.5}, {"label": "a", "score": 0.5}),
        (PlainJson(layout="columns"), [{"label": "a"}], {"label": "a"}),
        (PlainJson(layout="columns", answer="0"), [{"label": ["a"]}], {"label": "a"}),
        (TorchServeRest("m", body="bytes", answer="top"), {"top": "cat"}, "cat"),
    ],
)  # fmt: skip
def test_predictions(protocol: RowsProtocol, said: Any, expected: Any) -> None:
    answer = said if isinstance(said, HttpAnswer) else HttpAnswer(200, json.dumps(said).encode())
    assert disagreement(protocol.read(answer), expected, rtol=0, atol=0) is None


@pytest.mark.parametrize(
    ("protocol", "said", "reason"),
    [
        (INFER, {"error": "no such model"}, "is an error.*no such model"),
        (INFER, {}, 'no "outputs"'),
        (INFER, {"outputs": []}, 'no "outputs"'),
        (INFER, {"outputs": [3]}, 'without a "name"'),
        (INFER, output("FP8", data=[1]), "'y' of the \"datatype\" 'FP8'"),
        (INFER, output(shape=[-1], data=[1]), r"'y' with the \"shape\" \[-1\]"),
        (INFER, output(shape=[2], data=[1]), "'y' that is not FP32 of"),
        (INFER, output(data=["1.0"]), "'y' that is not FP32.*values of type str"),
        (INFER, output("INT8", data=[1.0]), "'y' that is not INT8.*values of type float"),
        (INFER, output("INT8", data=[300]), "'y' that is not INT8"),
        (INFER, output(data=[[1], [1, 2]], shape=[3]), "'y' that is not FP32"),
        (INFER, output(), "'y' that is not FP32.*NoneType"),
        (INFER, output(shape=[2], data=[1, 2]), "2 predictions for one input;"),
        (INFER, output(shape=[], data=[1]), "0 predictions for one input"),
        (INFER, output("BYTES", data=["é"], parameters=BASE64), "'y' that is no"),
        (INFER, {"outputs": 2 * output(data=[1])["outputs"]}, "two outputs 'y'"),
        (INFER, binary(output(size=4), b"\0\0"), "'y' of 4 binary bytes, of which 2 came"),
        (INFER, binary(output(size=2), b"\0\0"), "'y' that is not FP32"),
        (INFER, binary(output(size=4), b"\0\0\0\0\0"), "1 bytes after its last tensor"),
        (INFER, binary(output("BYTES", size=3), b"\0\0\0"), "length is cut off"),
        (INFER, binary(output("BYTES", size=5), b"\x09\0\0\0a"), "9 bytes, of which some"),
        (INFER, binary(output(data=[1]), length="9999"), "9999"),
        (INFER, binary(output(data=[1]), length="x"), f"{LENGTH}: x"),
        (COLUMNS, {"predictions": [1]}, 'no "outputs"'),
        (COLUMNS, {"outputs": [1, 2]}, "2 predictions for one input"),
        (COLUMNS, {"outputs": {"a": [1], "b": [1, 2]}}, "2 predictions .* output 'b'"),
        (SCORES, {"result": {"score": [1]}},
         r"no \"result.scores\": at \"result\" .*object with 'score'.*setting answer"),
        (SCORES, [1], 'no "result.scores": at its top there is a list of 1'),
        (PlainJson(answer="a.2"), {"a": [1, 2]}, 'at "a" there is a list of 2'),
        (PlainJson(), {"meta": {"ms": 3}}, "an object where an output should be.*setting answer"),
        (PlainJson(layout="rows"), {"a": 1}, "not a list"),
        (PlainJson(layout="rows", answer="a"), {"a": []}, "0 predictions for one input"),
        (PlainJson(answer="a"), {1000 * "x": 1}, 'no "a"'),
        (TorchServeRest("m", body="bytes"), "<html>", None),
    ],
)  # fmt: skip
def test_what_is_no_prediction(protocol: RowsProtocol, said: Any, reason: str | None) -> None:
    if reason is None:
        said, reason = HttpAnswer(200, b"<html>"), "not JSON.*setting answer.*<html>"
    answer = said if isinstance(said, HttpAnswer) else HttpAnswer(200, json.dumps(said).encode())
    with pytest.raises(BadResponseError, match=reason) as raised:
        protocol.read(answer)
    assert len(str(raised.value)) < 900


EVERY = [
    *(
        protocol_from(name, {}, defaults={"model": "m"})
        for name in PROTOCOLS
        if not name.endswith("-grpc")
    ),
    COLUMNS,
    OpenInference("m", binary=True, layout="single"),
    PlainJson(layout="columns", answer="a.0"),
    TorchServeRest("m", body="multipart"),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["outputs", "predictions", "name", "data", "shape", "datatype", "a"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
bodies = json_values.map(lambda value: json.dumps(value).encode()) | st.just(b"")


@pytest.mark.parametrize("protocol", EVERY, ids=repr)
@given(body=bodies, raw=st.binary(max_size=40), length=st.none() | st.text(max_size=3))
def test_any_answer_is_a_prediction_or_a_bad_response(
    protocol: RowsProtocol, body: bytes, raw: bytes, length: str | None
) -> None:
    headers = Headers([] if length is None else [(LENGTH, length)])
    try:
        protocol.read(HttpAnswer(200, body + raw, headers))
    except BadResponseError as error:
        assert len(str(error)) < 1000  # noqa: PT017


def test_recorded_answers_of_tensorflow_serving_are_read() -> None:
    rows, columns = TensorFlowServingRest("m"), COLUMNS
    for exchange in json.loads(EXCHANGES.read_text(encoding="utf-8"))["exchanges"]:
        reply = exchange["response"]
        if ":predict" not in exchange["request"]["line"] or reply["status"] != 200:
            continue
        answer = HttpAnswer(200, reply["body"]["text"].encode())
        protocol = columns if "columnar" in exchange["name"] else rows
        count = 2 if "2 instances" in exchange["name"] else 1
        for prediction in protocol.read_rows(answer, count):
            assert isinstance(prediction, np.ndarray)
            assert prediction.shape == (10,)
        with pytest.raises(BadResponseError):
            protocol.read_rows(answer, count + 1)
        with pytest.raises(BadResponseError):
            (rows if protocol is columns else columns).read_rows(answer, count)


def test_a_protocol_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        INFER.model = "other"  # type: ignore[misc]
