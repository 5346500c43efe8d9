"""Placeholders such as ``{port}`` in the texts of a configured server."""

import re
from collections.abc import Mapping
from typing import Final

from pytest_servebench.text.closest import meant

MEANINGS: Final = {
    "python": "the interpreter: the key python, else pytest's own",
    "host": "the address to listen on: 127.0.0.1; 0.0.0.0 in a container with mapped ports",
    "port": "the port for predictions",
    "port2": "a second free port; likewise {port3} and so on",
    "workers": "predictions to compute in parallel",
    "threads": "threads within one prediction",
    "model": "the model's name at the server",
    "artifact": "path of what it serves",
    "run_dir": "directory of this start's log, kept with the results",
    "scratch": "a private directory, removed when the server has ended",
}
"""What each placeholder stands for."""

_PARTS: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PORT: Final = re.compile(r"port([1-9]\d?)?")


def used_in(text: str) -> set[str]:
    """Return the placeholders of a text.

    Raises:
        ValueError: one is unknown, or a brace stands alone; says what to write instead.
    """
    found = set()
    for part in _PARTS.finditer(text):
        name = part[1]
        if part[0] in ("{", "}"):
            raise ValueError(
                f"{text!r} has a single {part[0]!r}; write {part[0] * 2!r} for a brace"
            )
        if name is not None and name not in MEANINGS and not _PORT.fullmatch(name):
            raise ValueError(
                f"unknown placeholder {part[0]!r}{meant(name, MEANINGS)} Known: "
                f"{', '.join(f'{{{known}}}' for known in MEANINGS)}; {{{{ and }}}} are braces"
            )
        if name is not None:
            found.add(name)
    return found


def number_of_ports(names: set[str]) -> int:
    """Return how many ports the placeholders need."""
    ports = (found for name in names if (found := _PORT.fullmatch(name)))
    return max((int(found[1] or 1) for found in ports), default=0)


def filled_in(text: str, values: Mapping[str, object]) -> str:
    """Return a text with the value of each of its placeholders."""
    return _PARTS.sub(lambda part: part[0][0] if part[1] is None else str(values[part[1]]), text)
