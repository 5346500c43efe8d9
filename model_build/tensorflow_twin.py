"""The same network in Keras, with the same weights, as a SavedModel for TensorFlow Serving.

Where PyTorch and TensorFlow differ:

* A PyTorch convolution with padding 1 pads one pixel on every side. Keras' ``same`` pads only
  below and on the right when the stride is 2, so padding is a layer of its own here.
* Batch normalisation is folded into the convolution before it, computed in float64. TorchScript's
  ``freeze`` does the same, so neither server has an advantage.
* A convolution under oneDNN *aborts the process* when its input has the wrong rank. The first
  layer therefore ensures the shape, at run time, with an error that a server can answer with.
"""

from __future__ import annotations

import os

# Read when TensorFlow is loaded: without it, every start writes a page of notes to stderr.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Whatever Keras runs on elsewhere on this machine, a SavedModel comes from TensorFlow.
os.environ["KERAS_BACKEND"] = "tensorflow"

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model_build.architecture import (
    BATCH_NORM_EPSILON,
    IMAGE_SIZE,
    PIXEL_MEAN,
    PIXEL_STD,
    Block,
    mobilenet_v2,
)
from model_build.weights import Weights

_SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 1)


@keras.saving.register_keras_serializable(package="model_build")
class EnsureImages(keras.layers.Layer):  # type: ignore[misc]  # keras is not followed by the checker
    """Pass images on, and raise ``InvalidArgumentError`` for anything of another shape.

    ``tf.ensure_shape`` would be left out of the graph here, since the signature already promises
    the shape; but TensorFlow Serving does not hold a request to that promise.
    """

    def call(self, images: Any) -> Any:
        """Return ``images`` if its shape is ``(n, 28, 28, 1)``."""
        return tf.raw_ops.EnsureShape(input=images, shape=[None, *_SHAPE])


class _Builder:
    """Adds PyTorch's layers, by name, to a functional Keras model."""

    def __init__(self, weights: Weights) -> None:
        self._tensors = weights.tensors
        self._pending: list[tuple[Any, list[npt.NDArray[np.float32]]]] = []

    def conv_norm(
        self, features: Any, name: str, *, stride: int = 1, activation: bool = True
    ) -> Any:
        kernel, bias = self._folded(name)
        size = kernel.shape[2]
        if size > 1:
            features = keras.layers.ZeroPadding2D(size // 2)(features)
        common = {"strides": stride, "padding": "valid", "name": name.replace(".", "_")}
        if kernel.shape[1] == 1 and features.shape[-1] == kernel.shape[0]:
            layer = keras.layers.DepthwiseConv2D(size, **common)
            values = kernel.transpose(2, 3, 0, 1)
        else:
            layer = keras.layers.Conv2D(kernel.shape[0], size, **common)
            values = kernel.transpose(2, 3, 1, 0)
        features = layer(features)
        self._pending.append((layer, [values, bias]))
        return keras.layers.ReLU(6.0)(features) if activation else features

    def block(self, features: Any, name: str, block: Block) -> Any:
        inner = self.conv_norm(features, f"{name}.expand") if block.expands else features
        inner = self.conv_norm(inner, f"{name}.depthwise", stride=block.stride)
        inner = self.conv_norm(inner, f"{name}.project", activation=False)
        return keras.layers.Add()([features, inner]) if block.is_residual else inner

    def dense(self, features: Any, name: str) -> Any:
        kernel = self._tensors[f"{name}.weight"]
        layer = keras.layers.Dense(kernel.shape[0], name=name)
        features = layer(features)
        self._pending.append((layer, [kernel.T, self._tensors[f"{name}.bias"]]))
        return features

    def set_weights(self) -> None:
        """Fill the layers; they take values only once the model around them exists."""
        for layer, values in self._pending:
            layer.set_weights(values)

    def _folded(self, name: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        def tensor(suffix: str) -> npt.NDArray[np.float64]:
            return self._tensors[f"{name}.{suffix}"].astype(np.float64)

        scale = tensor("norm.weight") / np.sqrt(tensor("norm.running_var") + BATCH_NORM_EPSILON)
        kernel = tensor("conv.weight") * scale[:, None, None, None]
        bias = tensor("norm.bias") - tensor("norm.running_mean") * scale
        return kernel.astype(np.float32), bias.astype(np.float32)


def build_twin(weights: Weights) -> keras.Model:
    """Return a Keras model that gives the logits which PyTorch gives with these weights.

    Its input is float32 of shape ``(n, 28, 28, 1)`` in [0, 1], its output float32 of shape
    ``(n, 10)``.
    """
    architecture = mobilenet_v2(weights.width)
    builder = _Builder(weights)
    images = keras.Input(_SHAPE, name="image")
    features = EnsureImages()(images)
    features = keras.layers.Rescaling(1 / PIXEL_STD, -PIXEL_MEAN / PIXEL_STD)(features)
    features = builder.conv_norm(features, "stem")
    for index, block in enumerate(architecture.blocks):
        features = builder.block(features, f"blocks.{index}", block)
    features = builder.conv_norm(features, "head")
    features = keras.layers.GlobalAveragePooling2D()(features)
    model = keras.Model(images, builder.dense(features, "classifier"), name="fashion")
    builder.set_weights()
    return model


def export(weights: Weights, directory: Path) -> None:
    """Write the SavedModel into ``directory``, a version directory such as ``…/fashion/1``."""
    build_twin(weights).export(str(directory), format="tf_saved_model", verbose=False)


def load_predictor(
    directory: Path,
) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """Load a SavedModel and return a function from images ``(n, 28, 28, 1)`` to logits ``(n, 10)``.

    It calls the signature that TensorFlow Serving calls.
    """
    loaded = tf.saved_model.load(str(directory))
    signature = loaded.signatures["serving_default"]

    def predict(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        (logits,) = signature(tf.constant(images)).values()
        result: npt.NDArray[np.float32] = logits.numpy()
        return result

    # The signature alone does not keep the variables alive.
    predict.model = loaded  # type: ignore[attr-defined]
    return predict
