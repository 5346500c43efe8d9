"""Write the model in every format into a directory: ``python -m model_build --output DIR``."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from model_build.cache import MANIFEST
from model_build.child import LOGITS
from model_build.images import sample_images
from model_build.packaging import PARITY_IMAGES, WEIGHTS, build_parts, compare
from model_build.progress import status_line
from pytest_servebench.errors import ModelError

FORMATS = ("torchserve", "tensorflow_serving", "onnx")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m model_build",
        description="Write the reference model in every format into a directory: a state "
        "dictionary, TorchScript and an archive for TorchServe, a SavedModel for TensorFlow "
        "Serving, and ONNX. Their outputs are compared with each other first.",
    )
    made.add_argument("--output", type=Path, required=True, metavar="DIR", help="output directory")
    made.add_argument(
        "--weights", type=Path, default=WEIGHTS, metavar="FILE", help="default: %(default)s"
    )
    made.add_argument(
        "--only", choices=FORMATS, action="append", help="write only this format; may be repeated"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        images, source = sample_images(PARITY_IMAGES)
        with status_line("building the model"):
            entries = build_parts(arguments.weights, arguments.only or FORMATS, images)
        logits = compare(entries)
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for entry in entries.values():
        _copy(entry, arguments.output)
    print(f"{', '.join(logits)} agree on {PARITY_IMAGES} {source}; written to {arguments.output}")
    return 0


def _copy(entry: Path, output: Path) -> None:
    """Copy a cache entry's files, so that each of them appears whole."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=output) as scratch:
        for item in entry.iterdir():
            if item.name in {MANIFEST, LOGITS}:
                continue
            copied, target = Path(scratch) / item.name, output / item.name
            if item.is_dir():
                shutil.copytree(item, copied)
                shutil.rmtree(target, ignore_errors=True)
            else:
                shutil.copyfile(item, copied)
            copied.replace(target)


if __name__ == "__main__":
    sys.exit(main())
