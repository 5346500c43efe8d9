"""The REST API: which path does what, and the texts of its answers."""

import json
import re
import urllib.parse
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from pytest_servebench.servers.savedmodel_server import render, tensors
from pytest_servebench.servers.savedmodel_server.metrics import Metrics
from pytest_servebench.servers.savedmodel_server.signatures import (
    DEFAULT_SIGNATURE,
    Signature,
    check_shapes,
)
from pytest_servebench.servers.savedmodel_server.status import ApiError

_API = re.compile(r"/v1/.*", re.IGNORECASE)
_VERSION = r"(?:(?:/versions/(?P<version>[0-9]+))|(?:/labels/(?P<label>[^/:]+)))?"
_ACTION = re.compile(
    rf"/v1/models/(?P<model>[^/:]+){_VERSION}:(?P<verb>classify|regress|predict)", re.IGNORECASE
)
_QUESTION = re.compile(
    rf"/v1/models(?:/(?P<model>[^/:]+))?{_VERSION}(?:/(?P<metadata>metadata))?", re.IGNORECASE
)
_METHOD_NAMES = {
    "classify": ("classification", "tensorflow/serving/classify"),
    "regress": ("regression", "tensorflow/serving/regress"),
}


class Reply(NamedTuple):
    """An answer. ``close`` says that the connection ends with it."""

    status: int
    body: bytes
    content_type: str = "application/json"
    close: bool = False


class Servable(Protocol):
    """A loaded model."""

    @property
    def name(self) -> str:
        """The name in paths."""

    @property
    def version(self) -> int:
        """The version's number."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The signatures by name."""

    def run(
        self, signature: str, inputs: Mapping[str, npt.NDArray[Any]]
    ) -> Mapping[str, npt.NDArray[Any]]:
        """Run a signature; raises ApiError with TensorFlow's code and message."""


class RestApi:
    """Answers requests for one model. Safe to call from several threads at once."""

    def __init__(self, model: Servable, metrics: Metrics | None = None) -> None:
        self._model = model
        self._metrics = metrics

    def takes_time(self, method: str, path: str) -> bool:
        """Return whether a request should be answered outside the event loop."""
        return method == "POST" and _ACTION.fullmatch(path) is not None

    def answer(self, method: str, path: str, body: bytes) -> Reply:
        """Answer a request; ``path`` is all of its target, query included."""
        if self._metrics is not None and path == self._metrics.path:
            return Reply(200, self._metrics.page(), "text/plain")
        if _API.fullmatch(path) is None:
            return html_error(404, "Not Found")
        try:
            return Reply(200, self._answer(method, path, body))
        except ApiError as error:
            return Reply(error.http_status, render.error_body(error.message))

    def _answer(self, method: str, path: str, body: bytes) -> bytes:
        if method == "POST" and (action := _ACTION.fullmatch(path)):
            # The path may be written in capitals, the verb not: so it is there.
            if action["verb"] == "predict":
                return self._observed_predict(action, body)
            if action["verb"] in _METHOD_NAMES:
                return self._classify_or_regress(action, body)
        elif method == "GET" and (question := _QUESTION.fullmatch(path)):
            if question["model"] is None:
                raise ApiError("Missing model name in request.")
            return self._metadata(question) if question["metadata"] else self._status(question)
        raise ApiError(f"Malformed request: {method} {path}")

    def _status(self, target: re.Match[str]) -> bytes:
        name, version = _spec(target)
        if name != self._model.name and version is None:
            raise ApiError(f"Could not find any versions of model {name}", "NOT_FOUND")
        if name != self._model.name or version not in (None, self._model.version):
            raise ApiError(f"Could not find version {version} of model {name}", "NOT_FOUND")
        return render.status_body(self._model.version)

    def _metadata(self, target: re.Match[str]) -> bytes:
        self._find(target)
        return render.metadata_body(self._model.name, self._model.version, self._model.signatures)

    def _find(self, target: re.Match[str]) -> None:
        name, version = _spec(target)
        if name == self._model.name and version in (None, self._model.version):
            return
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise ApiError(f"Servable not found for request: {wanted}", "NOT_FOUND")

    def _observed_predict(self, target: re.Match[str], body: bytes) -> bytes:
        seen = self._metrics.request(self._model.name) if self._metrics else nullcontext()
        with seen:
            return self._predict(target, body)

    def _predict(self, target: re.Match[str], body: bytes) -> bytes:
        signatures = self._model.signatures
        members = tensors.parse_predict(body)
        tensors.signature_name_of(members)
        self._find(target)
        request = tensors.predict_request(members, signatures)
        name = request.signature_name or DEFAULT_SIGNATURE
        check_shapes(request.inputs, signatures[name])
        return render.predictions_body(self._model.run(name, request.inputs), row=request.row)

    def _classify_or_regress(self, target: re.Match[str], body: bytes) -> bytes:
        verb = target["verb"]
        members = tensors.parse(body)
        name = tensors.signature_name_of(members) or DEFAULT_SIGNATURE
        _check_examples(members)
        self._find(target)
        signature = self._model.signatures.get(name)
        if signature is None:
            raise ApiError(f"No signature was found with the name: {json.dumps(name)}")
        noun, wanted = _METHOD_NAMES[verb]
        if signature.method != wanted:
            raise ApiError(
                f"Expected {noun} signature method_name to be {wanted}. Was: {signature.method}"
            )
        raise ApiError(
            f"This server does not run :{verb}; use :predict, or tensorflow_model_server.",
            "UNIMPLEMENTED",
        )


def html_error(status: int, reason: str) -> Reply:
    """Return an answer of the HTTP layer itself, which is a page and ends the connection."""
    page = (
        f"<HTML><HEAD>\n<TITLE>{status} {reason}</TITLE>\n</HEAD><BODY>\n"
        f"<H1>{reason}</H1>\n</BODY></HTML>\n"
    )
    return Reply(status, page.encode(), "text/html", close=True)


def _spec(target: re.Match[str]) -> tuple[str, int | None]:
    """Return the model's name and version as the path gives them."""
    name = urllib.parse.unquote(target["model"], errors="surrogateescape")
    if target["label"] is not None:
        label = urllib.parse.unquote(target["label"], errors="surrogateescape")
        raise ApiError(f"Unrecognized servable version label: {label}")
    if target["version"] is None:
        return name, None
    # Longer than any int64, and int() would refuse thousands of digits.
    version = int(target["version"]) if len(target["version"]) < 20 else 2**63
    if version >= 2**63:
        raise ApiError(f"Failed to convert version: {target['version']} to numeric.")
    return name, version


def _check_examples(members: Mapping[str, Any]) -> None:
    examples = members.get("examples")
    if not isinstance(examples, list) or not examples:
        raise ApiError("Expecting 'examples' to be a list with at least one value")
