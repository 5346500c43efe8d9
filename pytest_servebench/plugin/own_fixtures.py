"""Whose fixture a test gets: names such as ``rate`` are common, and a user may have such fixtures.

pytest says so in no public way; what is asked of its private data stands here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest

_MODULE: Final = "pytest_servebench.plugin.fixtures"
_NEEDING_SETTINGS: Final = frozenset(
    ("poisson_load", "model_server", "served_model", "tensorflow_serving", "torchserve")
)


def is_ours(node: pytest.Item | pytest.Metafunc, name: str) -> bool:
    """Tell whether a test gets this plugin's fixture of a name, and not one of the user's own.

    It gets the plugin's also by a fixture of the user's own that asks for the one of its own name.
    """
    return _is_from(_MODULE, _definitions(node, name), name)


def fixtures_of(item: pytest.Item) -> Sequence[str]:
    """Return the names of a test's fixtures; none for what is no Python function."""
    return getattr(item, "fixturenames", ())


def has(item: pytest.Item, name: str) -> bool:
    """Tell whether a test names the plugin's own fixture of this name."""
    return name in fixtures_of(item) and is_ours(item, name)


def needs_settings(item: pytest.Item) -> bool:
    """Tell whether a test needs a setting of the plugin: it loads a server, or has one."""
    return any(is_ours(item, name) for name in _NEEDING_SETTINGS.intersection(fixtures_of(item)))


def is_available(item: pytest.Item, name: str, module: str) -> bool:
    """Tell whether a test that asks for a fixture gets the one that ``module`` defines.

    The test need not have named it; a fixture that asks for the one of its own name counts as that.
    """
    manager = item.session._fixturemanager
    return _is_from(module, manager.getfixturedefs(name, item) or (), name)


def _is_from(module: str, definitions: Sequence[Any], name: str) -> bool:
    for definition in reversed(definitions):
        if definition.func.__module__ == module:
            return True
        if name not in definition.argnames:
            return False
    return False


def wrapper_of(node: pytest.Item, name: str) -> str:
    """Return where a user's own fixture of a plugin's name is; empty where there is none."""
    definitions = node.session._fixturemanager.getfixturedefs(name, node) or ()
    func = definitions[-1].func if definitions else None
    # What stands for a parameter that is no fixture is pytest's own.
    if func is None or func.__module__ == _MODULE or func.__module__.startswith("_pytest"):
        return ""
    return f"{func.__module__}.{func.__qualname__}"


def parametrized(metafunc: pytest.Metafunc) -> set[str]:
    """Return the names that hooks before this one have given values to."""
    return {name for call in metafunc._calls for name in call.params}


def _definitions(node: pytest.Item | pytest.Metafunc, name: str) -> list[Any]:
    """Return the fixtures of a name that a test's own closure has, the closest one last."""
    holder = node.definition if isinstance(node, pytest.Metafunc) else node
    info = getattr(holder, "_fixtureinfo", None)
    return list(info.name2fixturedefs.get(name, ())) if info is not None else []
