"""Classes of requests: the parts of a mix, or first and further turns of sessions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.choice import Chosen
from pytest_servebench.load.records_file import part_of
from pytest_servebench.text.safe import clean, joined

_PREFIX: Final = "class_"  # of the columns' names in a file


@dataclass(frozen=True)
class Classes:
    """The class of requests of each of n arrivals.

    In a records file the columns are ``class_number``, and ``class_names``: a list in JSON, as
    bytes of UTF-8.

    Attributes:
        names: of the classes, each once.
        number: for each arrival, the index of its class in ``names``; shape ``(n,)``.
    """

    names: tuple[str, ...]
    number: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, chosen: Chosen, classes: Sequence[str]) -> Self | None:
        """Return the classes of arrivals; ``None`` if their requests have none.

        Args:
            chosen: for each arrival the index of its request; shape ``(n,)``.
            classes: of each request.
        """
        if not classes:
            return None
        places = {name: place for place, name in enumerate(dict.fromkeys(classes))}
        of_request = np.array([places[name] for name in classes], dtype=np.uint32)
        return cls(tuple(places), of_request[chosen])

    def members(self, name: str) -> npt.NDArray[np.int64]:
        """Return the arrivals of a class, ascending; none if there is no such class; ``(m,)``."""
        place = self.names.index(name) if name in self.names else -1
        return np.flatnonzero(self.number == place)

    def rows(self, which: npt.NDArray[np.int64]) -> Self:
        """Return the classes of some arrivals, in that order."""
        return replace(self, number=self.number[which])

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays by their names in a records file."""
        names = np.frombuffer(json.dumps(self.names).encode(), dtype=np.uint8)
        return {f"{_PREFIX}number": self.number, f"{_PREFIX}names": names}

    @classmethod
    def read(cls, path: Path, arrivals: int) -> Self | None:
        """Read them from a records file of that many arrivals; ``None`` if it has none.

        Raises:
            OSError: the file cannot be read.
            ValueError: they are not what :meth:`columns` returned.
        """
        if (part := part_of(path, _PREFIX, "number")) is None:
            return None
        number = part.column("number", np.uint32, arrivals)
        try:
            names = json.loads(part.column("names", np.uint8).tobytes())
        except (ValueError, RecursionError):
            part.refuse("names are not JSON")
        if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
            part.refuse("names are not a list of strings")
        if len(set(names)) < len(names) or (number >= len(names)).any():
            part.refuse("number has no class, or two classes have the same name")
        return cls(tuple(names), number)


def is_class_name(name: object) -> bool:
    """Return whether SLOs can use a name: printable, no braces, only single inner spaces."""
    return (
        isinstance(name, str) and bool(name) and name.isprintable()
        and name == " ".join(name.split()) and not set(name) & set("{}")
    )  # fmt: skip


def unknown_class(name: str, names: Sequence[str]) -> str:
    """Return for a message that a class does not exist, and which ones do."""
    there = joined(map(clean, names)) if names else "none: give requests by mix({...})"
    return f"it has no class {clean(name)!r} of requests; it has {there}"
