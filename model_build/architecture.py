"""The shape of the reference network, as plain data, for PyTorch and TensorFlow alike.

MobileNetV2 (Sandler et al., 2018) with two changes that suit images of 28x28 pixels. The original
halves the resolution five times, from 224 to 7; done to 28 pixels this leaves a single pixel half
way through the network, after which its 3x3 filters see nothing but padding. Here:

* the stem has stride 1 instead of 2, so that the first stages see all 28x28 pixels;
* stage 4 (64 channels at width 1) has stride 1 instead of 2.

Stages 2, 3 and 6 keep their stride 2. The resolution is 28, 28, 14, 7, 7, 7, 4, 4 from stem to
stage 7. Numbers of channels, expansion factors and repeats are those of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

IMAGE_SIZE = 28
"""Height and width of an image, in pixels."""

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""Names of the ten classes of Fashion-MNIST, in the order of their labels."""

PIXEL_MEAN = 0.2860
"""Mean of all pixels of the training set, in [0, 1]; the network subtracts it itself."""

PIXEL_STD = 0.3530
"""Standard deviation of all pixels of the training set; the network divides by it itself."""

BATCH_NORM_EPSILON = 1e-5
"""What both frameworks add to a variance before the square root (Keras would take 1e-3)."""

DEFAULT_WIDTH = 0.5
"""Width multiplier of the committed weights."""

# Expansion factor, channels at width 1, number of blocks, stride of the first block.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 1),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280


@dataclass(frozen=True)
class Block:
    """One inverted residual block: expand (1x1), depthwise (3x3), project (1x1)."""

    in_channels: int
    hidden_channels: int
    out_channels: int
    stride: int

    @property
    def expands(self) -> bool:
        """Whether the block has an expanding convolution (the first stage has none)."""
        return self.hidden_channels != self.in_channels

    @property
    def is_residual(self) -> bool:
        """Whether the block's input is added to its output."""
        return self.stride == 1 and self.in_channels == self.out_channels


@dataclass(frozen=True)
class Architecture:
    """Numbers of channels of the whole network, from one image channel to the classes."""

    stem_channels: int
    blocks: tuple[Block, ...]
    head_channels: int
    classes: int = len(CLASS_NAMES)


def scaled_channels(channels: int, width: float) -> int:
    """Scale a number of channels to the nearest multiple of 8, losing at most a tenth.

    This is the rounding of the paper's own code: vector units like multiples of 8.
    """
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * scaled else rounded + 8


def mobilenet_v2(width: float = DEFAULT_WIDTH) -> Architecture:
    """Describe MobileNetV2 for 28x28x1 images.

    Args:
        width: multiplier of every number of channels; the head stays at 1280 below width 1, as in
            the paper.

    Raises:
        ValueError: ``width`` is not positive.
    """
    if not width > 0:
        raise ValueError(f"width multiplier must be positive, not {width!r}")
    stem = scaled_channels(_STEM_CHANNELS, width)
    blocks: list[Block] = []
    current = stem
    for expansion, channels, repeats, first_stride in _STAGES:
        out = scaled_channels(channels, width)
        for index in range(repeats):
            stride = first_stride if index == 0 else 1
            blocks.append(Block(current, current * expansion, out, stride))
            current = out
    return Architecture(stem, tuple(blocks), scaled_channels(_HEAD_CHANNELS, max(1.0, width)))
