"""The images to send: real test images if available, else drawn ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model_build import dataset
from model_build.architecture import IMAGE_SIZE

Images = npt.NDArray[np.float32]
"""Shape ``(n, 28, 28, 1)``, values in [0, 1]."""

# Outlines as (height, half-width) from top to bottom, in units of the image.
_OUTLINES = {
    "shirt": ((0.1, 0.15), (0.2, 0.42), (0.4, 0.40), (0.45, 0.24), (0.9, 0.26)),
    "dress": ((0.05, 0.12), (0.35, 0.14), (0.6, 0.22), (0.95, 0.32)),
    "bag": ((0.35, 0.36), (0.6, 0.40), (0.9, 0.38)),
    "trousers": ((0.05, 0.20), (0.3, 0.22), (0.95, 0.26)),
    "shoe": ((0.5, 0.15), (0.65, 0.30), (0.8, 0.45), (0.85, 0.45)),
}


def sample_images(count: int) -> tuple[Images, str]:
    """Return images to send and to compare formats with, and a description of their source.

    Raises:
        DatasetError: the user named a directory of the data set that cannot be used.
    """
    real = dataset.load_test_images_if_present()
    if real is None:
        return drawn_images(count), "drawn images (Fashion-MNIST is not at hand)"
    return (
        real[:count, :, :, None].astype(np.float32) / np.float32(255),
        "test images of Fashion-MNIST",
    )


def drawn_images(count: int, seed: int = 0) -> Images:
    """Draw pictures that look a little like the data set's: grey clothes on black.

    The same count and seed give the same pixels; the first images do not depend on the count.
    Pixels have 256 levels, as real ones have, so that their JSON is about as long.
    """
    outlines = list(_OUTLINES.items())
    pictures = []
    for index in range(count):
        generator = np.random.default_rng((seed, index))
        kind, outline = outlines[index % len(outlines)]
        pictures.append(_draw(kind, outline, generator))
    levels = np.zeros((0, IMAGE_SIZE, IMAGE_SIZE)) if not pictures else np.stack(pictures)
    return (levels[..., None] / 255).astype(np.float32)


def _draw(
    kind: str, outline: tuple[tuple[float, float], ...], generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    grid = (np.arange(IMAGE_SIZE) + 0.5) / IMAGE_SIZE
    heights, widths = np.array(outline).T
    widths = widths * generator.uniform(0.85, 1.1)
    half = np.interp(grid, heights, widths, left=0, right=0)[:, None]
    offset = np.abs(grid - 0.5 - generator.uniform(-0.04, 0.04))[None, :]
    inside = offset < half
    if kind == "trousers":
        inside &= ~((offset < 0.05) & (grid[:, None] > 0.35))
    if kind == "bag":
        ring = np.hypot(offset / 0.25, (grid[:, None] - 0.35) / 0.22)
        inside |= (np.abs(ring - 1) < 0.15) & (grid[:, None] < 0.4)
    shade = generator.uniform(90, 220)
    folds = 25 * np.sin(grid[None, :] * generator.uniform(10, 40) + generator.uniform(0, 6))
    noise = generator.normal(0, 12, (IMAGE_SIZE, IMAGE_SIZE))
    return np.where(inside, np.clip(shade + folds + noise, 1, 255), 0).round()
