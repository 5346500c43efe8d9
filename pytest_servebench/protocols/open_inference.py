"""The Open Inference Protocol (v2): KServe, MLServer, Triton, OpenVINO and others."""

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import quote

import numpy as np

from pytest_servebench.errors import ModelError, OptionError
from pytest_servebench.protocols import binary_tensors
from pytest_servebench.protocols.answers import bad
from pytest_servebench.protocols.base import HttpAnswer, HttpRequest
from pytest_servebench.protocols.json_values import (
    Bad,
    in_list,
    parsed_object,
    words,
)
from pytest_servebench.protocols.row_format import JSON_TYPE
from pytest_servebench.protocols.rows import OneOrMore, predictions, tensors
from pytest_servebench.protocols.settings import Configured, setting
from pytest_servebench.values.arrays import Array, Arrays

LENGTH: Final = "Inference-Header-Content-Length"
_BASE64: Final = "base64"
REQUEST_ID: Final = "servebench"
"""Some servers copy it into their answer, and fail without one. The same in every request."""


@dataclass(frozen=True)
class OpenInference(Configured, OneOrMore):
    """``POST /v2/models/MODEL/infer``, with tensors in JSON or binary.

    Attributes:
        model: the model's name at the server.
        version: of the model; by default, the server's default.
        layout: ``"columns"``: each tensor has a leading axis of samples. ``"single"``: it has not,
            and a request carries one sample.
        binary: send tensors as bytes after the JSON, and ask for such an answer.
        base64: send bytes as base64 in JSON, as MLServer reads them.
        input: the name of an input without a name.
    """

    model: str = setting("the model's name at the server")
    _: KW_ONLY
    version: int | str = setting("version of the model; by default, the server's", "")
    layout: Literal["columns", "single"] = setting(
        "columns (tensors with an axis of samples), or single (without)", "columns"
    )
    binary: bool = setting("send and ask for binary tensors", False)
    base64: bool = setting("send bytes as base64 in JSON, as MLServer reads them", False)
    input: str = setting("name of an input without a name", "input")

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            OptionError: one has a value that it cannot have.
        """
        super().__post_init__()
        if self.binary and self.base64:
            raise OptionError("binary = true, base64 = true: give one of them.")

    @property
    def name(self) -> str:
        """Return the protocol's name, as shown in reports."""
        return f"Open Inference Protocol v2{', binary' if self.binary else ''}"

    @property
    def path(self) -> str:
        """Return the path of the model, or of its version."""
        version = f"/versions/{quote(str(self.version), safe='')}" if self.version != "" else ""
        return f"/v2/models/{quote(self.model, safe='')}{version}"

    def request_rows(self, samples: Sequence[Arrays]) -> HttpRequest:
        """Return one request for the predictions of one or more samples."""
        arrays = tensors(samples, self.layout, self.input)
        path = f"{self.path}/infer"
        if not self.binary:
            inputs = in_list([self._in_json(name, array) for name, array in arrays.items()])
            body = f'{{"id":"{REQUEST_ID}","inputs":{inputs}}}'.encode("ascii")
            return HttpRequest("POST", path, (JSON_TYPE,), body)
        contents = {name: binary_tensors.written(array) for name, array in arrays.items()}
        head = json.dumps(
            {
                "id": REQUEST_ID,
                "inputs": [
                    {
                        **_described(name, array),
                        "parameters": {"binary_data_size": len(contents[name])},
                    }
                    for name, array in arrays.items()
                ],
                "parameters": {"binary_data_output": True},
            },
            separators=(",", ":"),
        ).encode("ascii")
        headers = (("Content-Type", "application/octet-stream"), (LENGTH, str(len(head))))
        return HttpRequest("POST", path, headers, head + b"".join(contents.values()))

    def _in_json(self, name: str, array: Array) -> str:
        head = _described(name, array)
        if head["datatype"] == binary_tensors.BYTES:
            if self.base64 and any(isinstance(each, bytes) for each in array.flat):
                head["parameters"] = {"content_type": _BASE64}
                array = _as_base64(array)
            else:
                array = _as_text(name, array)
        elif array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelError(
                f"The input {name!r} holds NaN or infinity, which JSON cannot represent: set "
                "binary = true."
            )
        data = in_list(words(array))
        return f'{json.dumps(head, separators=(",", ":"))[:-1]},"data":{data}}}'

    def read_rows(self, answer: HttpAnswer, rows: int) -> Sequence[Arrays]:
        """Return the prediction of each row; a single output has no name."""
        wrong = partial(bad, answer=answer, expected='{"outputs": [{"name": …, "data": …}]}')
        return predictions(_outputs(answer, wrong), self.layout, rows, wrong)


def _described(name: str, array: Array) -> dict[str, object]:
    datatype = binary_tensors.datatype(array)
    return {"name": name, "shape": list(array.shape), "datatype": datatype}


def _as_text(name: str, array: Array) -> Array:
    """Return bytes as text: tensors in JSON have no other form for them."""
    try:
        values = [each.decode() if isinstance(each, bytes) else each for each in array.flat]
    except UnicodeDecodeError:
        raise ModelError(
            f"The input {name!r} has bytes that are not UTF-8 text, which this protocol cannot "
            "send in JSON: set binary = true, or base64 = true for MLServer."
        ) from None
    return np.array(values, dtype=object)


def _as_base64(array: Array) -> Array:
    contents = (each.encode() if isinstance(each, str) else each for each in array.flat)
    return np.array([b64encode(each).decode("ascii") for each in contents], dtype=object)


def _of_base64(array: Array) -> Array:
    return np.array([b64decode(each, validate=True) for each in array.flat], dtype=object)


def _outputs(answer: HttpAnswer, wrong: Bad) -> dict[str, Array]:
    length = len(answer.body)
    if (said := answer.headers.get(LENGTH)) is not None:
        length = int(said) if said.isdecimal() else length + 1
        if length > len(answer.body):
            raise wrong(f"has {LENGTH}: {said} and {len(answer.body)} bytes")
    head = parsed_object(answer.body[:length], wrong)
    outputs = head.get("outputs")
    if not isinstance(outputs, list) or not outputs:
        raise wrong('has no "outputs"')
    rest = answer.body[length:]
    found: dict[str, Array] = {}
    for each in outputs:
        array, rest = _output(each, rest, wrong)
        if each["name"] in found:
            raise wrong(f"has two outputs {each['name']!r}")
        found[each["name"]] = array
    if rest:
        raise wrong(f"has {len(rest)} bytes after its last tensor")
    return found


def _output(each: Any, rest: bytes, wrong: Bad) -> tuple[Array, bytes]:
    if not isinstance(each, dict) or not isinstance(each.get("name"), str):
        raise wrong('has an item in "outputs" without a "name"')
    name, shape, datatype = each["name"], each.get("shape"), each.get("datatype")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise wrong(f'has an output {name!r} with the "shape" {shape!r}')
    if datatype not in binary_tensors.DATATYPES:
        raise wrong(f'has an output {name!r} of the "datatype" {datatype!r}')
    parameters = each.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None and (type(size) is not int or not 0 <= size <= len(rest)):
        raise wrong(f"has an output {name!r} of {size!r} binary bytes, of which {len(rest)} came")
    try:
        if size is None:
            array = binary_tensors.of_json(each.get("data"), datatype)
            coded = isinstance(parameters, dict) and parameters.get("content_type") == _BASE64
            if coded and datatype == binary_tensors.BYTES:
                array = _of_base64(array)
            return array.reshape(shape), rest
        return binary_tensors.read(rest[:size], datatype).reshape(shape), rest[size:]
    except (ValueError, TypeError, OverflowError) as error:
        raise wrong(f"has an output {name!r} that is not {datatype} of {shape}: {error}") from None
