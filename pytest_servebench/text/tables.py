"""Lay out rows of cells in columns that fit the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_servebench.text.safe import clip, display_width, pad

Markup = Mapping[str, bool]
"""Keyword arguments of pytest's terminal writer, such as ``{"red": True}``."""

Part = tuple[str, Markup]
Line = tuple[Part, ...]

PLAIN: Markup = {}


@dataclass(frozen=True, slots=True)
class Cell:
    """A text and its colours."""

    text: str
    markup: Markup = field(default_factory=lambda: PLAIN)  # one for all


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: first line of its heading.
        unit: second line.
        right: whether its cells are right-aligned, as numbers are.
        expendable: order of omission if space is short, the highest first; 0 is never omitted.
        shrinks: width to which its texts may be cut; 0 for not at all.
        optional: whether it is omitted where all its cells are empty.
    """

    heading: str
    unit: str = ""
    right: bool = True
    expendable: int = 0
    shrinks: int = 0
    optional: bool = False


@dataclass(frozen=True)
class Layout:
    """Columns with their widths: the same for all tables of a run, so that these can be compared.

    Attributes:
        columns: index of each column that is shown, in order, with its width.
        gap: spaces between two columns.
    """

    columns: tuple[tuple[int, int], ...]
    gap: int = 2

    @property
    def width(self) -> int:
        """Return the width of a whole line."""
        return sum(width for _, width in self.columns) + self.gap * (len(self.columns) - 1)


def line(text: str, **markup: bool) -> Line:
    """Return a line of one colour."""
    return ((text, markup),)


def plain_text(parts: Line) -> str:
    """Return a line without its colours."""
    return "".join(text for text, _ in parts).rstrip()


def lay_out(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], width: int) -> Layout:
    """Return the widths with which ``rows`` fit into ``width`` columns of the terminal.

    If space is short, columns first move closer, then names are cut, then expendable columns go.
    """
    known = list(rows)
    widths = [
        max(
            display_width(column.heading),
            display_width(column.unit),
            *(display_width(row[index].text) for row in known),
            0,
        )
        for index, column in enumerate(columns)
    ]
    shown = [
        index
        for index, column in enumerate(columns)
        if not column.optional or any(row[index].text for row in known)
    ]
    while True:
        for gap in (2, 1):
            layout = Layout(tuple((index, widths[index]) for index in shown), gap)
            if layout.width <= width:
                return layout
        excess = layout.width - width
        for index in shown:
            if 0 < columns[index].shrinks < widths[index]:
                cut = min(excess, widths[index] - columns[index].shrinks)
                excess -= cut
                if excess <= 0:
                    narrower = tuple(
                        (other, widths[other] - cut if other == index else widths[other])
                        for other in shown
                    )
                    return replace(layout, columns=narrower)
        last = max(shown, key=lambda index: columns[index].expendable)
        if not columns[last].expendable:
            return layout
        shown.remove(last)


def heading_lines(columns: Sequence[Column], layout: Layout) -> list[Line]:
    """Return the one or two lines above the rows."""
    lines = []
    for texts in ([column.heading for column in columns], [column.unit for column in columns]):
        if any(texts[index] for index, _ in layout.columns):
            cells = [Cell(text, {"bold": True}) for text in texts]
            lines.append(row_line(columns, cells, layout))
    return lines


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[Line]:
    """Return headings and rows, laid out for ``width`` columns of the terminal."""
    layout = lay_out(columns, rows, width)
    return heading_lines(columns, layout) + [row_line(columns, row, layout) for row in rows]


def headed(heading: Cell, columns: Sequence[Column], layout: Layout) -> list[Line]:
    """Return a table's own heading and those of its columns: on one line where both fit."""
    first, *rest = heading_lines(columns, layout)
    names = "".join(text for text, _ in first)
    start = len(names) - len(names.lstrip())
    if display_width(heading.text) + 2 > start:
        return [((heading.text, heading.markup),), first, *rest]
    together = ((pad(heading.text, start), heading.markup), (names[start:], first[-1][1]))
    return [together, *rest]


def row_line(columns: Sequence[Column], row: Sequence[Cell], layout: Layout) -> Line:
    """Return one row as a line."""
    parts: list[Part] = []
    for position, (index, width) in enumerate(layout.columns):
        if position:
            parts.append((" " * layout.gap, PLAIN))
        cell = row[index]
        text = pad(clip(cell.text, width), width, right=columns[index].right)
        parts.append((text, cell.markup))
    return tuple(parts)
