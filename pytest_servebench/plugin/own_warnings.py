"""Issue the plugin's warnings, even if the user's filters turn warnings into errors."""

import warnings
from collections.abc import Callable

import pytest


def warn(item: pytest.Item, warning: UserWarning) -> None:
    """Warn about a test's own result; if the filters make it an error, the test fails."""
    __tracebackhide__ = True
    try:
        item.warn(warning)
    except type(warning):
        # Raised here, it would show our own traceback, which does not help.
        raise pytest.fail.Exception(f"{type(warning).__name__}: {warning}", pytrace=False) from None


def tell(issue: Callable[[UserWarning], None], warning: UserWarning) -> None:
    """Warn about something that is not the test's fault: it stays a warning despite filters."""
    try:
        issue(warning)
    except type(warning):
        with warnings.catch_warnings(action="always", category=type(warning)):
            issue(warning)
