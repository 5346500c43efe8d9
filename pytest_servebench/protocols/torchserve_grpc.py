"""TorchServe's InferenceAPIsService, which is its inference API over gRPC."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import ClassVar, Final, Literal

from pytest_servebench.protocols.answer_paths import answered, check_path
from pytest_servebench.protocols.answers import bad
from pytest_servebench.protocols.grpc import GrpcAnswer, GrpcRequest, parsed
from pytest_servebench.protocols.grpc_messages import check_protobuf
from pytest_servebench.protocols.json_values import checked_array, prediction
from pytest_servebench.protocols.raw_bodies import as_bytes, part_of
from pytest_servebench.protocols.row_format import instances_body, read_predictions
from pytest_servebench.protocols.rows import OneOrMore, only
from pytest_servebench.protocols.settings import Configured, setting
from pytest_servebench.protocols.torchserve import check_answer
from pytest_servebench.values.arrays import Arrays

UNNAMED: Final = "data"
"""The name under which handlers look for an input without one."""

_SERVICE: Final = "/org.pytorch.serve.grpc.inference.InferenceAPIsService"


@dataclass(frozen=True)
class TorchServeGrpc(Configured, OneOrMore):
    """``org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions``.

    The handler gets each input as bytes, under its name: TorchServe parses no JSON in gRPC.

    Attributes:
        model: the model's name at the server.
        version: of the model; by default, the server's default.
        body: ``"json"``: the bytes of ``{"instances": [...]}`` are one input, and those of
            ``{"predictions": [...]}`` the answer. ``"bytes"``: the one input, which is bytes or
            text. ``"multipart"``: an input for each of the model's: bytes and text as they are,
            numbers as JSON.
        input: the name of an input without a name, and of that with JSON.
        answer: where the prediction is in the JSON that answers bytes or several inputs:
            ``"result.scores"``; by default, all of it.
        token: TorchServe's inference key, never shown; ``None`` if authorization is off.
    """

    name: ClassVar[str] = "TorchServe gRPC"
    scheme: ClassVar[str] = "grpc"

    model: str = setting("the model's name at the server")
    _: KW_ONLY
    version: int | str = setting("version of the model; by default, the server's", "")
    body: Literal["json", "bytes", "multipart"] = setting(
        "json (instances), bytes (the one input as it is), or multipart (each input by its name)",
        "json",
    )
    input: str = setting("name of an input without a name, and of that with JSON", UNNAMED)
    answer: str = setting("path to the prediction in the answer to bytes or several inputs", "")
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            OptionError: one has a value that it cannot have, or protobuf is missing.
        """
        super().__post_init__()
        check_path(self.answer)
        check_answer(self.answer, self.body)
        check_protobuf(self.name)

    @property
    def authorization(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata that the server requires in every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token is not None else ()

    def request_rows(self, samples: Sequence[Arrays]) -> GrpcRequest:
        """Return one request for the predictions of one or more samples."""
        from pytest_servebench.protocols.grpc_messages.torchserve_pb2 import PredictionsRequest

        message = PredictionsRequest(
            model_name=self.model, model_version=str(self.version), input=self._inputs(samples)
        )
        return GrpcRequest(f"{_SERVICE}/Predictions", message, self.authorization)

    def _inputs(self, samples: Sequence[Arrays]) -> Mapping[str, bytes]:
        if self.body == "json":
            return {self.input: instances_body(samples)}
        sample = only(samples, f'body = "{self.body}"', 'body = "json"')
        if self.body == "bytes":
            name = next(iter(sample)) if isinstance(sample, Mapping) else self.input
            return {name: as_bytes(sample)}
        inputs = sample if isinstance(sample, Mapping) else {self.input: sample}
        return {name: part_of(checked_array(value))[1] for name, value in inputs.items()}

    def read_rows(self, answer: GrpcAnswer, rows: int) -> Sequence[Arrays]:
        """Return the prediction of each row."""
        from pytest_servebench.protocols.grpc_messages.torchserve_pb2 import PredictionResponse

        wrong = partial(bad, answer=answer, expected="a PredictionResponse")
        content = GrpcAnswer(0, message=parsed(PredictionResponse(), answer, wrong).prediction)
        if self.body == "json":
            return read_predictions(content, rows)
        return [prediction(*answered(content, self.answer))]
