"""The reference model: MobileNetV2 on Fashion-MNIST, one set of weights for every server.

``servebench_model = "model_build:fashion_mnist"`` serves the committed weights;
``"model_build:fashion_mnist_retrained"`` trains its own first. Importing this package loads
neither PyTorch nor TensorFlow.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection
from pathlib import Path

from model_build.files import cache_directory
from model_build.packaging import WEIGHTS, package
from model_build.program import run_program
from pytest_servebench.errors import ModelError
from pytest_servebench.model import ServedModel
from pytest_servebench.servers.process import scratch_directory
from pytest_servebench.system.python_child import python_child

_TAIL = 10  # lines of output that go into an error
_log = logging.getLogger(__name__)

EPOCHS_VARIABLE = "SERVEBENCH_TRAIN_EPOCHS"
"""Environment variable with the number of epochs for :func:`fashion_mnist_retrained`."""

__all__ = ["EPOCHS_VARIABLE", "fashion_mnist", "fashion_mnist_retrained"]


def fashion_mnist(kinds: Collection[str]) -> ServedModel:
    """Package the committed weights for the chosen server kinds.

    Needs neither the data set nor training nor the network. What was built is cached.

    Raises:
        ModelError: a framework is missing, or a build failed.
        ParityError: the formats do not agree.
    """
    return package(WEIGHTS, kinds)


def fashion_mnist_retrained(kinds: Collection[str]) -> ServedModel:
    """Train new weights, resuming an interrupted training, and package them.

    The data set is taken from ``$FASHION_MNIST_DIR``, else fetched once. The number of epochs is
    ``$SERVEBENCH_TRAIN_EPOCHS``, else that of the committed weights.

    Raises:
        ModelError: training failed (the message says why), or as :func:`fashion_mnist`.
        ParityError: the formats do not agree.
    """
    return package(_train(), kinds)


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
    _log.info("%s", line.strip())


def _train() -> Path:
    epochs = os.environ.get(EPOCHS_VARIABLE, "")
    if epochs and not (epochs.isdecimal() and int(epochs) > 0):
        raise ModelError(f"{EPOCHS_VARIABLE} must be a whole number above 0, not {epochs!r}")
    weights = cache_directory() / "training" / f"epochs-{epochs or 'default'}.safetensors"
    arguments = ["--output", str(weights), *(("--epochs", epochs) if epochs else ())]
    command, told = python_child("model_build.train", *arguments)
    # In a child process, like builds.
    training = run_program(
        command, env={**os.environ, **told}, scratch=scratch_directory(), on_line=_tell
    )
    if training.status != 0:
        tail = "\n".join(training.errors.splitlines()[-_TAIL:])
        raise ModelError(
            f"training ended with {training.how.removeprefix('exit ')}; to run it alone: "
            f"'python -m model_build.train {' '.join(arguments)}'. Its last output:\n{tail}"
        )
    return weights
