"""The formats that PyTorch writes: state dictionary, TorchScript, ONNX and TorchServe's archive."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from model_build.architecture import CLASS_NAMES, IMAGE_SIZE
from model_build.network import MobileNetV2
from model_build.weights import Weights
from pytest_servebench.errors import ModelError

STEM = "mobilenet_fashion_mnist"
ARCHIVE_NAME = "fashion_mnist"
CLASS_INDEX = "index_to_name.json"
HANDLER = Path(__file__).resolve().parents[1] / "fixtures" / "torchserve_handler.py"

# Any image will do for tracing: the network has no branch that depends on its input.
_EXAMPLE = (1, 1, IMAGE_SIZE, IMAGE_SIZE)


def build_network(weights: Weights) -> MobileNetV2:
    """Return the PyTorch network with these weights, in evaluation mode.

    Raises:
        ModelError: the weights are not those of this network.
    """
    network = MobileNetV2(weights.width)
    state = {name: torch.from_numpy(np.array(values)) for name, values in weights.tensors.items()}
    try:
        result = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelError(f"the weights do not fit the network: {error}") from error
    # The step counters of batch normalisation are left out of the file.
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        raise ModelError(
            f"the weights do not fit the network: missing {missing}, "
            f"unknown {result.unexpected_keys}"
        )
    network.eval()
    return network


def write_state_dict(network: MobileNetV2, directory: Path) -> Path:
    """Write ``mobilenet_fashion_mnist.pth``, to be read with ``torch.load``."""
    path = directory / f"{STEM}.pth"
    torch.save(network.state_dict(), path)
    return path


def write_torchscript(network: MobileNetV2, directory: Path) -> Path:
    """Write ``mobilenet_fashion_mnist.pt``: traced, frozen, batch normalisation folded in."""
    path = directory / f"{STEM}.pt"
    with warnings.catch_warnings():
        # TorchScript is deprecated, and still what TorchServe's eager workers load fastest.
        warnings.simplefilter("ignore")
        frozen = torch.jit.freeze(torch.jit.trace(network, torch.zeros(_EXAMPLE)))
        torch.jit.save(frozen, str(path))
    return path


class _ChannelsLast(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, network: MobileNetV2) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images.permute(0, 3, 1, 2))
        return logits


def write_onnx(network: MobileNetV2, directory: Path) -> Path:
    """Write ``mobilenet_fashion_mnist.onnx``: input ``image`` NHWC, output ``logits``.

    Its input is that of all other formats, so that every server takes the same requests.
    """
    path = directory / f"{STEM}.onnx"
    with warnings.catch_warnings():
        # The newer exporter takes twenty seconds and two more packages for the same file.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _ChannelsLast(network),
            (torch.zeros(1, IMAGE_SIZE, IMAGE_SIZE, 1),),
            str(path),
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            dynamo=False,
        )
    return path


def write_class_index(directory: Path) -> Path:
    """Write ``index_to_name.json``: label, as a string, to the class's name."""
    path = directory / CLASS_INDEX
    names = {str(label): name for label, name in enumerate(CLASS_NAMES)}
    path.write_text(json.dumps(names, indent=2) + "\n")
    return path


def write_archive(torchscript: Path, class_index: Path, directory: Path) -> Path:
    """Write ``fashion_mnist.mar`` for TorchServe: TorchScript, handler and class names.

    Raises:
        ModelError: torch-model-archiver left something else in the archive.
    """
    from model_archiver.model_archiver_config import ModelArchiverConfig  # noqa: PLC0415
    from model_archiver.model_packaging import generate_model_archive  # noqa: PLC0415

    path = directory / f"{ARCHIVE_NAME}.mar"
    generate_model_archive(
        ModelArchiverConfig(
            model_name=ARCHIVE_NAME,
            version="1.0",
            serialized_file=str(torchscript),
            handler=str(HANDLER),
            extra_files=str(class_index),
            export_path=str(directory),
            force=True,
        )
    )
    with zipfile.ZipFile(path) as archive:
        if archive.read(torchscript.name) != torchscript.read_bytes():
            raise ModelError(f"{path} does not hold the TorchScript file that was put in")
    return path


def predict_torch(
    network: torch.nn.Module, images: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the logits ``(n, 10)`` of images ``(n, 28, 28, 1)``."""
    with torch.inference_mode():
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2))
    result: npt.NDArray[np.float32] = logits.numpy()
    return result


def predict_archive(archive: Path, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the logits of the TorchScript inside a TorchServe archive."""
    with zipfile.ZipFile(archive) as opened:
        # In memory, as torch.jit.load needs to seek.
        content = io.BytesIO(opened.read(f"{STEM}.pt"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in write_torchscript
        return predict_torch(torch.jit.load(content), images)


def predict_onnx(path: Path, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the logits that ONNX Runtime computes from an ONNX file."""
    import onnxruntime  # noqa: PLC0415  # not needed for TorchServe

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": images})
    return np.asarray(logits, np.float32)
