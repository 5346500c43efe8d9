"""The committed weights and what is really built from them."""

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model_build import fashion_mnist
from model_build.child import run_child
from model_build.files import sha256_of
from model_build.images import drawn_images
from model_build.packaging import FIXTURES, WEIGHTS
from model_build.weights import load_weights
from pytest_servebench.errors import ModelError
from pytest_servebench.model import ServedModel
from tests.lazily import Lazily

pytestmark = pytest.mark.servers

torch_formats = Lazily("model_build.torch_formats")

# As a server runs it: by the graph, and without Python's own look at the shape of what is fed.
FEED = """
import sys
import numpy as np
import tensorflow as tf
from pathlib import Path
from tensorflow.core.protobuf import saved_model_pb2

path = Path(sys.argv[1]) / "saved_model.pb"
model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
for node in model.meta_graphs[0].graph_def.node:
    node.attr.pop("_output_shapes", None)
    if node.op == "Placeholder" and node.name.startswith("serving_default"):
        node.attr["shape"].shape.unknown_rank = True
        node.attr["shape"].shape.ClearField("dim")
path.write_bytes(model.SerializeToString())
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    signature = tf.compat.v1.saved_model.load(session, ["serve"], sys.argv[1]).signature_def
    (image,) = signature["serving_default"].inputs.values()
    (logits,) = signature["serving_default"].outputs.values()
    for shape in [(0,), (1, 784), (28, 28, 1), (1, 28, 28), (1, 28, 28, 3), (1, 32, 32, 1), ()]:
        try:
            session.run(logits.name, {image.name: np.zeros(shape, np.float32)})
        except tf.errors.InvalidArgumentError as error:
            assert "not compatible with expected shape [?,28,28,1]" in str(error), error
        else:
            raise AssertionError(shape)
    assert session.run(logits.name, {image.name: np.zeros((2, 28, 28, 1))}).shape == (2, 10)
print("survived")
"""


BOTH, TORCHSERVE = ("tensorflow_serving", "torchserve"), ("torchserve",)
Build = Callable[[tuple[str, ...]], ServedModel]


@pytest.fixture(scope="module")
def build(model_cache: Path) -> Build:
    """Build for some kinds of server, each part once for all tests."""

    def build(kinds: tuple[str, ...]) -> ServedModel:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SERVEBENCH_CACHE_DIR", str(model_cache))
            patch.delenv("FASHION_MNIST_DIR", raising=False)
            return fashion_mnist(kinds)

    return build


@pytest.mark.parametrize("kinds", [BOTH, TORCHSERVE], ids="-".join)
def test_outputs_are_those_of_the_weights(build: Build, kinds: tuple[str, ...]) -> None:
    built = build(kinds)
    network = torch_formats.build_network(load_weights(WEIGHTS))
    inputs, outputs = np.asarray(built.inputs), np.asarray(built.outputs)
    np.testing.assert_array_equal(inputs, drawn_images(64))
    np.testing.assert_allclose(outputs, torch_formats.predict_torch(network, inputs), 1e-4, 1e-4)
    assert built.weights_sha256 == sha256_of(WEIGHTS)


def test_the_archive_holds_what_torchserve_needs(build: Build) -> None:
    with zipfile.ZipFile(build(TORCHSERVE).artifacts["torchserve"]) as archive:
        assert set(archive.namelist()) == {
            "MAR-INF/MANIFEST.json",
            "index_to_name.json",
            "mobilenet_fashion_mnist.pt",
            "torchserve_handler.py",
        }


def test_wrong_shapes_raise_and_do_not_abort(build: Build, tmp_path: Path) -> None:
    copy = tmp_path / "1"
    shutil.copytree(build(BOTH).artifacts["tensorflow_serving"] / "1", copy)
    done = subprocess.run(
        [sys.executable, "-c", FEED, copy], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "survived", done.stderr[-2000:]
    assert done.returncode == 0


def test_onnx_agrees(build: Build) -> None:
    built = build((*BOTH, "onnx"))
    assert built.artifacts["onnx"].name == "mobilenet_fashion_mnist.onnx"
    with np.load(built.artifacts["onnx"].parent / "logits.npz") as logits:
        expected = np.asarray(built.outputs)
        np.testing.assert_allclose(logits["ONNX"][:64], expected, 1e-4, 1e-4)


def test_a_failed_child_tells_its_own_message(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"")
    with pytest.raises(ModelError, match=r"^cannot read the weights .*damaged"):
        run_child("reference", damaged, drawn_images(1), tmp_path)
    with pytest.raises(ModelError, match=r"(?s)ended with status 1:.*KeyError: 'absent'"):
        run_child("absent", WEIGHTS, drawn_images(1), tmp_path)


def test_the_model_card_is_of_these_weights() -> None:
    card = (FIXTURES / "MODEL_CARD.md").read_text()
    assert f"SHA-256: `{sha256_of(WEIGHTS)}`" in card
    stated = re.search(r"Test accuracy: \*\*([\d.]+)%\*\*", card)
    assert stated is not None
    assert float(stated[1]) >= 92
    rows = re.findall(r"^\| [^|]+((?:\| \d+ ){10})", card, re.MULTILINE)
    confusion = np.array([[int(n) for n in row.split("|")[1:]] for row in rows])
    assert confusion.shape == (10, 10)
    assert (confusion.sum(axis=1) == 1000).all()
    assert confusion.trace() / 100 == pytest.approx(float(stated[1]))
