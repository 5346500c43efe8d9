"""Whether a test gets our fixture or the user's: names such as ``rate`` are common.

pytest has no public API for this; its private data is used in this module only.
"""

from collections.abc import Sequence
from typing import Any, Final

import pytest

_MODULE: Final = "pytest_servebench.plugin.fixtures"
_NEEDING_SETTINGS: Final = frozenset(
    (
        "poisson_load",
        "find_capacity",
        "model_server",
        "served_model",
        "tensorflow_serving",
        "torchserve",
    )
)


def is_ours(node: pytest.Item | pytest.Metafunc, name: str) -> bool:
    """Return whether a test gets this plugin's fixture ``name``, not one of the user's.

    A user's fixture that requests ours of the same name counts as ours.
    """
    return _is_from(_MODULE, _definitions(node, name), name)


def fixtures_of(item: pytest.Item) -> Sequence[str]:
    """Return the names of a test's fixtures; none if it is not a Python function."""
    return getattr(item, "fixturenames", ())


def has(item: pytest.Item, name: str) -> bool:
    """Return whether a test requests the plugin's fixture of this name."""
    return name in fixtures_of(item) and is_ours(item, name)


def needs_settings(item: pytest.Item) -> bool:
    """Return whether a test needs the plugin's settings: it uses a load, a server or the model."""
    return any(is_ours(item, name) for name in _NEEDING_SETTINGS.intersection(fixtures_of(item)))


def is_available(item: pytest.Item, name: str, module: str) -> bool:
    """Return whether a test that requests a fixture would get the one that ``module`` defines.

    The test need not have requested it; a fixture that wraps it by the same name counts too.
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
    """Return where the user defines a fixture of this name; empty if nowhere."""
    definitions = node.session._fixturemanager.getfixturedefs(name, node) or ()
    func = definitions[-1].func if definitions else None
    # pytest itself defines pseudo-fixtures for plain parameters.
    if func is None or func.__module__ == _MODULE or func.__module__.startswith("_pytest"):
        return ""
    return f"{func.__module__}.{func.__qualname__}"


def parametrized(metafunc: pytest.Metafunc) -> set[str]:
    """Return the names that earlier hooks have parametrized."""
    return {name for call in metafunc._calls for name in call.params}


def _definitions(node: pytest.Item | pytest.Metafunc, name: str) -> list[Any]:
    """Return the fixtures of a name in a test's closure, the closest one last."""
    holder = node.definition if isinstance(node, pytest.Metafunc) else node
    info = getattr(holder, "_fixtureinfo", None)
    return list(info.name2fixturedefs.get(name, ())) if info is not None else []
