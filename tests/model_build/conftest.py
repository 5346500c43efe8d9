"""Which tests of the reference model are for the edits that concern it."""

from pathlib import Path

import pytest

FRAMEWORKS = {f"test_model_{part}.py" for part in ("formats", "handler", "network", "training")}
"""They run TensorFlow or PyTorch."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # Each worker would import PyTorch, which takes more than a second, for tests to deselect.
    quick = config.option.markexpr.startswith("not servers")
    return True if quick and collection_path.name in FRAMEWORKS else None


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.path.name in FRAMEWORKS:
        item.add_marker("servers")
