"""Errors that must state what is wrong, whatever their words."""

from collections.abc import Callable, Iterable

import pytest

from pytest_servebench.errors import OptionError


def refused(
    make: Callable[[], object], facts: Iterable[str], error: type[Exception] = OptionError
) -> str:
    """Call what must raise an error that states all the facts; return its text."""
    with pytest.raises(error) as caught:
        make()
    said = str(caught.value)
    assert not [fact for fact in facts if fact not in said], said
    return said
