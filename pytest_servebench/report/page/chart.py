"""Charts as plain data for the templates: positions are computed here, styles are in the CSS.

Coordinates are whole numbers: half pixels of a drawing :data:`WIDTH` / 2 pixels wide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from pytest_servebench.report.axes import Axis, Floats
from pytest_servebench.report.lost import Lost

WIDTH: Final = 760
HEIGHT: Final = 420
_LETTER: Final = 14  # width of a digit
_BOTTOM: Final = 66  # room for the ticks and the label of the x axis
_RIGHT: Final = 26
_TOP: Final = 16
_LANE: Final = 30  # height of the lane for requests that failed
_LABEL_HEIGHT: Final = 30
_CROSS: Final = "m-7-7l14 14m0-14l-14 14"

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Path:
    """A path, with the classes that give its looks."""

    d: str
    css: str


@dataclass(frozen=True)
class Label:
    """A word in the drawing."""

    x: int
    y: int
    text: str
    css: str = ""


@dataclass(frozen=True)
class Key:
    """An entry of the legend.

    Attributes:
        shape: ``dot``, ``line``, ``band``, ``bar``, ``drop``, ``error``, ``bound``, ``tick``,
            ``stall`` or ``end-mark``.
        text: what it stands for.
        css: classes that give its colour.
    """

    shape: str
    text: str
    css: str = ""


@dataclass
class Chart:
    """One drawing with its axes.

    Attributes:
        title: heading, with the unit of the y axis.
        description: what it shows, in words, for screen readers.
        x: horizontal axis.
        y: vertical axis.
        x_label: what the horizontal axis is.
        lanes: rows above the axes for failed requests, which have no height.
        css: classes of the whole drawing, such as a series' colour.
        note: what was left out of the drawing, or is easily missed.
        message: shown instead of a drawing.
    """

    title: str
    description: str
    x: Axis
    y: Axis
    x_label: str = ""
    lanes: int = 0
    css: str = ""
    note: str = ""
    message: str = ""
    paths: list[Path] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    legend: list[Key] = field(default_factory=list)

    width: int = WIDTH
    height: int = HEIGHT

    @property
    def left(self) -> int:
        """Return where the axes begin: next to the longest label."""
        return 14 + _LETTER * max((len(text) for _, text in self.y.ticks), default=1)

    @property
    def right(self) -> int:
        """Return where the axes end."""
        return self.width - _RIGHT

    @property
    def top(self) -> int:
        """Return the upper end of the vertical axis."""
        return _TOP + _LANE * self.lanes

    @property
    def bottom(self) -> int:
        """Return the lower end of the vertical axis."""
        return self.height - _BOTTOM

    def px(self, values: Sequence[float] | Floats) -> Ints:
        """Return horizontal places."""
        return self._across(self.x.place(values))

    def py(self, values: Sequence[float] | Floats) -> Ints:
        """Return vertical places."""
        return self._up(self.y.place(values))

    def _across(self, share: Floats) -> Ints:
        return np.rint(self.left + share * (self.right - self.left)).astype(np.int64)

    def _up(self, share: Floats) -> Ints:
        return np.rint(self.bottom - share * (self.bottom - self.top)).astype(np.int64)

    @property
    def x_ticks(self) -> list[tuple[int, str, Literal["start", "middle", "end"]]]:
        """Return place, label and anchor of the horizontal axis' ticks, as far as there is room."""
        found: list[tuple[int, str, Literal["start", "middle", "end"]]] = []
        taken = -self.width
        for value, text in self.x.ticks:
            place = int(self.px([value])[0])
            half = _LETTER * len(text) // 2
            over = place + half > self.width - 4
            start = place - (2 * half if over else half)
            if start < taken:
                continue
            taken = start + 2 * half + _LETTER // 2
            found.append((place, text, "end" if over else "middle"))
        return found

    @property
    def y_ticks(self) -> list[tuple[int, str]]:
        """Return place and label of the vertical axis' ticks."""
        return [(int(self.py([value])[0]), text) for value, text in self.y.ticks]

    # -- marks --------------------------------------------------------------------------------

    def dots(self, x: Floats, y: Floats, css: str) -> None:
        """Draw a dot for each pair; those at the same place are drawn once."""
        self.dots_at(self.x.place(x), self.y.place(y), css)

    def dots_at(self, x: Floats, y: Floats, css: str) -> None:
        """Draw a dot for each pair of shares of the axes; those at the same place once."""
        places = np.unique(np.column_stack([self._across(x), self._up(y)]), axis=0)
        if len(places):
            self.paths.append(Path("".join(f"M{a} {b}h0" for a, b in places.tolist()), css))

    def strokes(self, x: Floats, low: float, high: float, css: str, step: int = 1) -> None:
        """Draw vertical strokes between two heights; ``step`` or more apart."""
        bottom, top = self.py([low, high]).tolist()
        places = np.unique(self.px(x) // step * step).tolist()
        self.paths.append(Path("".join(f"M{a} {bottom}V{top}" for a in places), css))

    def line(self, x: Sequence[float] | Floats, y: Sequence[float] | Floats, css: str) -> None:
        """Draw a line from point to point; a point that is alone is drawn as such.

        Raises:
            ValueError: there are not as many heights as places.
        """
        _check_lengths(x, y)
        if len(x):
            alone = "h0" if len(x) == 1 else ""
            self.paths.append(Path("M" + _joined(self.px(x), self.py(y)) + alone, css))

    def trace(self, places: Sequence[tuple[int, int]], css: str) -> None:
        """Draw a line through places, which may be offset from their values."""
        if len(places) > 1:
            self.paths.append(Path("M" + "L".join(f"{x} {y}" for x, y in places), css))

    def steps(self, x: Floats, y: Floats, css: str) -> None:
        """Draw a line that keeps each height until the next place."""
        if len(x):
            a, b = self.px(x).tolist(), self.py(y).tolist()
            rest = "".join(f"H{p}V{q}" for p, q in zip(a[1:], b[1:], strict=True))
            self.paths.append(Path(f"M{a[0]} {b[0]}{rest}H{self.right}", css))

    def area(self, x: Sequence[float], low: Sequence[float], high: Sequence[float],
             css: str) -> None:  # fmt: skip
        """Fill what is between two lines.

        Raises:
            ValueError: there are not as many heights as places.
        """
        _check_lengths(x, low, high)
        if len(x):
            there = _joined(self.px(x), self.py(high))
            back = _joined(self.px(x)[::-1], self.py(low)[::-1])
            self.paths.append(Path(f"M{there}L{back}Z", css))

    def bars(self, start: Floats, end: Floats, low: Floats, high: Floats, css: str) -> None:
        """Fill rectangles."""
        columns = (self.px(start), self.px(end), self.py(low), self.py(high))
        d = "".join(f"M{a} {c}V{e}H{b}V{c}Z" for a, b, c, e in np.column_stack(columns).tolist())
        if d:
            self.paths.append(Path(d, css))

    def glyphs(self, x: Floats, lane: int, shape: str, css: str) -> None:
        """Draw a sign for each place into a lane above the axes."""
        y = _TOP + _LANE * lane + _LANE // 2 - 2
        outline = {"drop": "l-7-12h14z", "error": _CROSS}[shape]
        lower = 6 if shape == "drop" else 0
        places = np.unique(self.px(x)).tolist()
        if places:
            self.paths.append(Path("".join(f"M{a} {y + lower}{outline}" for a in places), css))

    def lost(self, found: Sequence[tuple[Lost, Floats]]) -> None:
        """Draw requests that did not succeed, each kind into a lane, at these places."""
        for lane, (one, x) in enumerate(found):
            self.glyphs(x, lane, one.shape, f"{one.shape}-mark")
            self.legend.append(Key(one.shape, one.legend))

    def cross(self, x: int, y: int, css: str) -> None:
        """Draw a cross at a place."""
        self.paths.append(Path(f"M{x} {y}{_CROSS}", css))

    def marker(self, x: int, y: int, shape: str, css: str, size: int = 9) -> None:
        """Draw one marker; ``x`` and ``y`` are places."""
        self.paths.append(Path(outline(x, y, shape, size), css))

    def across(self, y: float, css: str) -> None:
        """Draw a horizontal line through the axes."""
        place = int(self.py([y])[0])
        self.paths.append(Path(f"M{self.left} {place}H{self.right}", css))

    def bounds(
        self, found: Sequence[tuple[float, str]], css: str = "bound", *, left: bool = False
    ) -> None:
        """Draw bounds with their names, each of which gets a label where there is room.

        Args:
            found: each bound with its name.
            css: class of the lines.
            left: whether the labels stand at the left, and not at the right.
        """
        taken: list[int] = []
        for value, text in sorted(found):
            if not self.y.holds(value):
                continue
            self.across(value, css)
            y = int(self.py([value])[0]) - 7
            if y - _LABEL_HEIGHT < self.top:
                y += _LABEL_HEIGHT
            if all(abs(y - other) >= _LABEL_HEIGHT for other in taken):
                taken.append(y)
                x, anchor = (self.left + 4, "halo") if left else (self.right - 4, "end halo")
                self.labels.append(Label(x, y, text, anchor))

    def bounds_across(self, found: Sequence[tuple[float, str]]) -> None:
        """Draw bounds of the horizontal axis with their names."""
        for value, text in found:
            if not self.x.holds(value):
                continue
            place = int(self.px([value])[0])
            self.trace([(place, self.top), (place, self.bottom)], "bound")
            right = place > (self.left + self.right) // 2
            x, anchor = (place - 8, "end halo") if right else (place + 8, "halo")
            self.labels.append(Label(x, self.top + _LABEL_HEIGHT - 8, text, anchor))


def outline(x: int, y: int, shape: str, s: int) -> str:
    """Return the outline of a marker that reaches ``s`` from its middle."""
    return {
        "o": f"M{x - s} {y}a{s} {s} 0 1 0 {2 * s} 0a{s} {s} 0 1 0 {-2 * s} 0z",
        "s": f"M{x - s + 1} {y - s + 1}h{2 * s - 2}v{2 * s - 2}h{2 - 2 * s}z",
        "D": f"M{x} {y - s - 2}l{s + 2} {s + 2}l{-s - 2} {s + 2}l{-s - 2} {-s - 2}z",
        "v": f"M{x} {y + s}l{-s} {-2 * s}h{2 * s}z",
        "^": f"M{x} {y - s}l{s} {2 * s}h{-2 * s}z",
        "<": f"M{x - s} {y}l{2 * s} {-s}v{2 * s}z",
        ">": f"M{x + s} {y}l{-2 * s} {-s}v{2 * s}z",
        "P": f"M{x - 3} {y - s}h6v{s - 3}h{s - 3}v6h{3 - s}v{s - 3}h-6v{3 - s}h{3 - s}v-6h{s - 3}z",
        "X": f"M{x - s} {y - s}L{x + s} {y + s}M{x + s} {y - s}L{x - s} {y + s}",
    }[shape]


def _check_lengths(x: Sequence[float] | Floats, *heights: Sequence[float] | Floats) -> None:
    for y in heights:
        if len(y) != len(x):
            raise ValueError(f"{len(y)} heights for {len(x)} places of a drawing")


def _joined(x: Ints, y: Ints) -> str:
    pairs = np.column_stack([x, y])
    keep = np.ones(len(pairs), dtype=bool)
    keep[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return "L".join(f"{a} {b}" for a, b in pairs[keep].tolist())
