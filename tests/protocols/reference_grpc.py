"""What a server does with a call of each protocol over gRPC, written from their ``.proto`` files.

Answers have the form that requests do not: a server chooses its own.
"""

import numpy as np

from pytest_servebench.protocols.grpc_messages import open_inference_pb2 as oip
from pytest_servebench.protocols.grpc_messages import tensorflow_serving_pb2 as tf
from pytest_servebench.protocols.grpc_messages import torchserve_pb2 as ts

FIELDS = {  # TensorFlow's types, and where their elements are
    1: ("<f4", "float_val"), 2: ("<f8", "double_val"), 3: ("<i4", "int_val"), 4: ("u1", "int_val"),
    5: ("<i2", "int_val"), 6: ("i1", "int_val"), 9: ("<i8", "int64_val"), 10: ("?", "bool_val"),
    14: ("<u2", "half_val"), 17: ("<u2", "int_val"), 19: ("<u2", "half_val"),
    22: ("<u4", "uint32_val"), 23: ("<u8", "uint64_val"),
}  # fmt: skip
STRING = 7


def echo(method: str, message: bytes) -> bytes:
    """Answer with what was sent."""
    answer = {
        "/tensorflow.serving.PredictionService/Predict": _predict,
        "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions": _predictions,
        "/inference.GRPCInferenceService/ModelInfer": _infer,
    }[method]
    return answer(message)


def _predict(message: bytes) -> bytes:
    asked = tf.PredictRequest.FromString(message)
    assert asked.model_spec.name == "m"
    answer = tf.PredictResponse(model_spec=asked.model_spec)
    for name, tensor in asked.inputs.items():
        output = answer.outputs[name]
        output.CopyFrom(tensor)
        if tensor.dtype == STRING:
            assert not tensor.tensor_content
            continue
        dtype, field = FIELDS[tensor.dtype]
        values = np.frombuffer(tensor.tensor_content, dtype).tolist()
        output.tensor_content = b""
        while len(values) > 1 and values[-1] == values[-2] and values[-1] != 0:  # -0.0 is not 0.0
            del values[-1]  # the last one stands for those that are missing
        getattr(output, field).extend(values)
    return bytes(answer.SerializeToString())


def _predictions(message: bytes) -> bytes:
    asked = ts.PredictionsRequest.FromString(message)
    assert asked.model_name == "m"
    prediction = asked.input["data"].replace(b'{"instances":', b'{"predictions":', 1)
    return bytes(ts.PredictionResponse(prediction=prediction).SerializeToString())


def _infer(message: bytes) -> bytes:
    asked = oip.ModelInferRequest.FromString(message)
    assert asked.model_name == "m"
    answer = oip.ModelInferResponse(id=asked.id, outputs=asked.inputs)
    answer.raw_output_contents.extend(asked.raw_input_contents)
    return bytes(answer.SerializeToString())
