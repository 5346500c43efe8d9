"""Builds run in a process of their own: ``python -m model_build.child PART ...``.

The process that measures must hold neither PyTorch nor TensorFlow, whose threads and memory would
stand beside the measurement; and a framework that aborts must not take pytest with it.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model_build.program import run_program
from pytest_servebench.errors import ModelError
from pytest_servebench.servers.process import scratch_directory
from pytest_servebench.system.python_child import python_child

Floats = npt.NDArray[np.float32]

FAILED = 3
"""Exit status with which the last line of stderr is the message of a :class:`ModelError`."""

LOGITS = "logits.npz"
"""File with the logits of each format, by the format's name."""

SERVED_NAME = "fashion"
_TAIL = 3000  # characters of stderr that go into an error


def build(part: str, weights: Path, images: Path, directory: Path) -> None:
    """Write the files of ``part`` and their logits into ``directory``; see :data:`PARTS`."""
    logits = PARTS[part](weights, np.load(images), directory)
    np.savez(directory / LOGITS, allow_pickle=False, **logits)


def run_child(
    part: str, weights: Path, images: Floats, into: Path, stop: threading.Event | None = None
) -> None:
    """Build ``part`` in a child process.

    Args:
        part: one of :data:`PARTS`.
        weights: safetensors file.
        images: float32 of shape ``(n, 28, 28, 1)`` whose logits are wanted.
        into: directory to fill.
        stop: ends the child early once it is set.

    Raises:
        StoppedError: ``stop`` was set.
        ModelError: the child failed; the message is the child's own, or the end of its output.
    """
    command, told = python_child("model_build.child", part)
    scratch = scratch_directory()
    images_file = scratch / "images.npy"
    np.save(images_file, images)
    done = run_program(
        [*command, *map(str, (weights, images_file, into))],
        env={**os.environ, **told}, scratch=scratch, stop=stop,
    )  # fmt: skip
    if done.status == FAILED:
        raise ModelError(done.errors.strip().rpartition("\n")[2])
    if done.status != 0:
        how, output = done.how.removeprefix("exit "), (done.output + done.errors)[-_TAIL:]
        raise ModelError(f"building the model's {part} part ended with {how}:\n{output}")


def _torch_reference(weights: Path, images: Floats, _: Path) -> dict[str, Floats]:
    from model_build import torch_formats  # noqa: PLC0415  # each part loads its framework only
    from model_build.weights import load_weights  # noqa: PLC0415

    network = torch_formats.build_network(load_weights(weights))
    return {"PyTorch": torch_formats.predict_torch(network, images)}


def _torchserve(weights: Path, images: Floats, directory: Path) -> dict[str, Floats]:
    from model_build import torch_formats  # noqa: PLC0415
    from model_build.weights import load_weights  # noqa: PLC0415

    network = torch_formats.build_network(load_weights(weights))
    torch_formats.write_state_dict(network, directory)
    torchscript = torch_formats.write_torchscript(network, directory)
    classes = torch_formats.write_class_index(directory)
    archive = torch_formats.write_archive(torchscript, classes, directory)
    # With PyTorch's own logits, so that no second process has to load PyTorch for them.
    return {
        "PyTorch": torch_formats.predict_torch(network, images),
        "TorchScript": torch_formats.predict_archive(archive, images),
    }


def _onnx(weights: Path, images: Floats, directory: Path) -> dict[str, Floats]:
    from model_build import torch_formats  # noqa: PLC0415
    from model_build.weights import load_weights  # noqa: PLC0415

    network = torch_formats.build_network(load_weights(weights))
    path = torch_formats.write_onnx(network, directory)
    return {"ONNX": torch_formats.predict_onnx(path, images)}


def _tensorflow(weights: Path, images: Floats, directory: Path) -> dict[str, Floats]:
    from model_build import tensorflow_twin  # noqa: PLC0415
    from model_build.weights import load_weights  # noqa: PLC0415

    version = directory / SERVED_NAME / "1"
    tensorflow_twin.export(load_weights(weights), version)
    return {"SavedModel": tensorflow_twin.load_predictor(version)(images)}


PARTS = {
    "reference": _torch_reference,
    "torchserve": _torchserve,
    "onnx": _onnx,
    "tensorflow_serving": _tensorflow,
}
"""Name of a part to the function that writes its files and returns its logits."""


def main() -> int:
    """Run one build; return the exit status."""
    part, *paths = sys.argv[1:]
    try:
        build(part, *map(Path, paths))
    except ModelError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
