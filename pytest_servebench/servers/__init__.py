"""The kinds of model server that can be started or attached to.

Kinds are imported on demand: the embedded server is a subpackage, and its start must not pay for
the imports of its launcher.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pytest_servebench.errors import OptionError

if TYPE_CHECKING:
    from pytest_servebench.servers.base import ServerKind


def builtin_kinds() -> list[ServerKind]:
    """Return the kinds that come with the plugin, in the order of reports."""
    from pytest_servebench.servers.onnx import MlServer, OnnxServer, Triton  # noqa: PLC0415
    from pytest_servebench.servers.tensorflow_serving import TensorFlowServing  # noqa: PLC0415
    from pytest_servebench.servers.torchserve import TorchServe  # noqa: PLC0415

    return [TensorFlowServing(), TorchServe(), OnnxServer(), MlServer(), Triton()]


def configurable_kinds() -> dict[str, type[Any]]:
    """Return the kinds of which a configuration file makes servers, by name.

    Each is made from the server's name, its title, the file's directory as ``home``, and options;
    a table without ``kind`` is of the kind that has one of the table's keys in ``told_by``.
    """
    from pytest_servebench.servers.command import Command  # noqa: PLC0415
    from pytest_servebench.servers.openai import OpenAiServer  # noqa: PLC0415

    return {"command": Command, "openai": OpenAiServer}


def collect_kinds(groups: Iterable[Iterable[ServerKind]]) -> dict[str, ServerKind]:
    """Return all kinds of all groups by name, in order.

    Args:
        groups: what :func:`builtin_kinds` and the hook ``pytest_servebench_server_kinds`` return.

    Raises:
        OptionError: two kinds have the same name, or a hook did not return a list of instances.
    """
    kinds: dict[str, ServerKind] = {}
    lists = list(groups)
    for group in lists:
        if not isinstance(group, Iterable):
            raise OptionError(
                f"A hook pytest_servebench_server_kinds returned {group!r}: return a list of kinds."
            )
    for kind in (kind for group in lists for kind in group):
        if isinstance(kind, type):
            raise OptionError(
                f"A hook pytest_servebench_server_kinds returned the class {kind.__qualname__}: "
                f"return an instance, {kind.__name__}()."
            )
        taken = kinds.setdefault(kind.name, kind)
        if taken is not kind:
            raise OptionError(
                f"Two server kinds are called {kind.name!r}: {_origin(taken)} and {_origin(kind)}. "
                "Rename the one from the hook pytest_servebench_server_kinds."
            )
    return kinds


def _origin(kind: ServerKind) -> str:
    return f"{type(kind).__module__}.{type(kind).__qualname__}"
