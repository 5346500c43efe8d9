"""The names of the package, which are imported on first use."""

import pytest

import pytest_servebench


@pytest.mark.parametrize("name", pytest_servebench.__all__)
def test_each_is_there(name: str) -> None:
    assert getattr(pytest_servebench, name).__name__ == name
    assert name in pytest_servebench._HOMES
