"""What a server does with a request of each protocol, written from the protocols' descriptions.

Each reads a request into named arrays with an axis of rows, and writes these as its answer. What a
protocol does not say, such as the type of a number in JSON, is told by the arrays that were sent.
"""

import base64
import json
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.protocols import GrpcAnswer, GrpcRequest, Headers, HttpAnswer, HttpRequest

from . import reference_grpc

Tensor = npt.NDArray[Any]
Named = Mapping[str, Tensor]

TYPES = {
    "BOOL": "?", "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "<u1",
    "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


def echo(request: HttpRequest | GrpcRequest) -> HttpAnswer | GrpcAnswer:
    """Answer with what was sent, as a server of the request's protocol would."""
    if isinstance(request, GrpcRequest):
        return GrpcAnswer(0, message=reference_grpc.echo(request.method, request.message))
    headers = dict(request.headers)
    if request.path.startswith("/v2/"):
        return _infer(request.body, headers)
    content_type = headers["Content-Type"]
    if content_type.startswith("multipart/"):
        return _answer(_form(request.body, content_type))
    if content_type != "application/json":
        return _answer({"b64": base64.b64encode(request.body).decode()})
    said = json.loads(request.body)
    if not isinstance(said, dict):
        return _answer(said)
    if "instances" in said:
        return _answer({"predictions": said["instances"]})
    if "inputs" in said:
        return _answer({"outputs": said["inputs"]})
    return _answer({"result": [said]})


def _answer(said: object, **headers: str) -> HttpAnswer:
    pairs = {"Content-Type": "application/json", **headers}
    return HttpAnswer(200, json.dumps(said).encode(), Headers(pairs.items()))


def _form(body: bytes, content_type: str) -> object:
    boundary = content_type.partition("boundary=")[2].encode()
    first, *parts, last = (b"\r\n" + body).split(b"\r\n--" + boundary)
    assert (first, last) == (b"", b"--\r\n")
    fields: dict[str, object] = {}
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(r' name="(.*?)"', head.decode())
        assert name is not None
        # As browsers write it: a quotation mark is %22.
        key = name[1].replace("%22", '"')
        if b"filename=" in head:
            fields[key] = {"b64": base64.b64encode(content).decode()}
        elif b"Content-Type: text/plain" in head:
            fields[key] = content.decode()
        else:
            fields[key] = json.loads(content)
    return fields


def _infer(body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
    length = int(headers.get("Inference-Header-Content-Length", len(body)))
    head, rest = json.loads(body[:length]), body[length:]
    binary = head.get("parameters", {}).get("binary_data_output", False)
    outputs, contents = [], []
    for tensor in head["inputs"]:
        count = int(np.prod(tensor["shape"]))
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = tensor["data"]
        else:
            values, rest = _unpacked(rest[:size], tensor["datatype"]), rest[size:]
        assert len(values) == count
        output = {key: tensor[key] for key in ("name", "shape", "datatype")}
        if binary:
            contents.append(_packed(values, tensor["datatype"]))
            output["parameters"] = {"binary_data_size": len(contents[-1])}
        else:
            output["data"] = values
        outputs.append(output)
    assert not rest
    answered = json.dumps({"model_name": "m", "id": head["id"], "outputs": outputs}).encode()
    pairs = {"inference-header-content-length": str(len(answered))} if binary else {}
    return HttpAnswer(200, answered + b"".join(contents), Headers(pairs.items()))


def _unpacked(content: bytes, datatype: str) -> Sequence[Any]:
    if datatype != "BYTES":
        return list(np.frombuffer(content, TYPES[datatype]))
    parts = []
    while content:
        (length,) = struct.unpack("<I", content[:4])
        parts.append(content[4 : 4 + length])
        assert len(parts[-1]) == length
        content = content[4 + length :]
    return parts


def _packed(values: Sequence[Any], datatype: str) -> bytes:
    if datatype != "BYTES":
        return np.asarray(values).astype(TYPES[datatype]).tobytes()
    return b"".join(struct.pack("<I", len(each)) + each for each in values)
