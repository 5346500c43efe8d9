"""Where the plugin keeps its state in pytest, and how its errors end a test."""

from __future__ import annotations

from typing import NoReturn

import pytest

from pytest_servebench.errors import ServebenchError
from pytest_servebench.plugin.progress import Progress
from pytest_servebench.plugin.session import ServebenchSession

SESSION = pytest.StashKey[ServebenchSession]()
PROGRESS = pytest.StashKey[Progress]()


def session_of(config: pytest.Config) -> ServebenchSession:
    """Return the plugin's state of this pytest session."""
    return config.stash[SESSION]


def fail(error: ServebenchError) -> NoReturn:
    """Fail with the message alone: it says what to do, and our own stack does not help."""
    # "from None": the error itself would be shown above the same words again.
    raise pytest.fail.Exception(f"{type(error).__name__}: {error}", pytrace=False) from None
