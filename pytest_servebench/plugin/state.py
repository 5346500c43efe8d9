"""Where the plugin keeps its state in pytest, and how its errors end a test."""

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
"""What a worker of pytest-xdist sends to its controller under this name ends the session."""

_HOOKS: Final = "pytest_servebench.plugin.load_hooks"


def has_session(config: pytest.Config) -> bool:
    """Tell whether a test of this pytest session has asked for the plugin so far."""
    return SESSION in config.stash


def session_of(config: pytest.Config) -> ServebenchSession:
    """Return the plugin's state of this pytest session, made at the first call.

    That is when the hooks come in that only sessions with loads need, and all that they import.
    """
    if not has_session(config):
        config.pluginmanager.register(import_module(_HOOKS), _HOOKS)
    return config.stash[SESSION]


def fail(error: ServebenchError) -> NoReturn:
    """Fail with the message alone: it says what to do, and our own stack does not help."""
    # "from None": the error itself would be shown above the same words again.
    raise pytest.fail.Exception(f"{type(error).__name__}: {error}", pytrace=False) from None
