import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_build import dataset
from model_build.images import drawn_images, sample_images


@given(st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_drawn_images_are_images(count: int, seed: int) -> None:
    images = drawn_images(count, seed)
    assert images.shape == (count, 28, 28, 1)
    assert images.dtype == np.float32
    assert ((images >= 0) & (images <= 1)).all()
    for image in images:
        assert 0.05 < np.count_nonzero(image) / image.size < 0.9


def test_drawn_images_are_deterministic_and_differ() -> None:
    images = drawn_images(64)
    np.testing.assert_array_equal(images, drawn_images(64))
    np.testing.assert_array_equal(images[:10], drawn_images(10))
    assert len(np.unique(images.reshape(64, -1), axis=0)) == 64
    assert not np.array_equal(images, drawn_images(64, seed=1))


def test_the_source_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "load_test_images_if_present", lambda: None)
    images, source = sample_images(3)
    np.testing.assert_array_equal(images, drawn_images(3))
    assert "drawn" in source
    real = np.full((10, 28, 28), 255, np.uint8)
    monkeypatch.setattr(dataset, "load_test_images_if_present", lambda: real)
    images, source = sample_images(3)
    np.testing.assert_array_equal(images, np.ones((3, 28, 28, 1), np.float32))
    assert "test images of Fashion-MNIST" in source
