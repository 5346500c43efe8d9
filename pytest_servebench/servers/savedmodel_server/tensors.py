"""From a parsed predict request to arrays, with the real server's checks in the real order."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pytest_servebench.servers.savedmodel_server.rapid_json import (
    MISSING,
    Json,
    JsonObject,
    quoted,
    text_of,
    value_error,
)
from pytest_servebench.servers.savedmodel_server.signatures import (
    BOOL,
    DEFAULT_SIGNATURE,
    STRING,
    DType,
    Signature,
    TensorInfo,
    shape_text,
)
from pytest_servebench.servers.savedmodel_server.status import ApiError

INT_RANGES = {
    # The narrow types are read as int32, and what does not fit in them is cut off.
    "int32": (-(2**31), 2**31),
    "int16": (-(2**31), 2**31),
    "int8": (-(2**31), 2**31),
    "uint8": (-(2**31), 2**31),
    "int64": (-(2**63), 2**63),
    "uint32": (0, 2**32),
    "uint64": (0, 2**64),
}

Array = npt.NDArray[Any]


class PredictRequest(NamedTuple):
    """A predict request: its format (row or columnar), its signature and its inputs."""

    row: bool
    signature_name: str
    inputs: dict[str, Array]


def signature_name_of(document: JsonObject) -> str:
    """Return the signature that a request names, or "".

    Raises:
        ApiError: the name is not a string.
    """
    name = document.find(b"signature_name")
    if isinstance(name, bytes):
        return text_of(name)
    if name is not MISSING:
        raise value_error(
            document, "not formatted correctly. 'signature_name' key must be a string value."
        )
    return ""


def find_signature(signatures: Mapping[str, Signature], name: str) -> Signature:
    """Return the signature called ``name``, the default one for "".

    Raises:
        ApiError: there is none, or it takes no inputs.
    """
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise ApiError(
            f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def'
        )
    if not signature.inputs:
        raise ApiError(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    return signature


def predict_request(document: JsonObject, signatures: Mapping[str, Signature]) -> PredictRequest:
    """Read a predict request.

    Raises:
        ApiError: the real server's error for what is wrong.
    """
    name = signature_name_of(document)
    infos = find_signature(signatures, name).inputs
    instances, inputs = document.find(b"instances"), document.find(b"inputs")
    if instances is MISSING and inputs is MISSING:
        raise ApiError("Missing 'inputs' or 'instances' key")
    if instances is not MISSING and inputs is not MISSING:
        # The space at the end is the real server's.
        raise value_error(
            document,
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        )
    if inputs is not MISSING:
        return PredictRequest(False, name, _from_inputs(inputs, infos))  # type: ignore[arg-type]
    if not isinstance(instances, list):
        raise value_error(document, "Expecting 'instances' to be an list/array")
    if not instances:
        raise value_error(document, "No values in 'instances' array")
    return PredictRequest(True, name, _from_instances(instances, infos))


def _from_inputs(value: Json, infos: Mapping[str, TensorInfo]) -> dict[str, Array]:
    if not isinstance(value, JsonObject) or _is_base64(value):
        if len(infos) > 1:
            raise ApiError(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        (name,) = infos
        return {name: _Tensor(value, infos[name].dtype).array()}
    arrays = {}
    for name, info in infos.items():
        member = value.find(name.encode("utf-8", "surrogateescape"))
        if member is MISSING:
            raise ApiError(f"Missing named input: {name} in 'inputs' object.")
        arrays[name] = _Tensor(member, info.dtype).array()  # type: ignore[arg-type]
    return arrays


def _from_instances(instances: list[Json], infos: Mapping[str, TensorInfo]) -> dict[str, Array]:
    if not isinstance(instances[0], JsonObject) and len(infos) > 1:
        raise ApiError(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    if _is_named(instances[0]):
        columns = _named_columns(instances, infos)
    else:
        (name, *_) = sorted(infos)
        columns = {name: _Column(infos[name].dtype)}
        for index, instance in enumerate(instances):
            if _is_named(instance):
                raise ApiError(f"Expecting value/list but got object at item {index} of input list")
            try:
                columns[name].add(instance)
            except ApiError as error:
                raise _in_element(error, f"{index}") from error
    return {name: column.array() for name, column in columns.items()}


def _named_columns(instances: list[Json], infos: Mapping[str, TensorInfo]) -> dict[str, _Column]:
    columns = {name: _Column(info.dtype) for name, info in infos.items()}
    for index, instance in enumerate(instances):
        if not isinstance(instance, JsonObject) or _is_base64(instance):
            raise ApiError(f"Expecting object but got list at item {index} of input list")
        names = [text_of(name) for name, _ in instance.members]
        for name, (_, value) in zip(names, instance.members, strict=True):
            try:
                _column(columns, name).add(value)
            except ApiError as error:
                raise _in_element(error, f"{index} key: {name}") from error
        if sorted(names) != sorted(infos):
            raise ApiError(
                f"Failed to process element: {index} of 'instances' list. JSON object: "
                f"{quoted(instance)} keys must be equal to: {','.join(sorted(infos))}"
            )
    return columns


def _column(columns: Mapping[str, _Column], name: str) -> _Column:
    if name not in columns:
        raise ApiError(f"JSON object: does not have named input: {name}")
    return columns[name]


def _in_element(error: ApiError, element: str) -> ApiError:
    return ApiError(f"Failed to process element: {element} of 'instances' list. Error: {error}")


def _is_named(value: Json) -> bool:
    return isinstance(value, JsonObject) and not _is_base64(value)


def _is_base64(value: Json) -> bool:
    """Tell whether a value is binary data: an object with nothing but a string called b64."""
    return (
        isinstance(value, JsonObject)
        and len(value.members) == 1
        and isinstance(value.find(b"b64"), bytes)
    )


class _Column:
    """The values of one input, one from each instance; all must have the first one's shape."""

    def __init__(self, dtype: DType) -> None:
        self._dtype = dtype
        self._tensors: list[_Tensor] = []

    def add(self, value: Json) -> None:
        tensor = _Tensor(value, self._dtype)
        first = self._tensors[0] if self._tensors else tensor
        if len(tensor.values) != len(first.values):
            raise ApiError(
                f"Expecting tensor size: {len(first.values)} but got: {len(tensor.values)}"
            )
        if tensor.shape != first.shape:
            raise ApiError(
                f"Expecting shape {shape_text(first.shape)} but got: {shape_text(tensor.shape)}"
            )
        self._tensors.append(tensor)

    def array(self) -> Array:
        values = [value for tensor in self._tensors for value in tensor.values]
        return _array(values, (len(self._tensors), *self._tensors[0].shape), self._dtype)


class _Tensor:
    """One tensor's values in order, and its shape, which its first elements decide."""

    def __init__(self, value: Json, dtype: DType) -> None:
        self._dtype = dtype
        self.values: list[object] = []
        self.shape: list[int] = []
        first = value
        while isinstance(first, list):
            self.shape.append(len(first))
            if not first:
                break
            first = first[0]
        self._fill(value, 0)

    def array(self) -> Array:
        return _array(self.values, tuple(self.shape), self._dtype)

    def _fill(self, value: Json, level: int) -> None:
        rank = len(self.shape)
        if not isinstance(value, list):
            if level != rank:
                raise ApiError(
                    f"JSON Value: {quoted(value)} found at incorrect level: {level + 1} in the "
                    f"JSON DOM. Expected at level: {rank}"
                )
            self.values.append(_element(value, self._dtype))
            return
        if level >= rank:
            raise ApiError(f"Encountered list at unexpected level: {level} expected < {rank}")
        if len(value) != self.shape[level]:
            raise ApiError(
                f"Encountered list at unexpected size: {len(value)} at level: {level} expected "
                f"size: {self.shape[level]}"
            )
        for element in value:
            self._fill(element, level + 1)


def _array(values: list[object], shape: tuple[int, ...], dtype: DType) -> Array:
    if dtype.numpy is None:
        raise ApiError(f"Conversion of JSON to type: {dtype.word}", "UNIMPLEMENTED")
    if dtype is STRING:
        array = np.empty(len(values), dtype=object)
        array[:] = values
    elif dtype.word in ("float", "double"):
        with np.errstate(over="ignore"):  # 1e39 is infinite as float32, here as there
            array = np.array(values, dtype=np.float64).astype(dtype.numpy)
    elif dtype.word in ("int8", "int16", "uint8"):
        array = np.array(values, dtype=np.int32).astype(dtype.numpy)
    else:
        array = np.array(values, dtype=dtype.numpy)
    return array.reshape(shape)


def _element(value: Json, dtype: DType) -> object:
    """Return a leaf's value if its type is the tensor's."""
    if isinstance(value, JsonObject) and dtype is STRING:
        return _from_base64(value)
    if dtype.numpy is None and not isinstance(value, JsonObject):
        raise ApiError(
            f"Conversion of JSON Value: {quoted(value)} to type: {dtype.word}", "UNIMPLEMENTED"
        )
    if dtype is STRING:
        fits = isinstance(value, bytes)
    elif dtype is BOOL:
        fits = isinstance(value, bool)
    elif isinstance(value, bool):
        fits = False
    elif dtype.word in INT_RANGES:
        low, high = INT_RANGES[dtype.word]
        fits = isinstance(value, int) and low <= value < high
    else:
        fits = isinstance(value, (int, float))
    if not fits:
        raise ApiError(
            f"JSON Value: {quoted(value)} Type: {_type_name(value)} is not of expected type: "
            f"{dtype.word}"
        )
    return value


def _from_base64(value: JsonObject) -> bytes:
    data = value.find(b"b64")
    if len(value.members) != 1 or not isinstance(data, bytes):
        raise value_error(value, "not formatted correctly for base64 data")
    try:
        # The padding may be left out.
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except binascii.Error as error:
        raise ApiError("Unable to base64 decode") from error


def _type_name(value: Json) -> str:
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "True" if value else "False"
    names = {bytes: "String", list: "Array", JsonObject: "Object"}
    return names.get(type(value), "Number")
