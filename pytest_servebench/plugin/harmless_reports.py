"""Sanitize pytest's own reports of load tests, such as the values that an assertion shows."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from pytest_servebench.text.redaction import anything_hidden, redact
from pytest_servebench.text.safe import harmless, unobeyed

_DEEPEST: Final = 12  # levels of pytest's own objects


def make_harmless(report: pytest.TestReport, *, loaded: bool) -> None:
    """Remove secrets and control sequences for terminals or CI from a test's report.

    Args:
        report: of one phase of a test.
        loaded: whether it is a load test. From other tests, only known secrets are removed.
    """
    if not loaded and not anything_hidden():
        return
    if report.longrepr:
        report.longrepr = _mended(report.longrepr, harmless if loaded else redact, 0)
    # Captured output belongs to the test, and may keep its colours.
    mend = unobeyed if loaded else str
    report.sections = [(name, mend(redact(text))) for name, text in report.sections]


def _mended(value: Any, mend: Callable[[str], str], level: int) -> Any:
    """Return a failure's representation, modified in place where possible."""
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, list):
        value[:] = [_mended(each, mend, level + 1) for each in value]
    elif type(value) is tuple:
        return tuple(_mended(each, mend, level + 1) for each in value)
    elif type(value).__module__.startswith("_pytest.") and level < _DEEPEST:
        for name, part in list(vars(value).items()):
            changed = _mended(part, mend, level + 1)
            if changed is not part:
                object.__setattr__(value, name, changed)
    return value
