"""The frame of a figure: heading, legend and caption around room for axes, and its files."""

import functools
import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from pytest_servebench.report.axes import Axis
from pytest_servebench.report.series import Series, line_of, tinted
from pytest_servebench.system.files import write_whole
from pytest_servebench.text.safe import abridged, clean, clip

DPI: Final = 150
GREY: Final = "#595959"
_MARGIN: Final = 0.15  # inches around everything
_LEFT: Final = 0.72  # inches for labels at the left of axes
_LINE_HEIGHT: Final = 1.35  # in font sizes
_TITLE, _SUBTITLE, _LEGEND, _CAPTION = 12.5, 8.5, 8.5, 7.0  # points
_BOLD: Final = 1.2  # how much broader bold letters are, at most
_HANDLE: Final = 0.58  # inches: the line before a legend's label, and the space after it
_LONGEST_LABEL: Final = 60  # characters in the legend
_SEPARATE: Final = 6  # curves; with more, the legend explains colours and lines separately

STYLE: Final[dict[str, Any]] = {
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#808080",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "svg.fonttype": "none",  # text that can be searched, copied and edited
    "svg.hashsalt": "servebench",
    "text.parse_math": False,  # a name with dollars in it is not a formula
}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the body with this package's style, whatever the user's own settings are."""
    own = {key: value for key, value in mpl.rcParamsDefault.items() if key != "backend"}
    with warnings.catch_warnings():
        # A name in a script that the font lacks is shown as boxes; nothing else can be done.
        warnings.simplefilter("ignore")
        with mpl.rc_context({**own, **STYLE}):
            yield


def shown(text: object, longest: int = 400) -> str:
    """Return ``text`` as one line of limited length."""
    return clip(clean(text), longest)


def scale(ax: Axes, which: Literal["x", "y"], axis: Axis, label: str) -> None:
    """Give axes the limits, ticks and label of one of their two axes."""
    ends = (axis.first, axis.last)
    kind = "log" if axis.logarithmic else "linear"
    ax.set(**{f"{which}scale": kind, f"{which}lim": ends, f"{which}label": label})
    target = ax.xaxis if which == "x" else ax.yaxis
    target.set_major_locator(FixedLocator([tick for tick, _ in axis.ticks]))
    target.set_major_formatter(FixedFormatter([text for _, text in axis.ticks]))
    target.set_minor_locator(NullLocator())


def columns_of(panels: int) -> int:
    """Return the number of columns of panels, such that no row is almost empty."""
    if panels <= 3:
        return max(1, panels)
    if panels == 4:
        return 2
    return 3 if panels in (5, 6, 9) else 4


class Frame:
    """A figure with heading, legend and caption; the axes are put into what is left of it."""

    def __init__(
        self,
        size: tuple[float, float],
        title: str,
        *,
        subtitle: str,
        caption: Sequence[str],
        series: Sequence[Series],
        further: Sequence[tuple[Line2D, str]] = (),
    ) -> None:
        """Begin a figure.

        Args:
            size: width and height in inches of the axes with their labels; the rest is added.
            title: what is shown.
            subtitle: of what.
            caption: paragraphs: what the marks mean, and what was measured with what.
            series: the curves, for the legend.
            further: handles and labels that come after them.
        """
        width, height = size
        self.figure = Figure(figsize=size, dpi=DPI)
        FigureCanvasAgg(self.figure)
        inner = width - 2 * _MARGIN
        handles = [*legend_handles(series), *further]
        columns = self._legend_columns([label for _, label in handles], inner)
        legend_rows = math.ceil(len(handles) / columns)
        paragraphs = [line for text in caption for line in self.wrap(text, _CAPTION, inner)]
        heading = _points(_TITLE) + 0.04
        below = self.wrap(subtitle, _SUBTITLE, inner)
        above = (
            heading + len(below) * _points(_SUBTITLE) + legend_rows * _points(_LEGEND) * 1.12 + 0.04
        )
        top, bottom = _MARGIN + above + 0.1, _MARGIN + len(paragraphs) * _points(_CAPTION) + 0.08
        self._total = height + top + bottom
        self._width = width
        self._top, self._bottom = top, bottom
        self.figure.set_size_inches(width, self._total)
        y = _MARGIN
        first, *rest = self.wrap(title, _TITLE * _BOLD, inner) or [""]
        self._text(f"{first} …" if rest else first, y, _TITLE, "#000000", weight="bold")
        y += heading
        for line in below:
            self._text(line, y, _SUBTITLE, GREY)
            y += _points(_SUBTITLE)
        if handles:
            self.figure.legend(
                [handle for handle, _ in handles],
                [shown(label) for _, label in handles],
                loc="upper left",
                bbox_to_anchor=(_MARGIN / width, 1 - (y + 0.04) / self._total),
                ncols=columns,
                frameon=False,
                fontsize=_LEGEND,
                borderpad=0,
                borderaxespad=0,
                handlelength=3.0,
                columnspacing=1.4,
                labelspacing=0.35,
            )
        y = self._total - _MARGIN - len(paragraphs) * _points(_CAPTION)
        for line in paragraphs:
            self._text(line, y, _CAPTION, GREY)
            y += _points(_CAPTION)

    def axes(
        self,
        rows: int,
        columns: int,
        *,
        share_y: bool = False,
        titles: bool = True,
    ) -> list[Axes]:
        """Return axes row by row."""
        head = 0.25 if titles else 0.05
        across = 0.25 if share_y else _LEFT
        free = self._width - _LEFT - _MARGIN - (columns - 1) * across
        down = 0.78
        tall = self._total - self._top - self._bottom - head - 0.5 - (rows - 1) * down
        grid = self.figure.add_gridspec(
            rows,
            columns,
            left=_LEFT / self._width,
            right=1 - _MARGIN / self._width,
            top=1 - (self._top + head) / self._total,
            bottom=(self._bottom + 0.5) / self._total,
            wspace=across / (free / columns),
            hspace=down / (tall / rows),
        )
        made: list[Axes] = []
        for index in range(rows * columns):
            first = made[0] if made and share_y else None
            one = self.figure.add_subplot(grid[index // columns, index % columns], sharey=first)
            if share_y and index % columns:
                one.tick_params(labelleft=False)
            made.append(one)
        return made

    def save(self, path: Path) -> list[Path]:
        """Write PNG and SVG side by side, each atomically, and return them."""
        files = []
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
            content = io.BytesIO()
            self.figure.savefig(content, format=suffix[1:], dpi=DPI, metadata=metadata)
            files.append(path.with_suffix(suffix))
            write_whole(files[-1], content.getvalue())
        return files

    def wrap(self, text: str, size: float, width: float) -> list[str]:
        """Return ``text`` in lines of at most ``width`` inches at a font size in points."""
        space = _width("n n", size) - _width("nn", size)
        lines: list[list[str]] = [[]]
        used = 0.0
        # Keep a version with its name, and a number with its noun.
        words = re.split(r" (?!\d)", clean(text))
        for word in self._parts(words, size, width):
            length = _width(word, size)
            if lines[-1] and used + space + length > width:
                lines.append([])
            used = length if not lines[-1] else used + space + length
            lines[-1].append(word)
        return [" ".join(line) for line in lines if line]

    def _parts(self, words: Sequence[str], size: float, width: float) -> Iterator[str]:
        """Yield the words, those in pieces that are longer than a whole line."""
        for word in words:
            length = _width(word, size)
            pieces = math.ceil(length / width) + (length > width)
            step = max(1, len(word) // max(pieces, 1)) if pieces > 1 else max(len(word), 1)
            yield from (word[start : start + step] for start in range(0, len(word), step))

    def _legend_columns(self, labels: Sequence[str], width: float) -> int:
        if not labels:
            return 1
        widths = [_HANDLE + _width(clean(label), _LEGEND) for label in labels]
        for columns in range(len(widths), 1, -1):
            # Columns are filled one after the other, from the top down.
            rows = math.ceil(len(widths) / columns)
            filled = [widths[start : start + rows] for start in range(0, len(widths), rows)]
            if sum(map(max, filled)) <= width:
                return len(filled)
        return 1

    def _text(self, text: str, y: float, size: float, colour: str, **more: Any) -> None:
        self.figure.text(
            _MARGIN / self._width,
            1 - y / self._total,
            shown(text),
            size=size,
            color=colour,
            va="top",
            ha="left",
            **more,
        )


@functools.cache
def _renderer() -> RendererAgg:
    return RendererAgg(1, 1, DPI)


@functools.lru_cache(maxsize=10_000)  # the figures of a run have most of their words in common
def _width(text: str, size: float) -> float:
    """Return the width of a text, inches."""
    font = FontProperties(size=size)
    width: float = _renderer().get_text_width_height_descent(text, font, ismath=False)[0]
    return width / DPI


def _points(size: float) -> float:
    """Return the height in inches of a line of text."""
    return size * _LINE_HEIGHT / 72


def legend_handles(series: Sequence[Series]) -> list[tuple[Line2D, str]]:
    """Return handles and labels: one per curve, or for many, colours and lines separately."""
    if len(series) <= _SEPARATE:
        return [
            (Line2D([], [], color=one.colour, linestyle=one.line, marker=one.marker), one.label)
            for one in series
        ]
    by_kind = {one.kind: one for one in series}
    loads = list(dict.fromkeys(one.load for one in sorted(series, key=lambda one: one.sizes)))
    return [
        *(
            (Line2D([], [], color=one.server_colour, marker=one.marker, linestyle=""),
             one.server)
            for one in by_kind.values()
        ),
        *(
            (Line2D([], [], color=tinted(GREY, i), linestyle=line_of(i)),
             abridged(load, _LONGEST_LABEL))
            for i, load in enumerate(loads if len(loads) > 1 else ())
        ),
    ]  # fmt: skip
