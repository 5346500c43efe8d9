"""The plugin's own warnings, also where the user's filters make errors of warnings."""

from __future__ import annotations

import warnings

import pytest


def warn(item: pytest.Item, warning: UserWarning) -> None:
    """Warn of something in a test's own result; where that is an error, the test fails by it."""
    __tracebackhide__ = True
    try:
        item.warn(warning)
    except type(warning):
        # Raised from here, it would come with our own stack, which does not help.
        raise pytest.fail.Exception(f"{type(warning).__name__}: {warning}", pytrace=False) from None


def tell(item: pytest.Item, warning: UserWarning) -> None:
    """Warn of something that a test cannot help: it stays a warning, whatever the filters say."""
    try:
        item.warn(warning)
    except type(warning):
        with warnings.catch_warnings(action="always", category=type(warning)):
            item.warn(warning)
