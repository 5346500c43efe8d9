"""What is measured. Each module here is a part: see :class:`Part` for what it has.

To add a part, write a module with these names and put it into ``PARTS`` of
``benchmarks/parts/registry.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.settings import Settings

Data = dict[str, Any]
"""What a part has measured: JSON data."""


@dataclass(frozen=True)
class Bar:
    """Something that was to be reached.

    Attributes:
        what: the figure in words.
        figure: what was measured, as text with its unit.
        limit: what was asked, as text with its unit.
        reached: whether it was; ``None`` where the measurement cannot tell.
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
        """Return Markdown below the heading, with plots that it has drawn."""
        ...

    def bars(self, data: Data) -> Sequence[Bar]:
        """Return the bars that the figures are to be held against."""
        ...

    def columns(self, data: Data) -> Mapping[str, Mapping[str, str]]:
        """Return columns of the overview: heading to peer's name to cell."""
        ...
