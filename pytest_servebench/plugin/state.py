"""Where the plugin keeps its state in pytest, and how its errors fail a test."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, NoReturn

import pytest

if TYPE_CHECKING:
    from pytest_servebench.errors import ServebenchError
    from pytest_servebench.plugin.progress import Progress
    from pytest_servebench.plugin.session import ServebenchSession

SESSION: Final[pytest.StashKey[ServebenchSession]] = pytest.StashKey()
PROGRESS: Final[pytest.StashKey[Progress]] = pytest.StashKey()
REFUSAL: Final = "servebench_refusal"
"""Key of the error that a pytest-xdist worker sends to its controller to end the session."""

_HOOKS: Final = "pytest_servebench.plugin.load_hooks"


def has_session(config: pytest.Config) -> bool:
    """Return whether a test of this pytest session has needed the plugin so far."""
    return SESSION in config.stash


def session_of(config: pytest.Config) -> ServebenchSession:
    """Return the plugin's state in this pytest session, created at the first call.

    That call also registers the hooks that only sessions with load tests need.
    """
    if not has_session(config):
        config.pluginmanager.register(import_module(_HOOKS), _HOOKS)
    return config.stash[SESSION]


def fail(error: ServebenchError) -> NoReturn:
    """Fail with only the message: it says what to do, and our own traceback does not help."""
    # "from None": otherwise the error would be shown twice.
    raise pytest.fail.Exception(f"{type(error).__name__}: {error}", pytrace=False) from None
