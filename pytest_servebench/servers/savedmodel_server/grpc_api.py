"""The gRPC API: PredictionService's Predict and GetModelMetadata, ModelService's GetModelStatus."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from pytest_servebench.protocols import tensorflow_tensors
from pytest_servebench.protocols.grpc_messages import tensorflow_serving_pb2 as messages
from pytest_servebench.servers.savedmodel_server.rest import Servable
from pytest_servebench.servers.savedmodel_server.signatures import (
    DEFAULT_SIGNATURE,
    DTYPES,
    Signature,
    TensorInfo,
    check_shapes,
)
from pytest_servebench.servers.savedmodel_server.status import ApiError

_BFLOAT16: Final = 14
_NUMBERS: Final = {dtype: number for number, dtype in DTYPES.items()}
_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # two servers on one port would share its connections
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
_M = TypeVar("_M")


class GrpcApi:
    """Answers calls for one model. Safe to call from several threads at once."""

    def __init__(self, model: Servable) -> None:
        self._model = model

    def predict(self, message: bytes) -> bytes:
        """Answer a PredictRequest; ``ApiError`` if it cannot be."""
        asked = _parsed(messages.PredictRequest(), message)
        self._find(asked.model_spec)
        name = asked.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = self._model.signatures.get(name)
        if signature is None:
            raise ApiError(f'Serving signature key "{name}" not found.', "FAILED_PRECONDITION")
        inputs = _inputs(asked.inputs, signature)
        check_shapes(inputs, signature)
        wanted = _wanted(asked.output_filter, signature)
        outputs = self._model.run(name, inputs)
        answer = messages.PredictResponse()
        self._fill_in(answer.model_spec, name)
        for key in wanted:
            tensorflow_tensors.write(answer.outputs[key], outputs[key], as_content=False)
        return bytes(answer.SerializeToString())

    def metadata(self, message: bytes) -> bytes:
        """Answer a GetModelMetadataRequest."""
        asked = _parsed(messages.GetModelMetadataRequest(), message)
        self._find(asked.model_spec)
        if list(asked.metadata_field) != ["signature_def"]:
            raise ApiError("Metadata field must be signature_def")
        told = messages.SignatureDefMap()
        for name, signature in self._model.signatures.items():
            definition = told.signature_def[name]
            definition.method_name = signature.method
            for infos, fields in (
                (signature.inputs, definition.inputs),
                (signature.outputs, definition.outputs),
            ):
                for key, info in infos.items():
                    _describe(fields[key], info)
        answer = messages.GetModelMetadataResponse()
        self._fill_in(answer.model_spec, "")
        packed = answer.metadata["signature_def"]
        packed.type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        packed.value = told.SerializeToString()
        return bytes(answer.SerializeToString())

    def status(self, message: bytes) -> bytes:
        """Answer a GetModelStatusRequest."""
        asked = _parsed(messages.GetModelStatusRequest(), message)
        self._find(asked.model_spec)
        answer = messages.GetModelStatusResponse()
        one = answer.model_version_status.add(version=self._model.version)
        one.state = messages.ModelVersionStatus.AVAILABLE
        one.status.SetInParent()
        return bytes(answer.SerializeToString())

    def _find(self, spec: messages.ModelSpec) -> None:
        if not spec.name:
            raise ApiError("Missing ModelSpec")
        if spec.WhichOneof("choice") == "version_label":
            raise ApiError(f"Unrecognized servable version label: {spec.version_label}")
        version = spec.version.value if spec.HasField("version") else None
        if spec.name == self._model.name and version in (None, self._model.version):
            return
        wanted = f"Latest({spec.name})" if version is None else f"Specific({spec.name}, {version})"
        raise ApiError(f"Servable not found for request: {wanted}", "NOT_FOUND")

    def _fill_in(self, spec: messages.ModelSpec, signature: str) -> None:
        spec.name, spec.signature_name = self._model.name, signature
        spec.version.value = self._model.version


def listen(model: Servable, address: str, port: int, threads: int) -> grpc.Server:
    """Return a server that answers calls, once it listens.

    Raises:
        OSError: it cannot listen there.
    """
    api = GrpcApi(model)
    server = grpc.server(ThreadPoolExecutor(threads, "grpc"), options=_OPTIONS)
    for service, methods in (
        ("PredictionService", {"Predict": api.predict, "GetModelMetadata": api.metadata}),
        ("ModelService", {"GetModelStatus": api.status}),
    ):
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(_answering(answer))
            for name, answer in methods.items()
        }
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(f"tensorflow.serving.{service}", handlers),)
        )
    host = f"[{address}]" if ":" in address else address
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise OSError(str(error)) from None
    server.start()
    return server


def _answering(answer: Callable[[bytes], bytes]) -> Callable[[bytes, Any], bytes]:
    def handle(message: bytes, context: Any) -> bytes:
        try:
            return answer(message)
        except ApiError as error:
            context.abort(grpc.StatusCode[error.code], error.message)
            raise AssertionError("unreachable") from error

    return handle


def _parsed(empty: _M, message: bytes) -> _M:
    try:
        empty.ParseFromString(message)  # type: ignore[attr-defined]
    except DecodeError as error:
        raise ApiError(f"The message cannot be parsed: {error}") from None
    return empty


def _inputs(given: Mapping[str, Any], signature: Signature) -> dict[str, np.ndarray[Any, Any]]:
    infos = signature.inputs
    if given.keys() != infos.keys():
        extra, missing = sorted(given.keys() - infos.keys()), sorted(infos.keys() - given.keys())
        raise ApiError(
            f"input size does not match signature: {len(given)}!={len(infos)} "
            f"len({{{','.join(sorted(given))}}}) != len({{{','.join(sorted(infos))}}}). "
            f"Sent extra: {{{','.join(extra)}}}. Missing but required: {{{','.join(missing)}}}."
        )
    return {name: _input(name, tensor, infos[name]) for name, tensor in given.items()}


def _input(name: str, tensor: messages.Tensor, info: TensorInfo) -> np.ndarray[Any, Any]:
    sent = DTYPES.get(tensor.dtype, DTYPES[0])
    if sent != info.dtype:
        raise ApiError(f"Input {name}: expects {info.dtype.word} but {sent.word} is provided")

    def wrong(what: str) -> Any:
        return ApiError(f"Input {name} {what}")

    array = tensorflow_tensors.read(tensor, wrong)
    if tensor.dtype == _BFLOAT16:
        import ml_dtypes  # noqa: PLC0415 - comes with TensorFlow

        array = array.astype(ml_dtypes.bfloat16)
    return array


def _wanted(names: Any, signature: Signature) -> list[str]:
    for name in names:
        if name not in signature.outputs:
            raise ApiError(
                f"output tensor alias not found in signature: {name} Outputs expected to be in "
                f"the set {{{','.join(sorted(signature.outputs))}}}."
            )
    return list(names) or list(signature.outputs)


def _describe(field: messages.SignatureDef.TensorInfo, info: TensorInfo) -> None:
    field.name, field.dtype = info.tensor, _NUMBERS[info.dtype]
    field.tensor_shape.unknown_rank = info.dims is None
    for size in info.dims or ():
        field.tensor_shape.dim.add().size = size
