"""A Python environment for each server, as servers need conflicting versions of packages."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from model_build.files import cache_directory, exclusive_lock, write_atomically

_LIMIT = 900.0  # seconds to install one environment
_MADE_OF = "made-of.txt"
_TAIL = 12  # lines of output that go into an error


class InstallationError(Exception):
    """An environment could not be made; the message says why."""


def python_of(requirements: Path) -> Path:
    """Return the interpreter of an environment with these requirements, and make it if need be.

    It is kept in the cache directory, under the name of the requirements' directory.

    Raises:
        InstallationError: the packages cannot be installed here, or uv is missing.
    """
    home = cache_directory() / "environments" / requirements.parent.name
    python = home / "bin" / "python"
    made_of = f"{sys.version}\n{requirements.read_text(encoding='utf-8')}"
    with exclusive_lock(home.with_suffix(".lock")):
        try:
            if (home / _MADE_OF).read_text(encoding="utf-8") == made_of and python.exists():
                return python
        except FileNotFoundError:
            shutil.rmtree(home, ignore_errors=True)
        uv = _uv()
        _run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)])
        # Bytecode is compiled now, not while a server starts.
        _run([
            *uv, "pip", "install", "--quiet", "--compile-bytecode",
            "--python", str(python), "--requirements", str(requirements),
        ])  # fmt: skip
        write_atomically(home / _MADE_OF, made_of.encode())
    return python


def _uv() -> list[str]:
    if importlib.util.find_spec("uv"):
        return [sys.executable, "-m", "uv"]
    if found := shutil.which("uv"):
        return [found]
    raise InstallationError("uv is missing: pip install uv")


def _run(command: list[str]) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", timeout=_LIMIT, env=environment, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise InstallationError(str(error)) from None
    if done.returncode != 0:
        tail = "\n".join(done.stdout.strip().splitlines()[-_TAIL:])
        raise InstallationError(f"{' '.join(command)}: exit status {done.returncode}\n{tail}")
