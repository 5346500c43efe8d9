"""A configuration makes a protocol, or is told what is wrong with it."""

from typing import Any

import pytest

from pytest_servebench.errors import OptionError
from pytest_servebench.protocols import (
    PROTOCOLS,
    KServeV1,
    OpenInference,
    PlainJson,
    TensorFlowServingRest,
    TorchServeRest,
    protocol_from,
)

MODEL = {"model": "sentiment", "signature": "tokens"}


@pytest.mark.parametrize(
    ("name", "settings", "made"),
    [
        ("tensorflow-serving", {"layout": "columns", "version": 3},
         TensorFlowServingRest("sentiment", layout="columns", signature="tokens", version=3)),
        ("kserve-v1", {"model": "other"}, KServeV1("other")),
        ("open-inference", {"binary": True}, OpenInference("sentiment", binary=True)),
        ("torchserve", {"body": "bytes", "content_type": "image/png"},
         TorchServeRest("sentiment", body="bytes", content_type="image/png")),
        ("json", {"path": "/v1/score", "answer": "scores"},
         PlainJson("/v1/score", answer="scores")),
    ],
)  # fmt: skip
def test_a_protocol_by_its_name(name: str, settings: dict[str, object], made: object) -> None:
    assert protocol_from(name, settings, defaults=MODEL) == made


def test_every_protocol_is_made_from_its_defaults() -> None:
    for name, protocol in PROTOCOLS.items():
        assert type(protocol_from(name, {}, defaults=MODEL)) is protocol


@pytest.mark.parametrize(
    ("name", "settings", "facts"),
    [
        ("open-infrence", {}, ("'open-infrence'", "did you mean 'open-inference'?", "kserve-v1")),
        (3, {}, ("3", "json")),
        ("json", {"pth": "/x"}, ("'json'", "'pth'", "did you mean 'path'?", "wrapper")),
        ("torchserve", {"token": "k3y"}, ("'token'", "content_type")),  # is in the environment
        ("open-inference", {"binary": "yes"}, ("binary = 'yes'", "true or false")),
        ("open-inference", {"binary": 1}, ("binary = 1", "true or false")),
        ("open-inference", {"version": True}, ("version = True", "a whole number or a string")),
        ("torchserve", {"version": 2.10}, ("version = 2.1", "a whole number or a string")),
        ("kserve-v1", {"model": 7}, ("model = 7", "a string")),
        ("kserve-v1", {"model": ""}, ("model = ''", "empty")),
        ("json", {"layout": "row"}, ("layout = 'row'", "'single', 'columns', 'rows'")),
        ("json", {"answer": "a.s, b.s"}, ("answer = 'a.s, b.s'", "two outputs", "'s'")),
        ("json", {"path": "predict"}, ("path = 'predict'", "begins with '/'")),
        ("json", {"path": "/a b"}, ("path = '/a b'", "quote spaces")),
        ("json", {"path": "/é"}, ("path = '/é'", "outside ASCII")),
        ("torchserve", {"content_type": "a\nb"}, ("content_type = 'a\\nb'", "image/jpeg")),
        ("json", {"body": "bytes", "wrapper": "data"}, ("wrapper = 'data'", 'body = "json"')),
        ("json", {"body": "bytes", "layout": "rows"}, ("layout = 'rows'", 'body = "json"')),
        ("json", {"body": "multipart", "input": ""}, ("input = ''", "name")),
        ("open-inference", {"binary": True, "base64": True}, ("binary", "base64", "one of them")),
        ("tensorflow-serving", {"version": 3, "label": "canary"},
         ("version = 3", "label = 'canary'")),
        ("tensorflow-serving", {"version": "newest"}, ("version = 'newest'", "label")),
        ("torchserve", {"answer": "a"}, ("answer = 'a'", "/predictions/sentiment")),
    ],
)  # fmt: skip
def test_what_a_configuration_gets_wrong(name: Any, settings: Any, facts: tuple[str, ...]) -> None:
    where = "servebench.toml: servers.mine.protocol"
    with pytest.raises(OptionError) as raised:
        protocol_from(name, settings, defaults=MODEL, where=where)
    for fact in (where, *facts):
        assert fact in str(raised.value)


def test_a_model_must_be_named() -> None:
    with pytest.raises(OptionError, match="'kserve-v1' needs model"):
        protocol_from("kserve-v1", {})
