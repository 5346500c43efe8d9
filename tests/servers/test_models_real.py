"""Models of tokens, text and pictures, each on two real servers: every answer is the model's.

Of each server one is started, for the first model; the others attach to it.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from pytest_servebench.errors import BadResponseError
from pytest_servebench.measure.traffic import of_model
from pytest_servebench.model import ServedModel
from pytest_servebench.protocols import TorchServeRest
from pytest_servebench.servers import probe
from pytest_servebench.servers.base import RunningServer, ServerKind, ServerSettings
from pytest_servebench.servers.tensorflow_serving import TensorFlowServing
from pytest_servebench.servers.torchserve import TorchServe
from pytest_servebench.values.expectations import fields

from .test_torchserve_real import grpc_url

pytestmark = pytest.mark.servers

HANDLER = """
import base64, io, json
import numpy as np
from PIL import Image

class Handler:
    def initialize(self, context):
        pass

    def handle(self, requests, context):
        return [self.one(request) for request in requests]

    def one(self, request):
        body = request.get("body", request)
        if isinstance(body, dict) and list(body) == ["data"]:  # as gRPC has an input without a name
            body = bytes(body["data"])
            body = json.loads(body) if body.startswith(b'{"instances"') else body
        if isinstance(body, dict) and "instances" in body:
            return {"predictions": [predict(each) for each in body["instances"]]}
        return {"result": [predict(body), {"took_ms": 3}]}

def numbers(value):
    # TorchServe does not parse the fields of a form.
    return np.asarray(value if isinstance(value, list) else json.loads(bytes(value)), np.int64)

def predict(value):
    if isinstance(value, dict) and "ids" in value:
        ids, mask = (numbers(value[name]) for name in ("ids", "mask"))
        return {"largest": int((ids * mask).max()), "share": float(mask.mean())}
    if isinstance(value, dict):
        value = value["picture"]
    if isinstance(value, dict):
        value = base64.b64decode(value["b64"])
    if isinstance(value, (bytes, bytearray)) and value[:2] == b"\\xff\\xd8":
        picture = np.asarray(Image.open(io.BytesIO(value)), np.float32)
        return {"colour": (picture.mean((0, 1)) / 255).tolist()}
    text = value if isinstance(value, str) else bytes(value).decode()
    return {"length": len(text), "upper": text.upper()}
"""

IDS = np.array([[101, 2**60 + 1, 7], [5, 9, 2**53 + 1]])
MASK = np.array([[1, 1, 0], [1, 1, 0]])
TEXTS = ["naïve", "plain", 'a "quoted" line\n']


def jpeg(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(file, "JPEG", quality=95)
    return file.getvalue()


PICTURES = [jpeg((255, 0, 0)), jpeg((10, 200, 30))]
SERVED = dict.fromkeys(("tensorflow_serving", "torchserve"), "several")


def several(artifacts: dict[str, Path]) -> dict[str, ServedModel]:
    def model(name: str, **of: object) -> ServedModel:
        return ServedModel(name, artifacts, signature=name, served_names=SERVED, **of)  # type: ignore[arg-type]

    return {
        "tokens": model(
            "tokens",
            inputs={"ids": IDS, "mask": MASK},
            outputs={"largest": (IDS * MASK).max(1), "share": MASK.mean(1, dtype=np.float32)},
        ),
        "text": model(
            "text",
            inputs=TEXTS,
            outputs={"length": [len(each) for each in TEXTS], "upper": [t.upper() for t in TEXTS]},
        ),
        "picture": model(
            "picture",
            inputs={"picture": PICTURES},
            outputs={"colour": np.array([[255, 0, 0], [10, 200, 30]], np.float32) / 255},
            atol={"colour": 0.01},  # decoders of JPEG round differently
        ),
        "single": model(
            "single",
            inputs={"x": np.array([1.5, 2.5], np.float32), "flag": np.array([True, False])},
            outputs={"y": np.array([1.5, -2.5], np.float32)},
        ),
    }


def check_all(model: ServedModel, server: RunningServer) -> None:
    """Send every input, as a load does; each answer is right, and not that to another input."""
    traffic = of_model(model, server.protocol)
    answers = [probe.ask(server.base_url, one, 30) for one in traffic.requests]
    _check_rows(model, server)
    for index, answer in enumerate(answers):
        assert answer.status == answer.OK, answer
        traffic.check(index, answer)
        with pytest.raises(BadResponseError, match="differ"):
            traffic.check((index + 1) % len(answers), answer)


def _check_rows(model: ServedModel, server: RunningServer) -> None:
    """Send all inputs in one request, if the protocol can."""
    protocol: Any = server.protocol
    if getattr(protocol, "layout", "") == "single" or getattr(protocol, "body", "json") != "json":
        return
    request = protocol.request_rows([model.input(index) for index in range(model.samples)])
    answer = probe.ask(server.base_url, request, 30)
    for index, got in enumerate(protocol.read_rows(answer, model.samples)):
        assert model.check(index, got) is None


def check_attached(kind: ServerKind, model: ServedModel, settings: ServerSettings) -> None:
    server = kind.start(model, settings, Path())
    assert getattr(server, "mismatch", None) == ""
    check_all(model, server)


@contextmanager
def started(
    kind: ServerKind, model: ServedModel, cpus: tuple[int, ...], run_dir: Path
) -> Iterator[RunningServer]:
    server = kind.start(model, ServerSettings(cpus=cpus, start_timeout=90, stop_grace=1), run_dir)
    try:
        assert getattr(server, "mismatch", None) == ""
        check_all(model, server)
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_tensorflow_serving(
    models: Path, cpus: tuple[int, ...], run_dir: Path, transport: Literal["rest", "grpc"]
) -> None:
    all_models = several({"tensorflow_serving": models / "several"})
    settings = ServerSettings(cpus=(), start_timeout=5)
    first = TensorFlowServing(transport=transport)
    with started(first, all_models["tokens"], cpus, run_dir) as server:
        kind = replace(first, url=server.base_url)
        for name in ("text", "picture"):
            check_attached(kind, all_models[name], settings)
        for name in ("tokens", "text", "picture"):
            columns = replace(kind, layout="columns", model="several/versions/1")
            check_attached(columns, all_models[name], settings)
        check_attached(replace(kind, layout="single"), all_models["single"], settings)
        wrong = replace(all_models["text"], signature="texts")
        refused = kind.start(wrong, settings, Path())
        assert "texts" in getattr(refused, "mismatch", "")


def test_torchserve(tmp_path: Path, cpus: tuple[int, ...], run_dir: Path) -> None:
    names = {"modelName": "several", "handler": "handler.py", "modelVersion": "1.0"}
    archive = tmp_path / "several.mar"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("MAR-INF/MANIFEST.json", json.dumps({"runtime": "python", "model": names}))
        file.writestr("handler.py", HANDLER)
    all_models = several({"torchserve": archive})
    settings = ServerSettings(cpus=(), start_timeout=5)
    with started(TorchServe(), all_models["tokens"], cpus, run_dir) as server:
        assert isinstance(server.protocol, TorchServeRest)
        kind = TorchServe(url=server.base_url, token=server.protocol.token or "")
        for name in ("text", "picture"):
            check_attached(kind, all_models[name], settings)
        own = replace(kind, answer="result.0", body="bytes", content_type="text/plain")
        check_attached(own, all_models["text"], settings)
        check_attached(replace(own, content_type="image/jpeg"), all_models["picture"], settings)
        form = replace(own, body="multipart")
        check_attached(form, all_models["picture"], settings)
        check_attached(form, all_models["tokens"], settings)
        only_largest = replace(all_models["tokens"], expect=fields("largest"))
        check_attached(form, only_largest, settings)
        grpc = replace(kind, transport="grpc", url=grpc_url(run_dir))
        for name in ("tokens", "text", "picture"):
            check_attached(grpc, all_models[name], settings)
        own = replace(grpc, answer="result.0", body="bytes")
        check_attached(own, all_models["picture"], settings)
        check_attached(replace(own, body="multipart"), all_models["tokens"], settings)
