"""From a model's outputs to the body of an answer."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from pytest_servebench.servers.savedmodel_server.signatures import FLOAT, Signature, TensorInfo
from pytest_servebench.servers.savedmodel_server.status import ApiError

Array = npt.NDArray[Any]


def error_body(message: str) -> bytes:
    """Return the body of an answer with an error."""
    return _json({"error": message})


def predictions_body(outputs: Mapping[str, Array], *, row: bool) -> bytes:
    """Return the body of a prediction, in the format of its request.

    Raises:
        ApiError: the outputs cannot be split by instance, or have no form in JSON.
    """
    columns = {name: _values(name, array) for name, array in sorted(outputs.items())}
    if row:
        _check_batch(outputs)
    if len(columns) == 1:
        (value,) = columns.values()
    elif row:
        value = [
            dict(zip(columns, instance, strict=True))
            for instance in zip(*columns.values(), strict=True)
        ]
    else:
        value = columns
    finite = all(array.dtype.kind != "f" or np.isfinite(array).all() for array in outputs.values())
    return _json({"predictions" if row else "outputs": value}, finite=finite)


def _check_batch(outputs: Mapping[str, Array]) -> None:
    batch: int | None = None
    for name, array in sorted(outputs.items()):
        if array.ndim == 0:
            raise ApiError(f"Tensor name: {name} has no shape information")
        if batch is not None and batch != array.shape[0]:
            raise ApiError(
                f"Tensor name: {name} has inconsistent batch size: {array.shape[0]} "
                f"expecting: {batch}"
            )
        batch = array.shape[0]


def _values(name: str, array: Array) -> Any:
    """Return an output as what can be written as JSON: an array of numbers, or nested lists."""
    kind = array.dtype.kind
    if kind in "biu" or (kind == "f" and array.itemsize >= FLOAT.numpy.itemsize):  # type: ignore[union-attr]
        return array[()]  # of an array without dimensions, its one number
    if kind == "O":
        # By this ending of its name an output says that it is binary.
        convert = _binary if name.endswith("_bytes") else _text
        values = np.empty(array.size, dtype=object)
        values[:] = [convert(value) for value in array.ravel().tolist()]
        return values.reshape(array.shape).tolist()
    raise ApiError(f"JSON has no form for the tensor type {array.dtype.name}")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _binary(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode()}


def _json(document: object, *, finite: bool = True) -> bytes:
    """Write JSON; float32 in the fewest digits that give it back.

    Like the real server it writes NaN and Infinity, and strings that are not UTF-8 as they are;
    orjson does neither.
    """
    if finite:
        try:
            return orjson.dumps(document, _to_list, orjson.OPT_SERIALIZE_NUMPY)
        except orjson.JSONEncodeError:
            pass
    text = json.dumps(document, default=_to_list, ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape")


def _to_list(value: Any) -> Any:
    return value.tolist()


def status_body(version: int) -> bytes:
    """Return the body which says that the model is available in one version."""
    status = {"error_code": "OK", "error_message": ""}
    entry = {"version": str(version), "state": "AVAILABLE", "status": status}
    return _json({"model_version_status": [entry]})


def metadata_body(model: str, version: int, signatures: Mapping[str, Signature]) -> bytes:
    """Return the body which describes the model's signatures."""
    described = {
        name: {
            "inputs": {key: _described(info) for key, info in signature.inputs.items()},
            "outputs": {key: _described(info) for key, info in signature.outputs.items()},
            "method_name": signature.method,
            "defaults": {},
        }
        for name, signature in signatures.items()
    }
    return _json(
        {
            "model_spec": {"name": model, "signature_name": "", "version": str(version)},
            "metadata": {"signature_def": {"signature_def": described}},
        }
    )


def _described(info: TensorInfo) -> dict[str, object]:
    dims = [{"size": str(size), "name": ""} for size in info.dims or ()]
    return {
        "dtype": info.dtype.name,
        "tensor_shape": {"dim": dims, "unknown_rank": info.dims is None},
        "name": info.tensor,
    }
