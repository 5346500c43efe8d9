"""Prediction protocols: how to request predictions and read them."""

from pytest_servebench.protocols.base import (
    Headers,
    HttpAnswer,
    HttpRequest,
    PredictionProtocol,
)
from pytest_servebench.protocols.grpc import GrpcAnswer, GrpcRequest, GrpcStatus
from pytest_servebench.protocols.http2 import Http2Request
from pytest_servebench.protocols.open_inference import OpenInference
from pytest_servebench.protocols.open_inference_grpc import OpenInferenceGrpc
from pytest_servebench.protocols.plain_json import PlainJson
from pytest_servebench.protocols.registry import PROTOCOLS, protocol_from
from pytest_servebench.protocols.rows import RowsProtocol
from pytest_servebench.protocols.tensorflow_serving import KServeV1, TensorFlowServingRest
from pytest_servebench.protocols.tensorflow_serving_grpc import TensorFlowServingGrpc
from pytest_servebench.protocols.torchserve import TorchServeRest
from pytest_servebench.protocols.torchserve_grpc import TorchServeGrpc

__all__ = [
    "PROTOCOLS", "GrpcAnswer", "GrpcRequest", "GrpcStatus", "Headers", "Http2Request", "HttpAnswer",
    "HttpRequest", "KServeV1", "OpenInference", "OpenInferenceGrpc", "PlainJson",
    "PredictionProtocol", "RowsProtocol", "TensorFlowServingGrpc", "TensorFlowServingRest",
    "TorchServeGrpc", "TorchServeRest", "protocol_from",
]  # fmt: skip
