"""From a model's outputs to the text of an answer, laid out as the real server lays it out."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.servers.savedmodel_server.decimals import format_floats
from pytest_servebench.servers.savedmodel_server.rapid_json import string_literal
from pytest_servebench.servers.savedmodel_server.signatures import (
    FLOAT,
    Signature,
    TensorInfo,
)
from pytest_servebench.servers.savedmodel_server.status import ApiError

_INDENT = "    "
Array = npt.NDArray[Any]
# A leaf's text, given the depth at which it stands: binary strings take several lines.
Leaf = Callable[[int], str]


def error_body(message: str) -> bytes:
    """Return the body of an answer with an error."""
    literal = string_literal(message.encode("utf-8", "surrogateescape"))
    return b'{\n    "error": ' + literal + b"\n}"


def predictions_body(outputs: Mapping[str, Array], *, row: bool) -> bytes:
    """Return the body of a prediction, in the format of its request.

    Raises:
        ApiError: the outputs cannot be told apart by instance, or have no form in JSON.
    """
    text = _rows(outputs) if row else _columnar(outputs)
    return text.encode("utf-8", "surrogateescape")


def _rows(outputs: Mapping[str, Array]) -> str:
    batch: int | None = None
    for name, array in sorted(outputs.items()):
        if array.ndim == 0:
            raise ApiError(f"Tensor name: {name} has no shape information ")
        if batch is not None and batch != array.shape[0]:
            raise ApiError(
                f"Tensor name: {name} has inconsistent batch size: {array.shape[0]} "
                f"expecting: {batch}"
            )
        batch = array.shape[0]
    named = len(outputs) > 1
    # An instance stands at depth 2; an output in an instance with names, one deeper.
    columns = {
        name: _elements(name, array, depth=3 if named else 2)
        for name, array in sorted(outputs.items())
    }
    instances = list(zip(*columns.values(), strict=True))
    if not named:
        # The real server breaks no line before the first instance, but one after the last.
        inner = ", ".join(only for (only,) in instances)
    else:
        line = "\n" + _INDENT * 3
        inner = ",".join(
            f"\n{_INDENT * 2}{{"
            + ",".join(
                f"{line}{json.dumps(name)}: {text}"
                for name, text in zip(columns, instance, strict=True)
            )
            + f"\n{_INDENT * 2}}}"
            for instance in instances
        )
    end = f"\n{_INDENT}]" if instances else "]"
    return f'{{\n{_INDENT}"predictions": [{inner}{end}\n}}'


def _elements(name: str, array: Array, depth: int) -> Iterator[str]:
    """Return the text of each element along the first axis, each on one line."""
    leaves = iter(_leaves(name, array))
    return (_nested(leaves, array.shape[1:], depth, one_line=True) for _ in range(array.shape[0]))


def _columnar(outputs: Mapping[str, Array]) -> str:
    named = len(outputs) > 1
    depth = 2 if named else 1
    texts = [
        (f"\n{_INDENT * 2}{json.dumps(name)}: " if named else "")
        + _nested(iter(_leaves(name, array)), array.shape, depth, one_line=False)
        for name, array in sorted(outputs.items())
    ]
    inner = "{" + ",".join(texts) + f"\n{_INDENT}}}" if named else texts[0]
    return f'{{\n{_INDENT}"outputs": {inner}\n}}'


def _nested(
    leaves: Iterator[str | Leaf], shape: Sequence[int], depth: int, *, one_line: bool
) -> str:
    """Return the next leaves as an array of that shape, whose own line is indented by depth."""
    if not shape:
        leaf = next(leaves)
        return leaf if isinstance(leaf, str) else leaf(depth)
    if not shape[0]:
        return "[]"
    if len(shape) > 1:
        items = [_nested(leaves, shape[1:], depth + 1, one_line=one_line) for _ in range(shape[0])]
    else:
        items = [
            leaf if isinstance(leaf, str) else leaf(depth + 1)
            for leaf in itertools.islice(leaves, shape[0])
        ]
    if one_line:
        return f"[{', '.join(items)}]"
    line = "\n" + _INDENT * (depth + 1)
    return f"[{line}{f',{line}'.join(items)}\n{_INDENT * depth}]"


def _leaves(name: str, array: Array) -> Sequence[str | Leaf]:
    kind = array.dtype.kind
    if kind == "f" and array.dtype.itemsize >= FLOAT.numpy.itemsize:  # type: ignore[union-attr]
        return format_floats(array)
    if kind == "b":
        return ["true" if value else "false" for value in array.ravel().tolist()]
    if kind in "iu":
        return [str(value) for value in array.ravel().tolist()]
    if kind == "O":
        # By this ending of its name an output says that it is binary.
        literal = _binary if name.endswith("_bytes") else _text
        return [literal(value) for value in array.ravel().tolist()]
    raise ApiError(f"Failed to write JSON value for tensor type: {_word(array.dtype)}")


def _word(dtype: np.dtype[Any]) -> str:
    return {"float16": "half"}.get(dtype.name, dtype.name)


def _text(value: bytes) -> str:
    return string_literal(value).decode("utf-8", "surrogateescape")


def _binary(value: bytes) -> Leaf:
    encoded = base64.b64encode(value).decode()
    return lambda depth: f'{{\n{_INDENT * (depth + 1)}"b64": "{encoded}"\n{_INDENT * depth}}}'


def status_body(version: int) -> bytes:
    """Return the body which says that the model is available in one version."""
    status = {
        "model_version_status": [
            {
                "version": str(version),
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    return f"{_proto_json(status)}\n".encode()


def metadata_body(model: str, version: int, signatures: Mapping[str, Signature]) -> bytes:
    """Return the body which describes the model's signatures."""
    spec = {"name": model, "signature_name": "", "version": str(version)}
    described = {
        name: {
            "inputs": {key: _described(info) for key, info in sorted(signature.inputs.items())},
            "outputs": {key: _described(info) for key, info in sorted(signature.outputs.items())},
            "method_name": signature.method,
            "defaults": {},
        }
        # TensorFlow's own, which no client wants, comes last there too.
        for name, signature in sorted(signatures.items(), key=lambda item: _rank(item[0]))
    }
    # The real server glues two documents together, and so does the layout.
    return (
        f'{{\n"model_spec":{_proto_json(spec)}\n,\n'
        f'"metadata": {{"signature_def": {_proto_json({"signature_def": described})}\n}}\n}}\n'
    ).encode()


def _rank(name: str) -> tuple[bool, str]:
    return name.startswith("__"), name


def _described(info: TensorInfo) -> dict[str, object]:
    dims = [{"size": str(size), "name": ""} for size in info.dims or ()]
    return {
        "dtype": info.dtype.name,
        "tensor_shape": {"dim": dims, "unknown_rank": info.dims is None},
        "name": info.tensor,
    }


def _proto_json(value: object) -> str:
    """Return JSON as protocol buffers print it."""
    return json.dumps(value, indent=1).replace("<", "\\u003c").replace(">", "\\u003e")
