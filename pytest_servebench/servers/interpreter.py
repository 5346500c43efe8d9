"""The Python interpreter that runs a server, perhaps from another environment."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pytest_servebench.errors import ServerUnavailableError
from pytest_servebench.system.python_child import without_tracers

_LIMIT = 60.0  # seconds to find the version of a package
# Variables that would lead to the interpreter or the packages of another environment.
_LEADS_BACK = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
_VERSION = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"


class Interpreter:
    """The Python that runs a server: this process's, or that of another environment.

    Attributes:
        path: the interpreter, absolute.
        environment: variables for what it runs: unbuffered logs, and for another environment
            nothing that leads back to this process's packages.
    """

    def __init__(self, path: str | Path | None = None, *, option: str = "") -> None:
        """Use the Python of another environment, such as ``envs/x/bin/python``.

        Args:
            path: the interpreter; ``None``: this process's.
            option: what gave it, such as ``adder.python``, for messages.

        Raises:
            ServerUnavailableError: it does not exist, or cannot be run.
        """
        # Not resolved: the link in a virtual environment tells Python where its packages are.
        self.path = Path(path or sys.executable).absolute()
        if not os.access(self.path, os.X_OK) or self.path.is_dir():
            given = f"{option}: there" if option else "There"
            raise ServerUnavailableError(
                f"{given} is no Python at {self.path}: give the interpreter of an environment that "
                "has the server's packages, such as envs/x/bin/python."
            )
        self.environment: Mapping[str, str | None] = {
            "PYTHONUNBUFFERED": "1",
            **(dict.fromkeys(_LEADS_BACK) if path else {}),
        }

    def version(self, package: str) -> str:
        """Return the version of an installed package.

        Raises:
            ServerUnavailableError: it is not installed there, or this is not a Python.
        """
        inherited = {**without_tracers(os.environ), **self.environment}
        try:
            return subprocess.run(
                [self.path, "-c", _VERSION, package],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_LIMIT,
                env={name: value for name, value in inherited.items() if value is not None},
                cwd="/",  # a file here must not hide a module
                check=True,
            ).stdout.strip()
        except subprocess.CalledProcessError as error:
            said = (error.stderr.strip().splitlines() or [f"exit status {error.returncode}"])[-1]
        except (OSError, subprocess.SubprocessError) as error:
            said = str(error)
        raise ServerUnavailableError(
            f"{package} is not installed for {self.path} ({said}). "
            f"Remedy: {self.path} -m pip install {package}."
        )
