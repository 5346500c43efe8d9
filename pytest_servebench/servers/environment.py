"""What is common to every started server: environment, model name, artifact."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_servebench.errors import ServerStartError
from pytest_servebench.model import ServedModel
from pytest_servebench.servers.base import ServerSettings
from pytest_servebench.system.python_child import without_tracers

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_OURS = "SERVEBENCH_"  # including keys of attached servers
# Thread pools of OpenMP, MKL and OpenBLAS use all CPUs by default.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def environment(settings: ServerSettings, extra: Mapping[str, str | None]) -> dict[str, str]:
    """Return the environment of a server.

    It is this process's, without tracers, which would slow a Python server down, and without our
    own variables, plus thread counts and ``extra``; ``None`` in ``extra`` removes a variable.
    """
    inherited = {
        name: value
        for name, value in without_tracers(os.environ).items()
        if not name.startswith(_OURS)
    }
    whole = {**inherited, **threads(settings), **extra}
    return {name: value for name, value in whole.items() if value is not None}


def threads(settings: ServerSettings) -> dict[str, str]:
    """Return the variables that set the number of threads."""
    return dict.fromkeys(_THREAD_VARIABLES, str(settings.threads))


def artifact(model: ServedModel, kind: str) -> Path:
    """Return the absolute path of what ``kind`` is to serve.

    Raises:
        ServerStartError: the model has nothing for this kind.
    """
    try:
        return model.artifacts[kind].absolute()
    except KeyError:
        known = ", ".join(sorted(model.artifacts)) or "none"
        raise ServerStartError(
            f"The model {model.name!r} has no artifact for {kind} (it has: {known}): "
            f"add one to ServedModel(artifacts={{{kind!r}: …}})."
        ) from None


def checked_name(name: str) -> str:
    """Return ``name`` if it can be a model's name at a server.

    Raises:
        ServerStartError: it cannot be part of a URL or a command line.
    """
    if not _NAME.fullmatch(name):
        raise ServerStartError(
            f"A server cannot serve a model named {name!r}: use letters, digits, "
            "'_', '.' and '-' (ServedModel.served_names sets another name for one kind)."
        )
    return name


def output_of(
    command: Sequence[str | Path], limit: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str] | None:
    """Return what a program printed, and its status; ``None`` if it did not end in ``limit`` s."""
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=limit, env=env, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
