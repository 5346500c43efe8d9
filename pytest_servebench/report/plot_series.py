"""Which cases make a curve, and how each curve looks: the same in every plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_servebench.report.facts import server_titles
from pytest_servebench.report.numbers import plain
from pytest_servebench.results import CaseResult

# Okabe and Ito's colours, which people with any kind of colour vision tell apart.
_COLOURS: Final = {"tensorflow_serving": "#D55E00", "torchserve": "#0072B2"}
_OTHER_COLOURS: Final = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

# Dash patterns in line widths; a marker as well, for a line may be too short to show its pattern.
_LINES: Final = ("-", (0, (4, 1.6)), (0, (1.2, 1.4)), (0, (5, 1.4, 1.2, 1.4)))
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

# How far a buffer's colour is mixed with white (or, negative, with black): where two curves lie on
# each other, the dashes of the upper one would not be seen in the very same colour.
_TINTS: Final = (0.0, 0.42, -0.38, 0.62)

LineStyle = str | tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class Series:
    """One curve: a server with a buffer size.

    Attributes:
        kind: the server's kind.
        title: the server's name.
        buffer_size: requests that could wait.
        colour: by the server, in a shade by the buffer size.
        server_colour: by the server alone.
        line: by the buffer size.
        marker: by the buffer size.
        cases: at most one for each rate, unless cases were repeated; rates ascending.
    """

    kind: str
    title: str
    buffer_size: int
    colour: str
    server_colour: str
    line: LineStyle
    marker: str
    cases: tuple[CaseResult, ...]

    @property
    def label(self) -> str:
        """Return the curve's name."""
        return f"{self.title}, {buffer_label(self.buffer_size)}"


def buffer_label(size: int) -> str:
    """Return how a buffer size is written."""
    return f"buffer {plain(size)}"


def colours(kinds: Iterable[str]) -> dict[str, str]:
    """Return a colour for each kind: always the same for the kinds of this package."""
    others = sorted(set(kinds) - _COLOURS.keys())
    return _COLOURS | {
        kind: _OTHER_COLOURS[index % len(_OTHER_COLOURS)] for index, kind in enumerate(others)
    }


def line_of(index: int) -> LineStyle:
    """Return the line of the buffer size number ``index``."""
    return _LINES[index % len(_LINES)]


def marker_of(index: int) -> str:
    """Return the marker of the buffer size number ``index``."""
    return _MARKERS[index % len(_MARKERS)]


def tinted(colour: str, index: int) -> str:
    """Return the shade of a server's colour for the buffer size number ``index``."""
    tint = _TINTS[index % len(_TINTS)]
    target = 255 if tint > 0 else 0
    channels = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(c + abs(tint) * (target - c)):02x}" for c in channels)


def make_series(cases: Sequence[CaseResult], palette: Mapping[str, str]) -> list[Series]:
    """Return a curve for each kind and buffer size, without the cases that are invalid."""
    titles = server_titles(cases)
    sizes = sorted({case.buffer_size for case in cases})
    series = []
    for kind, title in titles.items():
        for index, size in enumerate(sizes):
            own = [c for c in cases if c.server.kind == kind and c.buffer_size == size]
            if own:
                valid = [case for case in own if case.verdict != "invalid"]
                series.append(
                    Series(
                        kind=kind,
                        title=title,
                        buffer_size=size,
                        colour=tinted(palette[kind], index),
                        server_colour=palette[kind],
                        line=line_of(index),
                        marker=marker_of(index),
                        cases=tuple(sorted(valid, key=lambda case: case.rate)),
                    )
                )
    return series
