from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_build.architecture import mobilenet_v2, scaled_channels
from model_build.weights import Weights, load_weights, save_weights
from pytest_servebench.errors import ModelError
from tests.lazily import Lazily

pytestmark = pytest.mark.servers

torch = Lazily("torch")
network = Lazily("model_build.network")
torch_formats = Lazily("model_build.torch_formats")
train = Lazily("model_build.train")


@pytest.mark.parametrize(("width", "parameters"), [(0.5, 700_202), (1.0, 2_236_106)])
def test_numbers_of_parameters(width: float, parameters: int) -> None:
    made = network.MobileNetV2(width)
    assert sum(parameter.numel() for parameter in made.parameters()) == parameters


def test_shapes_and_resolutions() -> None:
    made = network.MobileNetV2(0.25).eval()
    sizes = []
    for module in (made.stem, *made.blocks):
        module.register_forward_hook(lambda _, __, output: sizes.append(output.shape[-1]))
    with torch.inference_mode():
        assert made(torch.rand(3, 1, 28, 28)).shape == (3, 10)
    assert sizes == [28, 28, *[14] * 2, *[7] * 3, *[7] * 4, *[7] * 3, *[4] * 3, 4]


def test_normalisation_is_inside() -> None:
    """Grey of the mean brightness is zero after normalisation; padding then changes nothing."""
    made = network.MobileNetV2(0.25).eval()
    seen = []
    made.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        made(torch.full((1, 1, 28, 28), 0.286))
        made(torch.full((1, 1, 28, 28), 0.286 + 0.353))
    np.testing.assert_allclose(seen[0], 0, atol=1e-6)
    np.testing.assert_allclose(seen[1], 1, atol=1e-6)


@given(st.integers(1, 2000), st.floats(0.05, 4))
def test_channels_are_multiples_of_eight(channels: int, width: float) -> None:
    scaled = scaled_channels(channels, width)
    assert scaled % 8 == 0
    assert scaled >= max(8, 0.9 * channels * width)
    assert scaled <= channels * width + 8


@pytest.mark.parametrize("width", [0, -1, float("nan")])
def test_an_impossible_width_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match="width"):
        mobilenet_v2(width)


def test_weights_survive_the_file(tmp_path: Path) -> None:
    made = network.MobileNetV2(0.25).eval()
    path = tmp_path / "weights.safetensors"
    save_weights(path, train.extract_weights(made))
    again = torch_formats.build_network(load_weights(path))
    assert again.width == 0.25
    images = torch.rand(2, 1, 28, 28)
    with torch.inference_mode():
        assert torch.equal(made(images), again(images))


def test_unfit_weights_are_refused(tmp_path: Path) -> None:
    tensors = dict(train.extract_weights(network.MobileNetV2(0.25)).tensors)
    with pytest.raises(ModelError, match="do not fit"):
        torch_formats.build_network(Weights(0.5, tensors))
    del tensors["classifier.bias"]
    with pytest.raises(ModelError, match=r"missing \['classifier.bias'\]"):
        torch_formats.build_network(Weights(0.25, tensors))
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot read the weights"):
        load_weights(path)
