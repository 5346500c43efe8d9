"""Build the models that the tests serve. A program of its own: TensorFlow would stay in pytest.

python build_models.py DIRECTORY
"""

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pytest_servebench.protocols.grpc_messages import tensorflow_serving_pb2 as messages
from pytest_servebench.protocols.tensorflow_tensors import write

Method = TypeVar("Method", bound=Callable[..., Any])
ARRAYS: tuple[npt.NDArray[Any], ...] = (
    np.array([[1, 2]], np.float32), np.array([0.5], np.float16), np.array([[1, -2]]),
    np.array(["ä", ""], object),
)  # fmt: skip
PIXELS = {"half": 0.5, "one": 1.0, "nan": np.nan, "infinite": np.inf}


def graph(*inputs: tf.TensorSpec) -> Callable[[Method], Method]:
    """Make a method a graph of those inputs."""
    return cast("Callable[[Method], Method]", tf.function(input_signature=inputs))


class Fashion(tf.Module):  # type: ignore[misc]
    """A small convnet like the one of the recorded exchanges, of the same names.

    Nothing guards it against inputs of another rank.
    """

    def __init__(self) -> None:
        """Draw its weights."""
        super().__init__()
        dice = np.random.default_rng(1)
        self.kernel = tf.Variable(dice.normal(0, 0.3, (3, 3, 1, 8)).astype(np.float32))
        self.dense = tf.Variable(dice.normal(0, 0.05, (13 * 13 * 8, 10)).astype(np.float32))

    @graph(tf.TensorSpec([None, 28, 28, 1], tf.float32, "keras_tensor"))
    def logits(self, keras_tensor: Any) -> dict[str, Any]:
        """Classify images."""
        x = tf.nn.relu(tf.nn.conv2d(keras_tensor, self.kernel, 1, "VALID"))
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        return {"output_0": tf.reshape(x, [-1, 13 * 13 * 8]) @ self.dense}


class Mixed(tf.Module):  # type: ignore[misc]
    """Signatures of many kinds."""

    @graph(tf.TensorSpec([None, 2], tf.float32, "a"), tf.TensorSpec([None], tf.int32, "b"))
    def add(self, a: Any, b: Any) -> dict[str, Any]:
        """Two inputs, two outputs."""
        return {"total": tf.reduce_sum(a, 1) + tf.cast(b, tf.float32), "twice": 2 * b}

    @graph(tf.TensorSpec([None], tf.string, "text"))
    def strings(self, text: Any) -> dict[str, Any]:
        """Text and bytes."""
        return {"echo": text, "echo_bytes": text, "length": tf.strings.length(text)}

    @graph(tf.TensorSpec([None, 2], tf.bool, "flags"))
    def flip(self, flags: Any) -> dict[str, Any]:
        """Truth values."""
        return {"flipped": tf.logical_not(flags)}

    @graph(tf.TensorSpec([None], tf.float64, "x"))
    def same(self, x: Any) -> dict[str, Any]:
        """Doubles, back as they came."""
        return {"y": x}

    @graph(tf.TensorSpec(None, tf.float32, "x"))
    def positive(self, x: Any) -> dict[str, Any]:
        """Any shape, but an error of the graph for what is negative."""
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, "must not be negative")]):
            return {"y": tf.identity(x)}

    @graph(tf.TensorSpec([None], tf.int32, "rounds"))
    def slow(self, rounds: Any) -> dict[str, Any]:
        """Work for as many rounds, each of them some milliseconds."""
        matrix = tf.random.stateless_uniform([400, 400], [1, 2])
        total = tf.constant(0.0)
        for _ in tf.range(rounds[0]):
            total += tf.reduce_max(tf.linalg.matmul(matrix, matrix)) * 0.0
        return {"done": tf.cast(rounds, tf.float32) + total}


class Tiny(tf.Module):  # type: ignore[misc]
    """The sum and the number of its inputs."""

    @graph(tf.TensorSpec([None, 2, 2], tf.float32, "image"))
    def serve(self, image: Any) -> Any:
        """One output without a name."""
        return tf.stack([tf.reduce_sum(image, [1, 2]), tf.reduce_sum(image * 0 + 1, [1, 2])], 1)


class Several(tf.Module):  # type: ignore[misc]
    """Models of tokens, text and pictures."""

    @graph(
        tf.TensorSpec([None, None], tf.int64, "ids"), tf.TensorSpec([None, None], tf.int64, "mask")
    )
    def tokens(self, ids: Any, mask: Any) -> dict[str, Any]:
        """Two inputs of any length."""
        return {
            "largest": tf.reduce_max(ids * mask, 1),
            "share": tf.reduce_mean(tf.cast(mask, tf.float32), 1),
        }

    @graph(tf.TensorSpec([None], tf.string, "text"))
    def text(self, text: Any) -> dict[str, Any]:
        """Numbers and text."""
        return {
            "length": tf.strings.length(text, "UTF8_CHAR"),
            "upper": tf.strings.upper(text, "utf-8"),
        }

    @graph(tf.TensorSpec([None], tf.string, "picture"))
    def picture(self, picture: Any) -> dict[str, Any]:
        """The mean colour of JPEG files."""

        def mean(one: Any) -> Any:
            return tf.reduce_mean(tf.cast(tf.io.decode_jpeg(one, 3), tf.float32), [0, 1]) / 255

        return {"colour": tf.map_fn(mean, picture, fn_output_signature=tf.float32)}

    @graph(tf.TensorSpec([], tf.float32, "x"), tf.TensorSpec([], tf.bool, "flag"))
    def single(self, x: Any, flag: Any) -> dict[str, Any]:
        """No rows."""
        return {"y": tf.where(flag, x, -x)}


def build(path: Path, model: tf.Module, **signatures: str) -> None:
    """Save a model; the signatures' methods are named."""
    found = {name: getattr(model, method) for name, method in signatures.items()}
    tf.saved_model.save(model, path, signatures=found)


def same(*names: str) -> dict[str, str]:
    """Return signatures called as their methods."""
    return dict(zip(names, names, strict=True))


def as_tensorflow(array: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], bytes]:
    """Return what TensorFlow reads in our message of an array, and its own message."""
    ours = messages.Tensor()
    write(ours, array)
    own = tf.make_tensor_proto(array)
    assert own.DESCRIPTOR.full_name == "tensorflow.TensorProto"
    theirs = type(own).FromString(ours.SerializeToString())
    return tf.make_ndarray(theirs), own.SerializeToString()


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    tensors = [(array, *as_tensorflow(array)) for array in ARRAYS]
    (directory / "tensors.pickle").write_bytes(pickle.dumps(tensors))
    fashion = Fashion()
    build(directory / "fashion" / "1", fashion, serve="logits", serving_default="logits")
    images = {name: tf.fill([1, 28, 28, 1], np.float32(value)) for name, value in PIXELS.items()}
    answers = {name: fashion.logits(image)["output_0"].numpy() for name, image in images.items()}
    np.savez(directory / "fashion" / "answers.npz", allow_pickle=False, **answers)
    # Without a default signature.
    mixed = same("add", "strings", "flip", "same", "positive", "slow")
    build(directory / "mixed" / "7", Mixed(), **mixed)
    build(directory / "tiny" / "1", Tiny(), serving_default="serve")
    build(directory / "several" / "1", Several(), **same("tokens", "text", "picture", "single"))
