"""From weights to a :class:`ServedModel`: what is missing is built, compared and cached."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import logging
import platform
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model_build.cache import finished_entry, get_or_build, key_of
from model_build.child import LOGITS, SERVED_NAME, run_child
from model_build.files import cache_directory, sha256_of
from model_build.images import sample_images
from model_build.parity import ATOL, RTOL, check_parity
from pytest_servebench.errors import ModelError
from pytest_servebench.model import ServedModel

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
WEIGHTS = FIXTURES / "mobilenet_fashion_mnist.safetensors"
"""The committed weights."""

INPUTS = 64
"""Images that are sent to the servers repeatedly."""

PARITY_IMAGES = 256
"""Images on which the formats are compared; the first of them are sent."""

ARTIFACTS = {
    "tensorflow_serving": SERVED_NAME,
    "torchserve": "fashion_mnist.mar",
    "onnx": "mobilenet_fashion_mnist.onnx",
}
"""Artifact to its path inside the cache entry of the part of that name."""

SERVED_NAMES = {"tensorflow_serving": SERVED_NAME, "torchserve": "fashion_mnist"}
"""Server kind to the name under which it offers the model."""

# Part to the modules it needs and to what gives them.
_TENSORFLOW = "pip install 'pytest-servebench[tensorflow]'"
_TORCHSERVE = "pip install 'pytest-servebench[torchserve]'"
_NEEDS = {
    "tensorflow_serving": (("tensorflow", "keras"), _TENSORFLOW),
    "torchserve": (("torch", "model_archiver"), _TORCHSERVE),
    "reference": (("torch",), _TORCHSERVE),
    "onnx": (("torch", "onnx", "onnxruntime"), "pip install --group model"),
}
_SAFETENSORS = ("safetensors", "pip install --group model")
# Releases that can change what is built. Several distributions provide the module tensorflow.
_DISTRIBUTIONS = (
    *("torch", "torch-model-archiver", "onnx", "onnxruntime", "keras", "numpy"),
    *("tensorflow", "tensorflow-cpu", "tensorflow-intel", "tf-nightly"),
)
# What determines a build, besides the weights.
_SOURCES = (
    *("architecture.py", "network.py", "weights.py", "torch_formats.py", "tensorflow_twin.py"),
    *("child.py", "../fixtures/torchserve_handler.py"),
)

_log = logging.getLogger(__name__)


def package(weights: Path, kinds: Collection[str]) -> ServedModel:
    """Package the model for the chosen server kinds, building only what these need.

    Args:
        weights: safetensors file.
        kinds: artifacts that server kinds need; one that this model does not have is left out, and
            with none at all there are still inputs and expected outputs, for a server that already
            runs.

    Raises:
        ModelError: a framework is missing, or a build failed.
        ParityError: the formats do not agree.
        DatasetError: the user named a directory of the data set that cannot be used.
    """
    images, source = sample_images(PARITY_IMAGES)
    wanted = [part for part in ARTIFACTS if part in kinds]
    parts = _with_reference(wanted)
    if wanted and "onnx" not in parts and _all_importable(_NEEDS["onnx"][0]):
        parts = [*parts, "onnx"]  # not served; one more check that all formats agree
    entries = build_parts(weights, parts, images)
    logits = compare(entries)
    return ServedModel(
        name="MobileNetV2 on Fashion-MNIST",
        artifacts={part: entries[part] / ARTIFACTS[part] for part in wanted},
        inputs=images[:INPUTS],
        outputs=next(iter(logits.values()))[:INPUTS],
        rtol=RTOL,
        atol=ATOL,
        input_source=f"{INPUTS} {source}",
        weights_sha256=sha256_of(weights),
        served_names=SERVED_NAMES,
    )


def build_parts(
    weights: Path, parts: Collection[str], images: npt.NDArray[np.float32]
) -> dict[str, Path]:
    """Return the finished cache entry of every part, building missing ones.

    Raises:
        ModelError: the weights or a framework is missing, or a build failed.
    """
    for part in parts:
        _check_installed(part)
    if not weights.is_file():
        raise ModelError(
            f"there are no weights at {weights}. Restore the file with 'git checkout', or train "
            f"with 'python -m model_build.train --output {weights}'."
        )
    root = cache_directory() / "artifacts"
    common = {
        "weights": sha256_of(weights),
        "images": hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest(),
        **{f"source {name}": sha256_of(Path(__file__).parent / name) for name in _SOURCES},
        "python": platform.python_version(),
        "machine": platform.machine(),
        **_versions(),
    }

    entries = {part: root / f"{part}-{key_of({**common, 'part': part})}" for part in parts}
    missing = [part for part in parts if not finished_entry(entries[part])]
    finished = itertools.count(1)
    stop = threading.Event()

    def build(part: str) -> None:
        start = time.monotonic()
        try:
            get_or_build(
                entries[part],
                lambda directory: run_child(part, weights, images, directory, stop),
                stop,
            )
        except OSError as error:
            raise ModelError(
                f"cannot build in the cache directory {root}: {error}. Free space there, make it "
                f"writable, or choose another one with SERVEBENCH_CACHE_DIR."
            ) from error
        seconds, number = time.monotonic() - start, next(finished)
        _log.info("built %s in %.1f s (%d of %d)", part, seconds, number, len(missing))

    if missing:
        _log.info("building %s ...", ", ".join(missing))
    # Each thread only waits for its child process.
    with ThreadPoolExecutor(max_workers=max(1, len(missing))) as pool:
        try:
            for _ in pool.map(build, missing):
                pass  # raises the exception of a build
        except Exception:
            raise  # the other builds finish, and are cached for next time
        except BaseException:
            stop.set()  # Ctrl-C: or leaving the pool would wait for them
            raise
    return entries


def compare(entries: Mapping[str, Path]) -> dict[str, npt.NDArray[np.float32]]:
    """Compare the logits that were computed from the very files in these entries.

    The entries' manifests hold the digests of logits and files together: comparing stored logits
    compares the files beside them.

    Returns:
        Format name to logits; PyTorch first, where it took part.

    Raises:
        ParityError: two formats do not agree.
    """
    found: dict[str, npt.NDArray[np.float32]] = {}
    for entry in entries.values():
        with np.load(entry / LOGITS) as stored:
            found.update({name: stored[name] for name in stored.files})
    logits = dict(sorted(found.items(), key=lambda item: item[0] != "PyTorch"))
    check_parity(logits)
    return logits


def _with_reference(wanted: list[str]) -> list[str]:
    """Add the part that gives the expected outputs: PyTorch if installed, else TensorFlow."""
    if "torchserve" in wanted:
        return wanted  # brings PyTorch's own logits along
    if importlib.util.find_spec("torch"):
        return [*wanted, "reference"]
    if wanted or importlib.util.find_spec("tensorflow"):
        return wanted or ["tensorflow_serving"]
    raise ModelError(
        f"neither PyTorch nor TensorFlow is installed to compute the expected outputs: "
        f"{_TORCHSERVE}, or {_TENSORFLOW}"
    )


def _all_importable(modules: Collection[str]) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)


def _check_installed(part: str) -> None:
    modules, remedy = _NEEDS[part]
    for module, how in (*((name, remedy) for name in modules), _SAFETENSORS):
        if importlib.util.find_spec(module) is None:
            raise ModelError(f"the Python package {module} is missing for {part}: {how}")


def _versions() -> dict[str, str]:
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[f"version {name}"] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
