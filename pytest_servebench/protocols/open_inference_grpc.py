"""The Open Inference Protocol (v2) over gRPC: KServe, MLServer, Triton, OpenVINO and others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np

from pytest_servebench.errors import ModelError
from pytest_servebench.protocols import binary_tensors
from pytest_servebench.protocols.answers import bad
from pytest_servebench.protocols.grpc import GrpcAnswer, GrpcRequest, parsed
from pytest_servebench.protocols.grpc_messages import check_protobuf
from pytest_servebench.protocols.json_values import Bad
from pytest_servebench.protocols.open_inference import REQUEST_ID
from pytest_servebench.protocols.rows import OneOrMore, predictions, tensors
from pytest_servebench.protocols.settings import Configured, setting
from pytest_servebench.values.arrays import Array, Arrays

if TYPE_CHECKING:
    from pytest_servebench.protocols.grpc_messages.open_inference_pb2 import Tensor

_SERVICE: Final = "/inference.GRPCInferenceService"
_FIELDS: Final = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"), "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"), "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", binary_tensors.BYTES: "bytes_contents",
}  # fmt: skip
"""Type of a tensor to the field that has its elements, one by one."""


@dataclass(frozen=True)
class OpenInferenceGrpc(Configured, OneOrMore):
    """``inference.GRPCInferenceService/ModelInfer``, with tensors raw or typed.

    Attributes:
        model: the model's name at the server.
        version: of the model; by default, the server's default.
        layout: ``"columns"``: each tensor has a leading axis of samples. ``"single"``: it has not,
            and a request carries one sample.
        contents: ``"raw"``: each tensor is bytes. ``"typed"``: a list of numbers, which servers
            read more slowly; it has no 16-bit floats.
        input: the name of an input without a name.
    """

    name: ClassVar[str] = "Open Inference Protocol v2 gRPC"
    scheme: ClassVar[str] = "grpc"

    model: str = setting("the model's name at the server")
    _: KW_ONLY
    version: int | str = setting("version of the model; by default, the server's", "")
    layout: Literal["columns", "single"] = setting(
        "columns (tensors with an axis of samples), or single (without)", "columns"
    )
    contents: Literal["raw", "typed"] = setting(
        "raw (tensors as bytes), or typed (lists of numbers)", "raw"
    )
    input: str = setting("name of an input without a name", "input")

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            OptionError: one has a value that it cannot have, or protobuf is missing.
        """
        super().__post_init__()
        check_protobuf(self.name)

    def request_rows(self, samples: Sequence[Arrays]) -> GrpcRequest:
        """Return one request for the predictions of one or more samples."""
        from pytest_servebench.protocols.grpc_messages.open_inference_pb2 import ModelInferRequest

        message = ModelInferRequest(
            model_name=self.model, model_version=str(self.version), id=REQUEST_ID
        )
        for name, array in tensors(samples, self.layout, self.input).items():
            datatype = binary_tensors.datatype(array)
            tensor = message.inputs.add(name=name, datatype=datatype, shape=array.shape)
            if self.contents == "raw":
                message.raw_input_contents.append(binary_tensors.written(array))
            else:
                _write(tensor, array)
        return GrpcRequest(f"{_SERVICE}/ModelInfer", message)

    def read_rows(self, answer: GrpcAnswer, rows: int) -> Sequence[Arrays]:
        """Return the prediction of each row; a single output has no name."""
        from pytest_servebench.protocols.grpc_messages.open_inference_pb2 import ModelInferResponse

        wrong = partial(bad, answer=answer, expected="a ModelInferResponse")
        said = parsed(ModelInferResponse(), answer, wrong)
        raw = list(said.raw_output_contents)
        if raw and len(raw) != len(said.outputs):
            raise wrong(f"has {len(said.outputs)} outputs and {len(raw)} raw contents")
        outputs: dict[str, Array] = {}
        for number, each in enumerate(said.outputs):
            if each.name in outputs:
                raise wrong(f"has two outputs {each.name!r}")
            outputs[each.name] = _read(each, raw[number] if raw else None, wrong)
        return predictions(outputs, self.layout, rows, wrong)


def _write(tensor: Tensor, array: Array) -> None:
    if tensor.datatype not in _FIELDS:
        raise ModelError(
            f"The input {tensor.name!r} is of {array.dtype}, for which typed contents have no "
            'field: set contents = "raw".'
        )
    is_text = tensor.datatype == binary_tensors.BYTES
    values = binary_tensors.encoded(array) if is_text else array.reshape(-1).tolist()
    getattr(tensor.contents, _FIELDS[tensor.datatype]).extend(values)


def _read(tensor: Tensor, raw: bytes | None, wrong: Bad) -> Array:
    name, datatype, shape = tensor.name, tensor.datatype, list(tensor.shape)
    if datatype not in binary_tensors.DATATYPES:
        raise wrong(f"has an output {name!r} of the datatype {datatype!r}")
    if min(shape, default=0) < 0:
        raise wrong(f"has an output {name!r} of the shape {shape}")
    try:
        if raw is not None:
            return binary_tensors.read(raw, datatype).reshape(shape)
        field = _FIELDS.get(datatype)
        values = list(getattr(tensor.contents, field)) if field else []
        if datatype == binary_tensors.BYTES:
            array = np.empty(len(values), dtype=object)
            array[:] = values
        else:
            array = np.array(values, dtype=binary_tensors.dtype_of(datatype))
        return array.reshape(shape)
    except (ValueError, OverflowError) as error:
        raise wrong(f"has an output {name!r} that is not {datatype} of {shape}: {error}") from None
