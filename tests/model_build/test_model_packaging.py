"""Packaging with builds that cost nothing; the real ones are in test_model_formats.py."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import model_build
from model_build import packaging
from model_build.__main__ import main
from model_build.images import drawn_images
from model_build.parity import ParityError
from pytest_servebench.errors import ModelError

LOGITS = np.linspace(-9, 9, 2560, dtype=np.float32).reshape(256, 10)


class FakeBuilds:
    """Stands in for the child processes; remembers which parts it built."""

    def __init__(self) -> None:
        self.built: list[str] = []
        self.logits: dict[str, dict[str, npt.NDArray[np.float32]]] = {
            "reference": {"PyTorch": LOGITS},
            "torchserve": {"PyTorch": LOGITS, "TorchScript": LOGITS},
            "tensorflow_serving": {"SavedModel": LOGITS + np.float32(1e-5)},
            "onnx": {"ONNX": LOGITS},
        }

    def __call__(self, part: str, weights: Path, images: Any, into: Path, stop: Any) -> None:
        assert images.shape == (256, 28, 28, 1)
        self.built.append(part)
        artifact = into / packaging.ARTIFACTS.get(part, "file")
        artifact.write_text(part)
        np.savez(into / "logits.npz", allow_pickle=False, **self.logits[part])


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBuilds:
    fake = FakeBuilds()
    monkeypatch.setattr(packaging, "run_child", fake)
    monkeypatch.setattr(packaging, "sample_images", lambda count: (drawn_images(count), "drawn"))
    monkeypatch.setenv("SERVEBENCH_CACHE_DIR", str(tmp_path / "cache"))
    return fake


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    return path


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in modules else real(name)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kinds", "built"),
    [
        ({"torchserve", "tensorflow_serving"}, {"torchserve", "tensorflow_serving", "onnx"}),
        (["torchserve"], {"torchserve", "onnx"}),
        (("tensorflow_serving",), {"tensorflow_serving", "reference", "onnx"}),
        (["onnx"], {"onnx", "reference"}),
        ([], {"reference"}),
        (["a kind of somebody else"], {"reference"}),
    ],
)
def test_only_what_is_needed_is_built_and_once(
    builds: FakeBuilds, weights: Path, kinds: Any, built: set[str]
) -> None:
    model = packaging.package(weights, kinds)
    assert set(builds.built) == built
    assert set(model.artifacts) == built & set(kinds)
    assert all(path.exists() for path in model.artifacts.values())
    assert np.asarray(model.inputs).shape == (64, 28, 28, 1)
    np.testing.assert_array_equal(model.outputs, LOGITS[:64])
    packaging.package(weights, kinds)
    assert len(builds.built) == len(built)


def test_onnx_is_a_witness_only_where_it_is_installed(
    builds: FakeBuilds, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "onnx")
    packaging.package(weights, ["torchserve"])
    assert builds.built == ["torchserve"]


def test_names_and_digest(builds: FakeBuilds, weights: Path) -> None:
    model = packaging.package(weights, ["torchserve", "tensorflow_serving"])
    assert model.artifacts["torchserve"].name == "fashion_mnist.mar"
    assert model.artifacts["tensorflow_serving"].name == "fashion"
    assert model.served_name("torchserve") == "fashion_mnist"
    assert model.served_name("tensorflow_serving") == "fashion"
    assert len(model.weights_sha256) == 64
    assert "drawn" in model.input_source


def test_other_weights_are_other_artifacts(builds: FakeBuilds, weights: Path) -> None:
    first = packaging.package(weights, ["torchserve"])
    weights.write_bytes(b"others")
    second = packaging.package(weights, ["torchserve"])
    assert first.artifacts != second.artifacts
    assert first.weights_sha256 != second.weights_sha256


def test_a_changed_artifact_is_built_again(builds: FakeBuilds, weights: Path) -> None:
    model = packaging.package(weights, ["torchserve"])
    model.artifacts["torchserve"].write_text("tampered with")
    packaging.package(weights, ["torchserve"])
    assert sorted(builds.built) == ["onnx", "torchserve", "torchserve"]
    assert model.artifacts["torchserve"].read_text() == "torchserve"


def test_disagreeing_formats_are_refused_warm_and_cold(builds: FakeBuilds, weights: Path) -> None:
    builds.logits["tensorflow_serving"]["SavedModel"] = LOGITS + np.float32(0.01)
    for _ in range(2):
        with pytest.raises(ParityError, match=r"PyTorch and SavedModel .* difference is 0.01"):
            packaging.package(weights, ["torchserve", "tensorflow_serving"])


@pytest.mark.parametrize(
    ("kind", "module", "extra"),
    [
        ("tensorflow_serving", "tensorflow", r"pytest-servebench\[tensorflow\]"),
        ("torchserve", "torch", r"pytest-servebench\[torchserve\]"),
        ("torchserve", "model_archiver", r"pytest-servebench\[torchserve\]"),
        ("torchserve", "safetensors", "--group model"),
    ],
)
def test_a_missing_framework_names_the_extra(
    builds: FakeBuilds,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    module: str,
    extra: str,
) -> None:
    hide(monkeypatch, module)
    with pytest.raises(ModelError, match=f"{module} is missing .*{extra}"):
        packaging.package(weights, [kind])
    assert builds.built == []


def test_tensorflow_alone_is_enough(
    builds: FakeBuilds, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "torch", "model_archiver", "onnx", "onnxruntime")
    model = packaging.package(weights, [])
    assert model.artifacts == {}
    packaging.package(weights, ["tensorflow_serving"])
    assert builds.built == ["tensorflow_serving"]
    hide(monkeypatch, "torch", "tensorflow")
    with pytest.raises(ModelError, match="neither PyTorch nor TensorFlow"):
        packaging.package(weights, [])


def test_it_says_what_is_built_and_how_much_of_it_is_done(
    builds: FakeBuilds, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "model_build"):
        packaging.build_parts(weights, ["torchserve", "onnx"], drawn_images(256))
    first, *others = caplog.messages
    assert first == "building torchserve, onnx ..."
    assert [one.partition(" (")[2] for one in others] == ["1 of 2)", "2 of 2)"]
    caplog.clear()
    with caplog.at_level("INFO", "model_build"):
        packaging.build_parts(weights, ["torchserve", "onnx"], drawn_images(256))
    assert caplog.messages == []


def test_missing_weights_name_the_remedy(builds: FakeBuilds, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no weights at .*model_build.train"):
        packaging.package(tmp_path / "absent", ["torchserve"])


def test_an_unusable_cache_names_the_variable(
    builds: FakeBuilds, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SERVEBENCH_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="SERVEBENCH_CACHE_DIR"):
        packaging.package(weights, ["torchserve"])


def test_the_command_writes_a_directory(
    builds: FakeBuilds, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    assert main(["--output", str(output), "--weights", str(weights)]) == 0
    assert main(["--output", str(output), "--weights", str(weights)]) == 0
    assert {path.name for path in output.iterdir()} == set(packaging.ARTIFACTS.values())
    assert main(["--output", str(output), "--weights", str(tmp_path / "absent")]) == 1


@pytest.mark.parametrize("epochs", ["0", "-1", "many", "1.5"])
def test_a_bad_number_of_epochs_is_refused(monkeypatch: pytest.MonkeyPatch, epochs: str) -> None:
    monkeypatch.setenv(model_build.EPOCHS_VARIABLE, epochs)
    with pytest.raises(ModelError, match=model_build.EPOCHS_VARIABLE):
        model_build.fashion_mnist_retrained([])


@pytest.mark.slow
def test_a_failed_training_is_an_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SERVEBENCH_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("FASHION_MNIST_DIR", str(tmp_path / "absent"))
    with (
        caplog.at_level("INFO", "model_build"),
        pytest.raises(ModelError, match=r"(?s)training ended with status 1.*cannot read"),
    ):
        model_build.fashion_mnist_retrained([])
    # What it says is there while it runs, for whoever watches.
    assert "cannot read" in caplog.text
    assert "cannot read" in capsys.readouterr().err


def test_importing_loads_no_framework() -> None:
    code = "import model_build, sys; print({'torch', 'tensorflow', 'keras'} & set(sys.modules))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
