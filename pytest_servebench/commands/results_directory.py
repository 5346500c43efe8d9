"""Find the results directory of this project, from any of its directories."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from _pytest.config.findpaths import locate_config

from pytest_servebench.errors import OptionError
from pytest_servebench.runs.run_names import RESULTS

_OPTION: Final = "--servebench-results"
_INI: Final = "servebench_results"


def find_results(here: Path) -> tuple[Path, str]:
    """Return the results directory, and a hint if there are other candidates.

    It is the one that pytest would use here, if it exists; else the closest
    ``servebench_results/`` in this directory or one above.

    Args:
        here: an absolute path.

    Returns:
        The directory, relative to ``here`` (``servebench_results`` if none exists), and a hint at
        another candidate, empty if there is none.

    Raises:
        OptionError: pytest's config file cannot be read.
    """
    root, value = _ini(here)
    set_there = root / value if root is not None and value else None
    close = [one / RESULTS for one in (here, *here.parents) if (one / RESULTS).is_dir()]
    found = [set_there, *close] if set_there is not None and set_there.is_dir() else close
    if not found:
        return (_shown(set_there, here) if set_there is not None else RESULTS), ""
    # Directories above the root belong to other projects.
    others = [
        one for one in close if not one.samefile(found[0]) and (root is None or _is_in(one, root))
    ]
    chosen = _shown(found[0], here)
    if not others:
        return chosen, ""
    return chosen, f"using {chosen}/; for {_shown(others[0], here)}/, give it by --results"


def _ini(here: Path) -> tuple[Path | None, str]:
    """Return pytest's root directory, if its config file determines it, and the key's value."""
    try:
        # All versions return (root directory, file, settings), later ones more.
        root, _, settings = locate_config(here, [here])[:3]
        options = [*_words(settings, "addopts"), *shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))]
    except Exception as error:  # pytest's own errors are of several kinds
        raise OptionError(f"cannot read pytest's config file: {error}") from error
    for place, option in enumerate(options):
        name, equals, given = option.partition("=")
        if name == _OPTION and (equals or options[place + 1 :]):
            return root, given if equals else options[place + 1]
    value = settings.get(_INI, "")
    return root, str(getattr(value, "value", value))


def _words(settings: Mapping[str, object], key: str) -> list[str]:
    value = settings.get(key, "")
    value = getattr(value, "value", value)
    return [str(one) for one in value] if isinstance(value, list) else shlex.split(str(value))


def _is_in(path: Path, directory: Path) -> bool:
    return path.resolve().is_relative_to(directory.resolve())


def _shown(path: Path, here: Path) -> Path:
    return Path(os.path.relpath(path, here))
