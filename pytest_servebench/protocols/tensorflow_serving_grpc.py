"""TensorFlow Serving's PredictionService, which is its API over gRPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from pytest_servebench.errors import BadResponseError, ModelError
from pytest_servebench.protocols import tensorflow_tensors
from pytest_servebench.protocols.answers import bad
from pytest_servebench.protocols.grpc import GrpcAnswer, GrpcRequest, parsed
from pytest_servebench.protocols.grpc_messages import check_protobuf
from pytest_servebench.protocols.rows import OneOrMore, predictions, tensors
from pytest_servebench.protocols.settings import Configured, setting
from pytest_servebench.protocols.tensorflow_serving import Place, check_choice
from pytest_servebench.values.arrays import Arrays

if TYPE_CHECKING:
    from pytest_servebench.protocols.grpc_messages.tensorflow_serving_pb2 import ModelSpec

PREDICTION_SERVICE: Final = "/tensorflow.serving.PredictionService"
MODEL_SERVICE: Final = "/tensorflow.serving.ModelService"
DEFAULT_SIGNATURE: Final = "serving_default"
_SIGNATURES: Final = "signature_def"


@dataclass(frozen=True)
class TensorFlowServingGrpc(Configured, OneOrMore):
    """``tensorflow.serving.PredictionService/Predict``, with tensors in binary form.

    Each input keeps its type: the server does not take a float64 for a float32.

    Attributes:
        model: the model's name at the server.
        layout: ``"columns"``: each tensor has a leading axis of samples. ``"single"``: it has not,
            and a request carries one sample.
        signature: name of the SavedModel's signature; by default, the server's.
        version: of the model; by default, the newest.
        label: of a version, such as ``"canary"``.
        input: the name of an input without a name; by default, the server is asked for it.
    """

    name: ClassVar[str] = "TensorFlow Serving gRPC"
    scheme: ClassVar[str] = "grpc"
    answered_by: ClassVar[str] = "input"

    model: str = setting("the model's name at the server")
    _: KW_ONLY
    layout: Literal["columns", "single"] = setting(
        "columns (tensors with an axis of samples), or single (without)", "columns"
    )
    signature: str = setting("name of the SavedModel's signature; by default, the server's", "")
    version: int | str = setting("version of the model; by default, the newest", "")
    label: str = setting('label of a version, such as "canary"', "")
    input: str = setting("name of an input without a name; by default, the server is asked", "")

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            OptionError: one has a value that it cannot have, or protobuf is missing.
        """
        super().__post_init__()
        check_choice(self.version, self.label)
        check_protobuf(self.name)

    def named(self, place: str) -> TensorFlowServingGrpc:
        """Return the same for a model given as in the paths of the REST API.

        Args:
            place: ``NAME``, ``NAME/versions/3`` or ``NAME/labels/canary``.
        """
        return replace(self, **Place.of(place).settings(self.version, self.label))

    def request_rows(self, samples: Sequence[Arrays]) -> GrpcRequest:
        """Return one request for the predictions of one or more samples."""
        from pytest_servebench.protocols.grpc_messages.tensorflow_serving_pb2 import PredictRequest

        message = PredictRequest(model_spec=self._spec())
        for name, array in tensors(samples, self.layout, self.input).items():
            if not name:
                raise ModelError(
                    f"{self.name} needs the name of the input: give it as the setting input, or "
                    "inputs with names."
                )
            tensorflow_tensors.write(message.inputs[name], array)
        return GrpcRequest(f"{PREDICTION_SERVICE}/Predict", message)

    def read_rows(self, answer: GrpcAnswer, rows: int) -> Sequence[Arrays]:
        """Return the prediction of each row; a single output has no name."""
        from pytest_servebench.protocols.grpc_messages.tensorflow_serving_pb2 import PredictResponse

        wrong = partial(bad, answer=answer, expected="a PredictResponse")
        said = parsed(PredictResponse(), answer, wrong)
        outputs = {
            name: tensorflow_tensors.read(each, wrong) for name, each in said.outputs.items()
        }
        return predictions(outputs, self.layout, rows, wrong)

    def question(self, inputs: Arrays) -> GrpcRequest | None:
        """Return the request for the names of the inputs, if these inputs have none."""
        from pytest_servebench.protocols.grpc_messages.tensorflow_serving_pb2 import (
            GetModelMetadataRequest,
        )

        if self.input or isinstance(inputs, Mapping):
            return None
        message = GetModelMetadataRequest(model_spec=self._spec(), metadata_field=[_SIGNATURES])
        return GrpcRequest(f"{PREDICTION_SERVICE}/GetModelMetadata", message)

    def told(self, answer: GrpcAnswer) -> TensorFlowServingGrpc:
        """Return the same with the name of the signature's only input, from a server's answer.

        Raises:
            BadResponseError: the signature has several, or there is no such signature.
        """
        from pytest_servebench.protocols.grpc_messages.tensorflow_serving_pb2 import (
            GetModelMetadataResponse,
            SignatureDefMap,
        )

        wrong = partial(bad, answer=answer, expected="a GetModelMetadataResponse")
        said = parsed(GetModelMetadataResponse(), answer, wrong)
        packed = GrpcAnswer(0, message=said.metadata[_SIGNATURES].value)
        signatures = parsed(SignatureDefMap(), packed, wrong).signature_def
        wanted = self.signature or DEFAULT_SIGNATURE
        if wanted not in signatures:
            names = ", ".join(map(repr, sorted(signatures))) or "none"
            raise BadResponseError(
                f"the model has no signature {wanted!r}, only {names}: set signature."
            )
        inputs = sorted(signatures[wanted].inputs)
        if len(inputs) != 1:
            raise BadResponseError(
                f"the signature {wanted!r} has the inputs {', '.join(map(repr, inputs))}: give "
                "inputs with these names."
            )
        return replace(self, input=inputs[0])

    def status_request(self) -> GrpcRequest:
        """Return the request for the loaded versions of the model."""
        from pytest_servebench.protocols.grpc_messages.tensorflow_serving_pb2 import (
            GetModelStatusRequest,
        )

        spec = self._spec()
        spec.signature_name = ""
        return GrpcRequest(
            f"{MODEL_SERVICE}/GetModelStatus", GetModelStatusRequest(model_spec=spec)
        )

    def states(self, answer: GrpcAnswer) -> set[str]:
        """Return the states of a model's versions; empty if the answer has none."""
        from pytest_servebench.protocols.grpc_messages.tensorflow_serving_pb2 import (
            GetModelStatusResponse,
            ModelVersionStatus,
        )

        try:
            said = parsed(GetModelStatusResponse(), answer, BadResponseError)
        except BadResponseError:
            return set()
        names: Any = ModelVersionStatus.State
        return {names.Name(version.state) for version in said.model_version_status}

    def _spec(self) -> ModelSpec:
        from pytest_servebench.protocols.grpc_messages.tensorflow_serving_pb2 import ModelSpec

        spec = ModelSpec(name=self.model, signature_name=self.signature)
        if self.label:
            spec.version_label = self.label
        elif self.version != "":
            spec.version.value = int(self.version)
        return spec
