"""The protocols over gRPC: their messages, and which answers they take for predictions."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.errors import BadResponseError, ModelError, OptionError
from pytest_servebench.protocols import (
    GrpcAnswer,
    OpenInferenceGrpc,
    RowsProtocol,
    TensorFlowServingGrpc,
    TorchServeGrpc,
    grpc_messages,
)
from pytest_servebench.protocols.grpc_messages import open_inference_pb2 as oip
from pytest_servebench.protocols.grpc_messages import tensorflow_serving_pb2 as tf
from pytest_servebench.protocols.grpc_messages import torchserve_pb2 as ts
from pytest_servebench.values.expectations import disagreement

from . import reference_grpc

PROTOS = Path(grpc_messages.__file__).parent
TWO = {"ids": np.array([7, 2**60]), "mask": np.array([True, False])}
TEXT = np.array("né", object)


def test_a_request_of_tensorflow_serving() -> None:
    protocol = TensorFlowServingGrpc("m", signature="s", version=3)
    request = protocol.request(TWO)
    assert request.method == "/tensorflow.serving.PredictionService/Predict"
    asked = tf.PredictRequest.FromString(request.message)
    spec = asked.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("m", "s", 3)
    assert {name: (each.dtype, [dim.size for dim in each.tensor_shape.dim], each.tensor_content)
            for name, each in asked.inputs.items()} == {
        "ids": (9, [1, 2], np.array([7, 2**60], "<i8").tobytes()),
        "mask": (10, [1, 2], b"\1\0"),
    }  # fmt: skip
    label = TensorFlowServingGrpc("x").named("m/labels/canary")
    spec = tf.GetModelStatusRequest.FromString(label.status_request().message).model_spec
    assert (spec.name, spec.version_label, spec.WhichOneof("choice")) == (
        "m", "canary", "version_label"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "inputs", "sent"),
    [
        ("json", np.array([1.5]), {"data": b'{"instances":[[1.5]]}'}),
        ("bytes", TEXT, {"data": "né".encode()}),
        ("bytes", {"image": np.array(b"\xff", object)}, {"image": b"\xff"}),
        ("multipart", {"image": np.array(b"\xff", object), "ids": np.array([1, 2]), "t": TEXT},
         {"image": b"\xff", "ids": b"[1,2]", "t": "né".encode()}),
    ],
)  # fmt: skip
def test_a_request_of_torchserve(body: Any, inputs: Any, sent: dict[str, bytes]) -> None:
    protocol = TorchServeGrpc("m", version="1.0", body=body, token="k3y-0f-th3-t3sts")
    request = protocol.request(inputs)
    assert request.method.endswith("inference.InferenceAPIsService/Predictions")
    assert request.metadata == (("authorization", "Bearer k3y-0f-th3-t3sts"),)
    asked = ts.PredictionsRequest.FromString(request.message)
    assert (asked.model_name, asked.model_version, dict(asked.input)) == ("m", "1.0", sent)


def test_what_torchserve_answers_to_bytes() -> None:
    protocol = TorchServeGrpc("m", body="bytes", answer="result.scores")
    content = ts.PredictionResponse(prediction=b'{"result": {"scores": [1, 2]}}')
    read = protocol.read(GrpcAnswer(0, message=content.SerializeToString()))
    assert disagreement(read, np.array([1, 2])) is None


def test_requests_of_the_open_inference_protocol() -> None:
    sent = [oip.ModelInferRequest.FromString(OpenInferenceGrpc(
        "m", contents=contents, layout="single"
    ).request(TWO).message) for contents in ("raw", "typed")]  # fmt: skip
    for asked in sent:
        assert [(each.name, each.datatype, list(each.shape)) for each in asked.inputs] == [
            ("ids", "INT64", [2]), ("mask", "BOOL", [2])
        ]  # fmt: skip
    raw, typed = sent
    assert list(raw.raw_input_contents) == [np.array([7, 2**60], "<i8").tobytes(), b"\1\0"]
    assert list(typed.inputs[0].contents.int64_contents) == [7, 2**60]
    assert list(typed.inputs[1].contents.bool_contents) == [True, False]


def metadata(**signatures: tuple[str, ...]) -> GrpcAnswer:
    """Return the signatures of a model, each with its inputs."""
    told = tf.SignatureDefMap()
    for name, inputs in signatures.items():
        for each in inputs:
            told.signature_def[name].inputs[each].dtype = 1
    answer = tf.GetModelMetadataResponse()
    answer.metadata["signature_def"].value = told.SerializeToString()
    return GrpcAnswer(0, message=answer.SerializeToString())


def test_the_server_is_asked_for_the_name_of_an_input() -> None:
    protocol = TensorFlowServingGrpc("m", version=3)
    assert protocol.question(TWO) is None
    question = protocol.question(np.zeros(2))
    assert question is not None
    assert question.method == "/tensorflow.serving.PredictionService/GetModelMetadata"
    asked = tf.GetModelMetadataRequest.FromString(question.message)
    assert (asked.model_spec.name, list(asked.metadata_field)) == ("m", ["signature_def"])
    told = protocol.told(metadata(serving_default=("x",), other=("y", "z")))
    assert (told.input, told.version, told.question(np.zeros(2))) == ("x", 3, None)
    for signature, facts in (("other", "'y', 'z'"), ("none", "'other', 'serving_default'")):
        with pytest.raises(BadResponseError, match=facts):
            TensorFlowServingGrpc("m", signature=signature).told(
                metadata(serving_default=("x",), other=("y", "z"))
            )
    with pytest.raises(ModelError, match="input"):
        protocol.request(np.zeros(2))


def tensor(**values: Any) -> bytes:
    """Return an answer of TensorFlow Serving with one output."""
    answer = tf.PredictResponse()
    size = values.pop("size", None)
    answer.outputs["y"].CopyFrom(tf.Tensor(**values))
    for each in size or ():
        answer.outputs["y"].tensor_shape.dim.add().size = each
    return bytes(answer.SerializeToString())


def infer(*outputs: oip.Tensor, raw: tuple[bytes, ...] = ()) -> bytes:
    answer = oip.ModelInferResponse(outputs=outputs, raw_output_contents=raw)
    return bytes(answer.SerializeToString())


FLAT = oip.Tensor(name="y", datatype="FP32", shape=[1, 2])
TF, OIP = TensorFlowServingGrpc("m", input="x"), OpenInferenceGrpc("m")


@pytest.mark.parametrize(
    ("protocol", "message", "reason"),
    [
        (TF, b"", "no outputs"),
        (TF, b"\xff", "no such message|not such a message"),
        (TF, tensor(dtype=1, float_val=[1.0]), "predictions for one input"),
        (TF, tensor(dtype=8, size=[1]), "type 8"),
        (TF, tensor(dtype=1, float_val=[1.0, 2.0], size=[1, 1]), "2 values"),
        (TF, tensor(dtype=1, tensor_content=b"abc", size=[1, 1]), "FP32"),
        (TF, tensor(dtype=1, size=[1, -1]), r"\(1, -1\)"),
        (TF, tensor(dtype=1, float_val=[1.0], size=[2**20, 2**20]), "shape"),
        (TF, tensor(dtype=1, float_val=[1.0], size=[2, 1]), "2 predictions"),
        (OIP, infer(), "no outputs"),
        (OIP, infer(FLAT), "FP32"),
        (OIP, infer(FLAT, raw=(b"", b"")), "1 outputs and 2 raw"),
        (OIP, infer(FLAT, FLAT, raw=(bytes(8), bytes(8))), "two outputs 'y'"),
        (OIP, infer(oip.Tensor(name="y", datatype="FP8")), "'FP8'"),
        (OIP, infer(oip.Tensor(name="y", datatype="FP32", shape=[-1])), r"\[-1\]"),
        (TorchServeGrpc("m"), b"", "not JSON"),
        (TorchServeGrpc("m"),
         ts.PredictionResponse(prediction=b'{"error": "no"}').SerializeToString(), "is an error"),
    ],
)  # fmt: skip
def test_what_is_no_prediction(protocol: RowsProtocol, message: bytes, reason: str) -> None:
    with pytest.raises(BadResponseError, match=reason) as raised:
        protocol.read(GrpcAnswer(0, message=message))
    assert len(str(raised.value)) < 900


@pytest.mark.parametrize("protocol", [TF, OIP, TorchServeGrpc("m")], ids=repr)
@given(data=st.data())
def test_any_bytes_are_a_prediction_or_a_bad_response(protocol: Any, data: st.DataObject) -> None:
    request = protocol.request(np.array([1.5, 2.5], np.float32))
    message = bytearray(reference_grpc.echo(request.method, request.message))
    for _ in range(data.draw(st.integers(0, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(message)))
    try:
        protocol.read(
            GrpcAnswer(0, message=bytes(message[:cut] + data.draw(st.binary(max_size=9))))
        )
    except BadResponseError as error:
        assert len(str(error)) < 1000  # noqa: PT017


def test_equal_elements_at_the_end_may_be_left_out() -> None:
    read = TF.read(GrpcAnswer(0, message=tensor(dtype=1, float_val=[1.0, 2.0], size=[1, 4])))
    assert disagreement(read, np.array([1.0, 2.0, 2.0, 2.0])) is None
    assert disagreement(
        TF.read(GrpcAnswer(0, message=tensor(dtype=3, size=[1, 2]))), np.array([0, 0])
    ) is None  # fmt: skip


def test_an_input_that_typed_contents_cannot_have() -> None:
    with pytest.raises(ModelError, match=r'float16.*contents = "raw"'):
        OpenInferenceGrpc("m", contents="typed").request(np.zeros(2, np.float16))


def test_protobuf_is_needed_only_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, pytest_servebench.protocols; sys.exit('google.protobuf' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(OptionError, match=r"TorchServe gRPC .*pytest-servebench\[grpc\]"):
        TorchServeGrpc("m")


@pytest.mark.skipif(not shutil.which("protoc"), reason="needs protoc")
@pytest.mark.parametrize("module", [tf, ts, oip], ids=lambda each: each.__name__.rpartition(".")[2])
def test_the_generated_code_is_that_of_its_proto(module: Any, tmp_path: Path) -> None:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet  # noqa: PLC0415

    file = PROTOS / f"{module.__name__.rpartition('.')[2].removesuffix('_pb2')}.proto"
    out = tmp_path / "set"
    root = PROTOS.parents[2]
    subprocess.run(
        ["protoc", f"--descriptor_set_out={out}", str(file.relative_to(root))], cwd=root, check=True
    )
    (described,) = FileDescriptorSet.FromString(out.read_bytes()).file
    generated = FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    assert generated.package == f"pytest_servebench.{file.stem}"  # no other library's
    assert str(generated) == re.sub(r'\n *json_name: ".*"', "", str(described))
