"""The model card: what the committed weights are, in words and numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_build.architecture import CLASS_NAMES
from model_build.training import Evaluation, Recipe


@dataclass(frozen=True)
class TrainingReport:
    """The facts about one training.

    Attributes:
        command: the command line which gave the weights.
        recipe: what it stands for.
        test: result on the 10,000 test images.
        parameters: how many numbers were trained.
        weights_name: file name of the weights.
        weights_sha256: digest of that file.
        software: names and versions of what it ran on.
    """

    command: str
    recipe: Recipe
    test: Evaluation
    parameters: int
    weights_name: str
    weights_sha256: str
    software: str


def render(report: TrainingReport) -> str:
    """Return the card as Markdown."""
    recipe, test = report.recipe, report.test
    recall = test.confusion.diagonal() / np.maximum(test.confusion.sum(axis=1), 1)
    header = "| true class | " + " | ".join(CLASS_NAMES) + " | recall |"
    rule = "| --- |" + " ---: |" * (len(CLASS_NAMES) + 1)
    rows = [
        f"| {name} | {' | '.join(str(count) for count in counts)} | {share:.1%} |"
        for name, counts, share in zip(CLASS_NAMES, test.confusion, recall, strict=True)
    ]
    return "\n".join(
        [
            "# MobileNetV2 for Fashion-MNIST",
            "",
            f"`{report.weights_name}`: MobileNetV2, width {recipe.width:g}, for grayscale "
            f"images of 28x28 pixels in [0, 1] and ten classes of clothing; {report.parameters:,} "
            "trainable parameters. The stem and stage 4 have stride 1 instead of the paper's 2 "
            "(see `model_build/architecture.py` for the reason). Normalisation is part of the "
            "network.",
            "",
            f"* Test accuracy: **{test.accuracy:.2%}** on the {test.confusion.sum():,} test images",
            f"* SHA-256: `{report.weights_sha256}`",
            f"* Seed: {recipe.seed}",
            f"* Software: {report.software}",
            "* Command:",
            "",
            "  ```sh",
            f"  {report.command}",
            "  ```",
            "",
            "## Training",
            "",
            f"{recipe.epochs} epochs over all 60,000 training images in batches of "
            f"{recipe.batch_size}, half of the images mirrored and each shifted by up to two "
            f"pixels at random; AdamW (weight decay "
            f"{recipe.weight_decay:g}) with a OneCycle learning rate up to "
            f"{recipe.max_learning_rate:g}; dropout {recipe.dropout:g} before the classifier. The "
            "weights are those after the last epoch; none was selected by accuracy. A different "
            "thread count or PyTorch version rounds differently and gives different weights of "
            "about the same accuracy.",
            "",
            "## Confusion matrix",
            "",
            "Test images; rows are true classes, columns are predicted classes.",
            "",
            header,
            rule,
            *rows,
            "",
            "## Intended use and limits",
            "",
            "A realistic small load for benchmarking model servers. It was trained only on "
            "Fashion-MNIST's centred, cut-out pictures and cannot classify real photographs.",
            "",
            "Data: Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017; MIT licence, Copyright (c) 2017 "
            "Zalando SE), https://github.com/zalandoresearch/fashion-mnist. Network: Sandler et "
            "al., *MobileNetV2: Inverted Residuals and Linear Bottlenecks*, 2018.",
            "",
        ]
    )
