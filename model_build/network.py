"""MobileNetV2 for Fashion-MNIST as a plain PyTorch module."""

from __future__ import annotations

import torch
from torch import nn

from model_build.architecture import (
    BATCH_NORM_EPSILON,
    DEFAULT_WIDTH,
    PIXEL_MEAN,
    PIXEL_STD,
    Block,
    mobilenet_v2,
)


class ConvNorm(nn.Module):  # type: ignore[misc]  # torch is not followed by the type checker
    """A convolution without bias, batch normalisation and, unless told otherwise, ReLU6."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPSILON)
        self.activation = nn.ReLU6(inplace=True) if activation else nn.Identity()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map ``(n, in_channels, h, w)`` to ``(n, out_channels, h / stride, w / stride)``."""
        return self.activation(self.norm(self.conv(features)))


class InvertedResidual(nn.Module):  # type: ignore[misc]
    """MobileNetV2's block: expand, filter each channel by itself, project without activation."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        hidden = block.hidden_channels
        self.expand = ConvNorm(block.in_channels, hidden, 1) if block.expands else nn.Identity()
        self.depthwise = ConvNorm(hidden, hidden, 3, stride=block.stride, groups=hidden)
        self.project = ConvNorm(hidden, block.out_channels, 1, activation=False)
        self.is_residual = block.is_residual

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map ``(n, in_channels, h, w)`` to ``(n, out_channels, h / stride, w / stride)``."""
        projected = self.project(self.depthwise(self.expand(features)))
        return features + projected if self.is_residual else projected


class MobileNetV2(nn.Module):  # type: ignore[misc]
    """MobileNetV2 for images of 28x28 pixels, one channel, ten classes.

    The network is the paper's, but the stem and stage 4 have stride 1 instead of 2, so that 28
    pixels become 4 and not 1 before the final mean (see :mod:`model_build.architecture`).

    Pixels are normalised inside the module, so that every format made of it takes the same
    numbers: images in [0, 1].
    """

    def __init__(self, width: float = DEFAULT_WIDTH, dropout: float = 0.0) -> None:
        """Build the network with random weights.

        Args:
            width: multiplier of the numbers of channels.
            dropout: share of the head's features dropped in training.
        """
        super().__init__()
        architecture = mobilenet_v2(width)
        self.width = width
        self.stem = ConvNorm(1, architecture.stem_channels, 3)
        self.blocks = nn.Sequential(*(InvertedResidual(block) for block in architecture.blocks))
        last = architecture.blocks[-1].out_channels
        self.head = ConvNorm(last, architecture.head_channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(architecture.head_channels, architecture.classes)
        self._initialise()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits.

        Args:
            images: float32 of shape ``(n, 1, 28, 28)`` in [0, 1].

        Returns:
            float32 of shape ``(n, 10)``: one logit (no softmax) for each class.
        """
        features = (images - PIXEL_MEAN) / PIXEL_STD
        features = self.head(self.blocks(self.stem(features)))
        return self.classifier(self.dropout(features.mean(dim=(2, 3))))

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
