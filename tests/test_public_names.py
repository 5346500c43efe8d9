"""The names of the package, which are imported on first use, and its modules."""

from pathlib import Path

import pytest

import pytest_servebench


@pytest.mark.parametrize("name", pytest_servebench.__all__)
def test_each_is_there(name: str) -> None:
    assert getattr(pytest_servebench, name).__name__ == name
    assert name in pytest_servebench._HOMES


def test_no_module_has_more_than_400_lines() -> None:
    modules = Path(pytest_servebench.__file__).parent.rglob("*.py")
    long = {one.name for one in modules if len(one.read_text().splitlines()) > 400}
    assert not {name for name in long if not name.endswith("_pb2.py")}
