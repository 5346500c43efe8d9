"""Our own Python programs in processes of their own: what they import is what this process has.

``python -m`` looks into the working directory first, where a user's ``queue.py`` or ``types.py``
hides the standard library's; coverage, ddtrace and others ride into every Python on ``.pth``
files, ``sitecustomize`` and variables such as ``PYTHONTRACEMALLOC``; and a package that this
process found by its own ``sys.path`` is not found by another. So a child ignores the environment's
word on Python (``-I``) and the ``site`` module (``-S``), and is told where packages are.

Run as a file, this module is what the child starts with, so it imports little.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_VARIABLE = "SERVEBENCH_PYTHON"
_TRACERS = re.compile(
    r"COVERAGE_PROCESS_\w+|COV_CORE_\w+"
    r"|PYTHON(TRACEMALLOC|PROFILEIMPORTTIME|DEVMODE|INSPECT|ASYNCIODEBUG|MALLOCSTATS)"
)
_NEEDED = ("pytest_servebench", "numpy", "httptools", "psutil")


def python_child(module: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return a command that runs ``module`` as a program, and what it needs in the environment.

    Args:
        module: a module that this process can import.
        arguments: of the program.
    """
    options = ["-I", "-S"]
    if sys.dont_write_bytecode:
        options.append("-B")
    if sys.pycache_prefix:
        options += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    told = {"path": package_path(module), "prefix": sys.prefix, "exec_prefix": sys.exec_prefix}
    command = [sys.executable, *options, os.path.abspath(__file__), module, *arguments]  # noqa: PTH100
    return command, {_VARIABLE: json.dumps(told)}


def package_path(module: str) -> list[str]:
    """Return the directories in which a child looks for packages, after the standard library.

    Those come first in which this process has found what ``module`` needs: a later change of
    ``sys.path``, such as pytest's own for a directory of tests, must not hide it.
    """
    needed = (module.partition(".")[0], *_NEEDED)
    files = [getattr(sys.modules.get(name), "__file__", None) for name in needed]
    found = [os.path.dirname(os.path.dirname(file)) for file in files if file]  # noqa: PTH120
    # An empty or relative entry means the working directory of the moment.
    found += [entry for entry in sys.path if os.path.isabs(entry)]  # noqa: PTH117
    return list(dict.fromkeys(found))


def without_tracers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment leads no tracer into a Python program.

    For those that are not started by :func:`python_child`: other libraries', and a server's own.
    """
    return {name: value for name, value in environment.items() if not _TRACERS.fullmatch(name)}


@contextmanager
def untraced() -> Iterator[None]:
    """Keep tracers, and files in the working directory, out of what other libraries start.

    Coverage would leave a file of its own for each such process.
    """
    whole = dict(os.environ)
    kept = without_tracers(whole)
    try:
        for name in whole.keys() - kept.keys():
            del os.environ[name]
        os.environ["PYTHONSAFEPATH"] = "1"
        yield
    finally:
        os.environ.pop("PYTHONSAFEPATH")
        os.environ.update(whole)


def _main() -> None:
    import runpy  # noqa: PLC0415 - only the child needs it

    told = json.loads(os.environ.pop(_VARIABLE))
    # Behind the standard library, which is all that there is without "site".
    sys.path += [entry for entry in told["path"] if entry not in sys.path]
    # Of a virtual environment: "site" would have found it.
    sys.prefix, sys.exec_prefix = told["prefix"], told["exec_prefix"]
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
