"""TorchServe's inference API."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, Literal
from urllib.parse import quote

from pytest_servebench.errors import OptionError
from pytest_servebench.protocols.answer_paths import answered, check_path
from pytest_servebench.protocols.base import HttpAnswer, HttpRequest
from pytest_servebench.protocols.json_values import prediction
from pytest_servebench.protocols.raw_bodies import BINARY, check_content_type, raw_body
from pytest_servebench.protocols.row_format import JSON_TYPE, instances_body, read_predictions
from pytest_servebench.protocols.rows import OneOrMore
from pytest_servebench.protocols.settings import Configured, setting
from pytest_servebench.values.arrays import Arrays


@dataclass(frozen=True)
class TorchServeRest(Configured, OneOrMore):
    """``POST /predictions/MODEL``.

    Attributes:
        model: the model's name at the server.
        version: of the model; by default, the server's default.
        body: ``"json"``: ``instances`` and ``predictions``, TorchServe's KServe envelope.
            ``"bytes"``: the one input, which is bytes or text, is the body. ``"multipart"``: a form
            with a field for each input: bytes as files, text as it is, numbers as JSON.
        content_type: of bytes.
        input: the name of an input without a name, in a form.
        answer: where the prediction is in the JSON that answers bytes or a form:
            ``"result.scores"``; by default, all of it.
        token: TorchServe's inference key, never shown; ``None`` if authorization is off.
    """

    name: ClassVar[str] = "TorchServe REST"

    model: str = setting("the model's name at the server")
    _: KW_ONLY
    version: int | str = setting("version of the model; by default, the server's", "")
    body: Literal["json", "bytes", "multipart"] = setting(
        "json (instances), bytes (the one input as it is), or multipart (a form)", "json"
    )
    content_type: str = setting("content type of bytes", BINARY)
    input: str = setting("name of an input without a name, in a form", "data")
    answer: str = setting("path to the prediction in the answer to bytes or a form", "")
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            OptionError: one has a value that it cannot have.
        """
        super().__post_init__()
        check_path(self.answer)
        check_content_type(self.content_type)
        try:
            check_answer(self.answer, self.body)
        except OptionError as error:
            path = f"/predictions/{quote(self.model, safe='')}"
            raise OptionError(
                f'{error} For other JSON, use the protocol json with path = "{path}".'
            ) from None

    @property
    def authorization(self) -> tuple[tuple[str, str], ...]:
        """Return the headers that the server requires in every request."""
        return (("Authorization", f"Bearer {self.token}"),) if self.token is not None else ()

    def request_rows(self, samples: Sequence[Arrays]) -> HttpRequest:
        """Return one request for the predictions of one or more samples."""
        if self.body == "json":
            content_type, body = JSON_TYPE[1], instances_body(samples)
        else:
            content_type, body = raw_body(samples, self.body, self.content_type, self.input)
        version = f"/{quote(str(self.version), safe='')}" if self.version != "" else ""
        return HttpRequest(
            "POST",
            f"/predictions/{quote(self.model, safe='')}{version}",
            (("Content-Type", content_type), *self.authorization),
            body,
        )

    def read_rows(self, answer: HttpAnswer, rows: int) -> Sequence[Arrays]:
        """Return the prediction of each row."""
        if self.body == "json":
            return read_predictions(answer, rows)
        return [prediction(*answered(answer, self.answer))]


def check_answer(answer: str, body: str) -> None:
    """Check that ``answer`` is given for an answer that has paths.

    Raises:
        OptionError: the form of the answer is fixed.
    """
    if answer and body == "json":
        raise OptionError(f'answer = {answer!r}: with body = "json" the answer is "predictions".')
