"""A comparison as the command shows it: a table, or Markdown; and why runs are not comparable."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytest_servebench.analysis.comparability import Difference, notes
from pytest_servebench.analysis.compare import Comparison
from pytest_servebench.report.comparison import (
    comparison_lines,
    comparison_markdown,
)
from pytest_servebench.report.comparison_notes import conclusion, remedy
from pytest_servebench.text.safe import clean, wrapped
from pytest_servebench.text.tables import Line, Markup, line, plain_text

NOTHING_WORSE: Final = 0
WORSE: Final = 1
NOT_COMPARABLE: Final = 2

_WIDTH: Final = 100


@dataclass(frozen=True)
class Block:
    """BASE and one NEW; ``refused`` says why they cannot be compared."""

    comparison: Comparison
    allowed: tuple[Difference, ...]
    refused: tuple[Difference, ...]

    @property
    def status(self) -> int:
        """Return the exit code that it asks for."""
        if self.refused:
            return NOT_COMPARABLE
        return WORSE if self.comparison.worse else NOTHING_WORSE


@dataclass(frozen=True)
class Compared:
    """Input of the formats of a comparison.

    Attributes:
        blocks: BASE with each NEW.
        every: whether every metric is shown.
    """

    blocks: Sequence[Block]
    every: bool

    @property
    def status(self) -> int:
        """Return the exit code: that of the worst block."""
        return max(block.status for block in self.blocks)

    @property
    def comparisons(self) -> list[Comparison]:
        """Return the comparisons of those that can be compared."""
        return [block.comparison for block in self.blocks if not block.refused]


def table(found: Compared) -> str:
    """Return the table as plain text."""
    return _plain(table_lines(found))


def markdown(found: Compared) -> str:
    """Return the comparison for the summary of a CI job."""
    return "\n".join(
        comparison_markdown(block.comparison, block.allowed, every=found.every)
        if not block.refused
        else "```text\n" + _plain(refusal(block)) + "```\n"
        for block in found.blocks
    )


def table_lines(found: Compared) -> list[Line]:
    """Return the table as a terminal shows it."""
    lines: list[Line] = []
    for number, block in enumerate(found.blocks):
        lines += [line("")] if number else []
        if block.refused:
            lines += refusal(block)
            continue
        lines += comparison_lines(block.comparison, block.allowed, width=_WIDTH, every=found.every)
        worse, sure = block.comparison.worse, not block.comparison.undecided
        color: Markup = {"red": worse, "yellow": not (worse or sure), "green": sure and not worse}
        lines.append(line(conclusion(block.comparison), bold=True, **color))
    return lines


def refusal(block: Block) -> list[Line]:
    """Return why two runs cannot be compared, and the remedy."""
    runs = (block.comparison.base, block.comparison.new)
    names = " and ".join(clean(run.name) for run in runs)
    lines = [line(f"{names} cannot be compared:", bold=True, red=True)]
    lines += [
        line(text)
        for one in block.refused
        for text in wrapped(f"  {one.about}: ", one.text, _WIDTH)
    ]
    lines += [line(text) for note in notes(*runs) for text in wrapped("  ", note, _WIDTH)]
    if text := remedy(block.comparison, block.refused):
        lines.append(line(text))
    return lines


def _plain(lines: Sequence[Line]) -> str:
    return "".join(plain_text(parts) + "\n" for parts in lines)
