"""From the body of a request to arrays."""

import base64
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from pytest_servebench.servers.savedmodel_server.number_lists import read_numbers
from pytest_servebench.servers.savedmodel_server.signatures import (
    DEFAULT_SIGNATURE,
    STRING,
    DType,
    Signature,
    TensorInfo,
)
from pytest_servebench.servers.savedmodel_server.status import ApiError

Array = npt.NDArray[Any]


class PredictRequest(NamedTuple):
    """A predict request: its format (row or columnar), its signature and its inputs."""

    row: bool
    signature_name: str
    inputs: dict[str, Array]


Members = dict[str, Any]


def parse(body: bytes) -> Members:
    """Parse a request's body, which must be an object.

    Raises:
        ApiError: it is not one, or not JSON.
    """
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError:
        members = _parse_leniently(body)
    if not isinstance(members, dict):
        raise ApiError("The request is not a JSON object")
    return members


def parse_predict(body: bytes) -> Members:
    """Parse the body of a predict request; a value of only numbers may become an array.

    Raises:
        ApiError: it is not a JSON object.
    """
    quick = read_numbers(body)
    if quick is not None:
        members, array = quick
        named = members.get("inputs")
        for holder in (members, named if isinstance(named, dict) else {}):
            for name, value in holder.items():
                if type(value) is list:  # there is but one
                    holder[name] = array
                    return members
    return parse(body)


def _parse_leniently(body: bytes) -> object:
    """Parse what the real server accepts and orjson does not.

    NaN and Infinity, whatever follows the object, a byte order mark, strings that are not UTF-8.
    """
    try:
        text = body.decode("utf-8-sig", "surrogateescape").lstrip(" \t\n\r")
        value, _ = _LENIENT.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(f"JSON Parse error: {error}") from error
    return value


def _finite(token: str) -> float:
    number = float(token)
    if math.isinf(number):
        raise ValueError("number too big to be stored in double")
    return number


def _integer(token: str) -> int | float:
    """Return a whole number as orjson does: a float where it does not fit into 64 bits."""
    number = int(token) if len(token) <= 20 else None
    return number if number is not None and -(2**63) <= number < 2**64 else _finite(token)


_LENIENT = json.JSONDecoder(parse_float=_finite, parse_int=_integer)


def signature_name_of(members: Members) -> str:
    """Return the signature that a request names, or "".

    Raises:
        ApiError: the name is not a string.
    """
    name = members.get("signature_name", "")
    if not isinstance(name, str):
        raise ApiError("'signature_name' key must be a string value.")
    return name


def predict_request(members: Members, signatures: Mapping[str, Signature]) -> PredictRequest:
    """Read a predict request.

    Raises:
        ApiError: what is wrong with it.
    """
    name = signature_name_of(members)
    infos = _signature(signatures, name).inputs
    row = "instances" in members
    if row == ("inputs" in members):
        raise ApiError(
            "Expecting only one of 'inputs' or 'instances' keys to exist"
            if row
            else "Missing 'inputs' or 'instances' key"
        )
    columns = _from_rows(members["instances"], infos) if row else _columns(members["inputs"], infos)
    inputs = {}
    for key, column in columns.items():
        try:
            inputs[key] = _array(column, infos[key].dtype)
        except ApiError as error:
            # In rows the real server makes every such error one of the request.
            code = "INVALID_ARGUMENT" if row else error.code
            raise ApiError(f"Input {key}: {error.message}", code) from error
    return PredictRequest(row, name, inputs)


def _signature(signatures: Mapping[str, Signature], name: str) -> Signature:
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        wanted = json.dumps(name or DEFAULT_SIGNATURE)
        raise ApiError(f"Serving signature name: {wanted} not found in signature def")
    if not signature.inputs:
        raise ApiError(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    return signature


def _columns(value: Any, infos: Mapping[str, TensorInfo]) -> dict[str, Any]:
    if not _is_named(value):
        return {_only_input(infos, "inputs"): value}
    for name in infos:
        if name not in value:
            raise ApiError(f"Missing named input: {name} in 'inputs' object.")
    return {name: value[name] for name in infos}


def _from_rows(instances: Any, infos: Mapping[str, TensorInfo]) -> dict[str, Any]:
    if isinstance(instances, np.ndarray):
        return {_only_input(infos, "instances"): instances}
    if not isinstance(instances, list) or not instances:
        raise ApiError("Expecting 'instances' to be a list with at least one value")
    if not _is_named(instances[0]):
        return {_only_input(infos, "instances"): instances}
    for index, instance in enumerate(instances):
        if not isinstance(instance, dict) or instance.keys() != infos.keys():
            raise ApiError(
                f"Item {index} of 'instances' must be an object with the keys "
                f"{', '.join(sorted(infos))}"
            )
    return {name: [instance[name] for instance in instances] for name in infos}


def _only_input(infos: Mapping[str, TensorInfo], key: str) -> str:
    if len(infos) > 1:
        raise ApiError(f"'{key}' must name the values of each input: {', '.join(sorted(infos))}")
    (name,) = infos
    return name


def _is_named(value: object) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Mapping[str, object]) -> bool:
    """Return whether an object is binary data: only a string called b64."""
    return len(value) == 1 and isinstance(value.get("b64"), str)


# By NumPy's kinds: which of Python's types a value has, and of which kinds an array of such
# numbers may be.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "f": (int, float),
    "i": (int,),
    "u": (int,),
    "b": (bool,),
    "O": (str, dict),
}
_KINDS = {"f": "iuf", "i": "iu", "u": "iu"}


def _array(value: Any, dtype: DType) -> Array:
    """Return a tensor in its own type; no value is read as one of another type."""
    if dtype.numpy is None:
        raise ApiError(f"JSON has no form for the type {dtype.word}", "UNIMPLEMENTED")
    kind = dtype.numpy.kind
    if isinstance(value, np.ndarray):
        array = value
        if array.dtype.kind not in _KINDS.get(kind, ""):
            _check_types(array, dtype)
    else:
        try:
            array = np.array(value, dtype=object)
        except ValueError as error:
            raise _ragged() from error
        _check_types(array, dtype)
    if dtype is STRING:
        return _strings(array)
    if kind in "iu" and array.size:
        # The narrow types are read as int32, and what does not fit in them is cut off.
        limits = np.iinfo(dtype.numpy if dtype.numpy.itemsize >= 4 else np.int32)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise ApiError(f"A number does not fit into the type {dtype.word}")
        array = array.astype(limits.dtype, copy=False)  # of Python's own, NumPy cuts nothing off
    with np.errstate(over="ignore"):  # 1e39 is infinite as float32, here as there
        if kind == "f":
            array = array.astype(np.float64, copy=False)
        return array.astype(dtype.numpy, copy=False)


def _check_types(array: Array, dtype: DType) -> None:
    types = _TYPES[dtype.numpy.kind]  # type: ignore[union-attr]
    for leaf in array.ravel().tolist():
        if type(leaf) is list:
            raise _ragged()
        if type(leaf) not in types:
            shown = "an object" if type(leaf) is dict else json.dumps(leaf)[:64]
            raise ApiError(f"JSON Value: {shown} is not of expected type: {dtype.word}")


def _ragged() -> ApiError:
    return ApiError("The lists do not form a tensor: they differ in length or depth")


def _strings(array: Array) -> Array:
    try:
        values = [_bytes(leaf) for leaf in array.ravel().tolist()]
    except ValueError as error:
        raise ApiError(f"Not a string: {error}") from error
    strings = np.empty(len(values), dtype=object)
    strings[:] = values
    return strings.reshape(array.shape)


def _bytes(leaf: str | dict[str, Any]) -> bytes:
    if isinstance(leaf, str):
        return leaf.encode("utf-8", "surrogateescape")
    if not _is_base64(leaf):
        raise ApiError('Binary data must be an object of the form {"b64": "..."}')
    data = leaf["b64"]
    # The padding may be left out.
    return base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
