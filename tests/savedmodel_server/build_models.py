"""Build the models that the tests serve. A program of its own: it needs TensorFlow, pytest not.

python build_models.py DIRECTORY
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

Method = TypeVar("Method", bound=Callable[..., Any])
PIXELS = {"half": 0.5, "one": 1.0, "nan": np.nan, "infinite": np.inf}


def build_fashion(directory: Path) -> None:
    """A small convnet like the one of the recorded exchanges, and its own answers.

    Nothing guards it against inputs of another rank.
    """
    keras.utils.set_random_seed(1)
    image = keras.Input((28, 28, 1), name="keras_tensor")
    x = keras.layers.Conv2D(8, 3, activation="relu")(image)
    x = keras.layers.MaxPooling2D(2)(x)
    logits = keras.layers.Dense(10)(keras.layers.Flatten()(x))
    keras.Model(image, logits).export(directory / "1", verbose=False)
    serve = tf.saved_model.load(directory / "1").signatures["serving_default"]
    answers = {
        name: serve(keras_tensor=tf.fill([1, 28, 28, 1], np.float32(value)))["output_0"].numpy()
        for name, value in PIXELS.items()
    }
    np.savez(directory / "answers.npz", **answers)


def graph(*inputs: tf.TensorSpec) -> Callable[[Method], Method]:
    """Make a method a graph of those inputs."""
    return cast("Callable[[Method], Method]", tf.function(input_signature=inputs))


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


def build_mixed(directory: Path) -> None:
    """A model without a default signature."""
    module = Mixed()
    names = ("add", "strings", "flip", "same", "positive", "slow")
    tf.saved_model.save(
        module, directory / "7", signatures={name: getattr(module, name) for name in names}
    )


if __name__ == "__main__":
    build_fashion(Path(sys.argv[1]) / "fashion")
    build_mixed(Path(sys.argv[1]) / "mixed")
