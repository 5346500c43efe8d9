"""Train the reference model: ``python -m model_build.train``."""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from model_build import dataset, model_card, training
from model_build.files import cache_directory, sha256_of, write_atomically
from model_build.network import MobileNetV2
from model_build.weights import Weights, save_weights
from pytest_servebench.errors import ModelError

INTERRUPTED = 130  # a shell's exit status after Ctrl-C
_DEFAULTS = training.Recipe()


def positive_int(text: str) -> int:
    """Read a whole number above zero."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def positive_float(text: str) -> float:
    """Read a number above zero."""
    if not (value := float(text)) > 0:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m model_build.train",
        description="Train MobileNetV2 on Fashion-MNIST and write its weights as safetensors.",
        epilog="An interrupted training resumes from its checkpoint when the same command "
        "runs again. One epoch takes about 100 seconds on two cores.",
    )
    made.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="write the weights to FILE"
    )
    made.add_argument(
        "--model-card", type=Path, metavar="FILE", help="describe the weights in FILE (Markdown)"
    )
    made.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help=f"directory with the four files of Fashion-MNIST (default: "
        f"${dataset.DIRECTORY_VARIABLE}, else fetched once from {dataset.OFFICIAL_URL})",
    )
    made.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="resume from FILE and replace it after each epoch (default: a file in the cache, "
        "named after the recipe)",
    )
    made.add_argument(
        "--epochs",
        type=positive_int,
        default=_DEFAULTS.epochs,
        metavar="N",
        help="passes over the training images (default: %(default)s)",
    )
    made.add_argument(
        "--seed",
        type=int,
        default=_DEFAULTS.seed,
        metavar="N",
        help="random seed (default: %(default)s)",
    )
    made.add_argument(
        "--width",
        type=positive_float,
        default=_DEFAULTS.width,
        metavar="X",
        help="width multiplier of the channels (default: %(default)s)",
    )
    made.add_argument(
        "--batch-size",
        type=positive_int,
        default=_DEFAULTS.batch_size,
        metavar="N",
        help="images per step (default: %(default)s)",
    )
    made.add_argument(
        "--max-learning-rate",
        type=positive_float,
        default=_DEFAULTS.max_learning_rate,
        metavar="X",
        help="peak of the OneCycle curve (default: %(default)s)",
    )
    made.add_argument(
        "--threads",
        type=positive_int,
        metavar="N",
        help="CPU threads (default: one per core)",
    )
    return made


def default_checkpoint(recipe: training.Recipe) -> Path:
    """Return the checkpoint in the cache that belongs to ``recipe``."""
    name = (
        f"width{recipe.width:g}-epochs{recipe.epochs}-seed{recipe.seed}"
        f"-batch{recipe.batch_size}-lr{recipe.max_learning_rate:g}.pth"
    )
    return cache_directory() / "training" / name


def extract_weights(network: MobileNetV2) -> Weights:
    """Copy a network's parameters and running statistics into plain arrays."""
    return Weights(
        network.width,
        {
            name: tensor.numpy(force=True)
            for name, tensor in network.state_dict().items()
            if not name.endswith("num_batches_tracked")  # counts steps; inference has no use for it
        },
    )


def run(arguments: argparse.Namespace, command: str) -> training.Evaluation:
    """Train, evaluate and write the requested files.

    Raises:
        ModelError: the data or the checkpoint cannot be used.
    """
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recipe = training.Recipe(
        epochs=arguments.epochs,
        seed=arguments.seed,
        width=arguments.width,
        batch_size=arguments.batch_size,
        max_learning_rate=arguments.max_learning_rate,
    )
    test_data = dataset.load(
        "t10k", arguments.data_dir
    )  # a damaged file should not show at the end
    checkpoint = arguments.checkpoint or default_checkpoint(recipe)
    network = training.train(recipe, dataset.load("train", arguments.data_dir), checkpoint)
    result = training.evaluate(network, test_data)
    save_weights(arguments.output, extract_weights(network))
    if arguments.model_card:
        report = model_card.TrainingReport(
            command=command,
            recipe=recipe,
            test=result,
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            weights_name=arguments.output.name,
            weights_sha256=sha256_of(arguments.output),
            software=f"Python {platform.python_version()}, PyTorch {torch.__version__}, "
            f"{torch.get_num_threads()} threads",
        )
        write_atomically(arguments.model_card, model_card.render(report).encode())
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(given)
    try:
        result = run(arguments, shlex.join(["python", "-m", "model_build.train", *given]))
    except (ModelError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the same command resumes after the last full epoch", file=sys.stderr)
        return INTERRUPTED
    print(f"test accuracy {result.accuracy:.2%}; weights in {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
