"""Searches for a capacity take minutes each, so they run only on request."""

import pytest

MARKER = "capacity"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect searches, except with ``-m capacity``, ``-k capacity`` or their own file."""
    selection = config.option.markexpr + config.option.keyword
    if MARKER in selection or any("test_capacity" in argument for argument in config.args):
        return
    searches = [item for item in items if item.get_closest_marker(MARKER)]
    if searches:
        config.hook.pytest_deselected(items=searches)
        items[:] = [item for item in items if item not in searches]
