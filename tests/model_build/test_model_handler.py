import gc
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_build.images import drawn_images
from tests.lazily import Lazily

pytestmark = pytest.mark.servers

torch = Lazily("torch")
network = Lazily("model_build.network")
torch_formats = Lazily("model_build.torch_formats")
handlers = Lazily("fixtures.torchserve_handler")

IMAGE = drawn_images(1)[0].tolist()


class Context:
    """What the handler uses of TorchServe's context."""

    def __init__(self, directory: Path) -> None:
        self.system_properties = {"model_dir": str(directory)}
        self.manifest = {"model": {"serializedFile": "mobilenet_fashion_mnist.pt"}}
        self.statuses: dict[int, int] = {}
        self.content_types: dict[int, str] = {}

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        self.statuses[idx] = code

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.content_types[idx] = value


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    torch.manual_seed(0)
    made = network.MobileNetV2(0.25).eval()
    directory = tmp_path_factory.mktemp("model")
    torch_formats.write_torchscript(made, directory)
    handler = handlers.FashionMnistHandler()
    handler.initialize(Context(directory))
    return SimpleNamespace(network=made, handler=handler, directory=directory)


def test_what_is_loaded_is_not_scanned_during_requests(served: SimpleNamespace) -> None:
    served.handler.initialize(Context(served.directory))
    assert len(gc.get_objects()) < gc.get_freeze_count() / 10


def test_a_batch_is_answered_request_by_request(served: SimpleNamespace) -> None:
    images = drawn_images(6)
    first, second = {"instances": images[:1].tolist()}, {"instances": images[1:].tolist()}
    context = Context(served.directory)
    data: list[dict[str, Any]] = [{"body": first}, {"body": {"x": 1}}, {"body": second}]
    answers = [json.loads(answer) for answer in served.handler.handle(data, context)]
    logits = np.array(answers[0]["predictions"] + answers[2]["predictions"])
    expected = torch_formats.predict_torch(served.network, images)
    np.testing.assert_allclose(logits, expected, 1e-4, 1e-4)
    assert "instances" in answers[1]["error"]
    assert context.statuses == {1: 400}
    assert set(context.content_types.values()) == {"application/json"}


@pytest.mark.parametrize("kind", [dict, bytes, bytearray, str, memoryview])
@pytest.mark.parametrize("field", ["body", "data"])
def test_every_form_of_a_body_is_read(kind: type, field: str) -> None:
    body: Any = {"instances": [IMAGE]}
    if kind is str:
        body = json.dumps(body)
    elif kind is not dict:
        body = kind(json.dumps(body).encode())
    images = handlers.images_of({field: body})
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, drawn_images(1))


def test_whole_numbers_are_images_too() -> None:
    images = handlers.images_of({"body": {"instances": [np.zeros((28, 28, 1), int).tolist()]}})
    assert images.dtype == np.float32


MALFORMED = [
    ({}, "must be a JSON object"),
    ({"body": b'{"instances": ['}, "not JSON"),
    ({"body": b"\xff\xfe\x00"}, "not JSON"),
    ({"body": ""}, "not JSON"),
    ({"body": b"[" * 100_000}, "not JSON"),
    ({"body": []}, "must be a JSON object"),
    ({"body": {"instances": None}}, "must be a JSON object"),
    ({"body": {"instances": {"0": IMAGE}}}, "must be a JSON object"),
    ({"body": {"instances": []}}, "no images"),
    ({"body": {"instances": [1.0]}}, "shape"),
    ({"body": {"instances": IMAGE}}, "shape"),
    ({"body": {"instances": [IMAGE, IMAGE[1:]]}}, "not all of shape"),
    ({"body": {"instances": ["a picture"]}}, "other than numbers"),
    ({"body": {"instances": [None]}}, "other than numbers"),
    ({"body": {"instances": [np.full((28, 28, 1), True).tolist()]}}, "other than numbers"),
    ({"body": {"instances": np.full((1, 28, 28, 1), "1").tolist()}}, "other than numbers"),
]


@pytest.mark.parametrize(("request_", "message"), MALFORMED)
def test_malformed_bodies_say_why(request_: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        handlers.images_of(request_)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@given(JSON | st.binary(max_size=30) | st.fixed_dictionaries({"instances": JSON}))
def test_no_body_makes_the_handler_raise(served: SimpleNamespace, body: Any) -> None:
    context = Context(served.directory)
    good = {"body": {"instances": [IMAGE]}}
    answers = served.handler.handle([{"body": body}, good], context)
    assert context.statuses == {0: 400}
    assert json.loads(answers[0])["error"]
    assert len(json.loads(answers[1])["predictions"]) == 1
