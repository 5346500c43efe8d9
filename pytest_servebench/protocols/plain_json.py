"""JSON over HTTP, as FastAPI, BentoML, LitServe or Ray Serve apps define it themselves."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Literal

from pytest_servebench.errors import OptionError
from pytest_servebench.protocols.answer_paths import answered, check_path
from pytest_servebench.protocols.base import HttpAnswer, HttpRequest
from pytest_servebench.protocols.json_values import (
    in_json,
    in_object,
    is_binary,
    prediction,
)
from pytest_servebench.protocols.raw_bodies import BINARY, check_content_type, raw_body
from pytest_servebench.protocols.row_format import (
    JSON_TYPE,
    columns_in_json,
    read_columns,
    read_rows,
    rows_in_json,
)
from pytest_servebench.protocols.rows import OneOrMore, columns, only
from pytest_servebench.protocols.settings import Configured, setting
from pytest_servebench.values.arrays import Arrays


@dataclass(frozen=True)
class PlainJson(Configured, OneOrMore):
    """``POST`` of an object with a member for each input, or of text or bytes; answered by JSON.

    Attributes:
        path: on the server.
        body: ``"json"``; ``"bytes"``: the one input, which is bytes or text, is the body; or
            ``"multipart"``: a form with a field for each input: bytes as files, text as it is,
            numbers as JSON.
        content_type: of bytes.
        layout: ``"single"``: one sample, ``{"ids": […], "mask": […]}``. ``"columns"``: a list for
            each input. ``"rows"``: a list of samples under ``input``; a sample with names is an
            object.
        input: the name of an input without a name, or of the list of samples; if it is empty, the
            input or the list is the whole body, except in a form.
        wrapper: the member under which the object is sent; by default, it is the body itself.
        answer: where the prediction is in the answer: ``"result.scores"``, or several outputs:
            ``"result.scores,result.labels"``; by default, all of it. An object is outputs by name.
    """

    name: ClassVar[str] = "JSON"

    path: str = setting("path on the server", "/predict")
    _: KW_ONLY
    body: Literal["json", "bytes", "multipart"] = setting(
        "json, bytes (the one input as it is), or multipart (a form)", "json"
    )
    content_type: str = setting("content type of bytes", BINARY)
    layout: Literal["single", "columns", "rows"] = setting(
        "single (one sample), columns (a list for each input), or rows (a list of samples)",
        "single",
    )
    input: str = setting("name of an input without a name, or of the list of samples", "input")
    wrapper: str = setting("the member under which the inputs are sent", "")
    answer: str = setting("path to the prediction in the answer", "")

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            OptionError: one has a value that it cannot have.
        """
        super().__post_init__()
        check_path(self.answer)
        if not re.fullmatch(r"/[!-~]*", self.path):
            raise OptionError(
                f"path = {self.path!r}: give a path that begins with '/'; quote spaces and "
                "characters outside ASCII."
            )
        check_content_type(self.content_type)
        if self.body == "json":
            return
        for key, value, usual in (("layout", self.layout, "single"), ("wrapper", self.wrapper, "")):
            if value != usual:
                raise OptionError(f'{key} = {value!r}: this is for body = "json"; omit it.')
        if self.body == "multipart" and not self.input:
            raise OptionError("input = '': a field of a form needs a name, such as file.")

    def request_rows(self, samples: Sequence[Arrays]) -> HttpRequest:
        """Return one request for the predictions of one or more samples."""
        if self.body != "json":
            content_type, raw = raw_body(samples, self.body, self.content_type, self.input)
            return HttpRequest("POST", self.path, (("Content-Type", content_type),), raw)
        if self.layout == "rows":
            named, body = False, rows_in_json(samples)
        elif self.layout == "single":
            sample = only(samples, 'layout = "single"', 'layout = "rows" or "columns"')
            named, body = isinstance(sample, Mapping), in_json(sample)
        else:
            lists = columns(samples)
            named, body = isinstance(lists, Mapping), columns_in_json(lists)
        if self.input and not named:
            body = in_object({self.input: body})
        if self.wrapper:
            body = in_object({self.wrapper: body})
        return HttpRequest("POST", self.path, (JSON_TYPE,), body.encode("ascii"))

    def read_rows(self, answer: HttpAnswer, rows: int) -> Sequence[Arrays]:
        """Return the prediction of each row."""
        value, wrong = answered(answer, self.answer)
        if self.layout == "single":
            return [prediction(value, wrong)]
        if self.layout == "rows" or _holds_objects(value):
            return read_rows(value, self.answer or "predictions", rows, wrong)
        return read_columns(value, rows, wrong)


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and any(
        isinstance(each, dict) and not is_binary(each) for each in value
    )
