"""The measurements. Each module here is a part, with the names of :class:`Part`.

To add a part, write such a module and add it to ``PARTS`` in ``benchmarks/parts/registry.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.settings import Settings

Data = dict[str, Any]
"""The figures of a part: JSON data."""


@dataclass(frozen=True)
class Bar:
    """A target.

    Attributes:
        what: description of the figure.
        figure: measured value, as text with its unit.
        limit: target value, as text with its unit.
        reached: whether the target is reached; ``None`` if the measurement is inconclusive.
    """

    what: str
    figure: str
    limit: str
    reached: bool | None


class Part(Protocol):
    """A module of ``benchmarks/parts``."""

    NAME: str
    """Its name on the command line."""

    TITLE: str
    """The heading of its section."""

    def run(self, settings: Settings) -> Data:
        """Measure."""
        ...

    def section(self, data: Data) -> str:
        """Return the Markdown of the section, after drawing its plots."""
        ...

    def bars(self, data: Data) -> Sequence[Bar]:
        """Compare the figures with their targets."""
        ...

    def columns(self, data: Data) -> Mapping[str, Mapping[str, str]]:
        """Return columns of the overview: heading to peer's name to cell."""
        ...
