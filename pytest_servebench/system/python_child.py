"""Run our Python programs in child processes that import the same packages as this process.

``python -m`` searches the working directory first, where a user's ``queue.py`` or ``types.py``
hides the standard library's; coverage, ddtrace and others get into every Python through ``.pth``
files, ``sitecustomize`` and variables such as ``PYTHONTRACEMALLOC``; and a package on the
``sys.path`` of this process need not be on another's. So a child ignores Python's environment
variables (``-I``) and the ``site`` module (``-S``), and is told where packages are.

A child starts by running this module as a file, so it imports little.
"""

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
    """Return a command that runs ``module`` as a program, and the variables that it needs.

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

    Those from which this process imported what ``module`` needs come first: a later change of
    ``sys.path``, such as pytest's for a test directory, must not hide it.
    """
    needed = (module.partition(".")[0], *_NEEDED)
    files = [getattr(sys.modules.get(name), "__file__", None) for name in needed]
    found = [os.path.dirname(os.path.dirname(file)) for file in files if file]  # noqa: PTH120
    # An empty or relative entry means the current working directory.
    found += [entry for entry in sys.path if os.path.isabs(entry)]  # noqa: PTH117
    return list(dict.fromkeys(found))


def without_tracers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables that start tracers in Python programs.

    For programs not started by :func:`python_child`: those of other libraries, and servers.
    """
    return {name: value for name, value in environment.items() if not _TRACERS.fullmatch(name)}


@contextmanager
def untraced() -> Iterator[None]:
    """Keep tracers, and files in the working directory, out of processes of other libraries.

    Coverage would leave a data file for each such process.
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
    # After the standard library, the only entries without "site".
    sys.path += [entry for entry in told["path"] if entry not in sys.path]
    # In a virtual environment, "site" would have set these.
    sys.prefix, sys.exec_prefix = told["prefix"], told["exec_prefix"]
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
