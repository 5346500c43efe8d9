"""Which cases form a curve, and each curve's style, the same in every plot."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_servebench.report.variants import own_names
from pytest_servebench.runs.results import CaseResult, Sizes
from pytest_servebench.runs.titles import server_titles
from pytest_servebench.text.safe import abridged

_KINDS: Final = ("tensorflow_serving", "torchserve")  # they look the same in every run

# A server has a colour, and a marker that identifies it in greyscale. Okabe and Ito's colours, safe
# for any kind of colour vision, except black, which outlines broken SLOs; then Tol's muted ones, of
# which some resemble the first ones to the colour-blind: each server then has a letter, too.
_COLOURS: Final = (
    "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#661100", "#332288",
    "#44AA99", "#999933", "#AA4499", "#882255",
)  # fmt: skip
_MARKERS: Final = ("o", "s", "D", "v", "P", "X", "<", ">")  # "^" stands for what is infinite

# Sizes and variant have a dash pattern (in line widths), and how far the server's colour is mixed
# with white (or, negative, with black): where two curves coincide, dashes of the same colour would
# be invisible, and a single point shows no dashes.
_LINES: Final = (
    "-", (0, (4, 1.6)), (0, (1.2, 1.4)), (0, (5, 1.4, 1.2, 1.4)), (0, (8, 2, 1.2, 2, 1.2, 2)),
)  # fmt: skip
_TINTS: Final = (0.0, 0.42, -0.38, 0.62)

_LONGEST_TITLE: Final = 40  # characters of a server's name in the legend
_MOST_UNLETTERED: Final = 6  # servers; the curves of more end in a letter

LineStyle = str | tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class Series:
    """One curve: a server with its sizes, and a variant of the test if there are several.

    Attributes:
        kind: the server's kind.
        title: the server's name.
        sizes: buffer size, and rows a request.
        variant: what distinguishes cases of one rate and sizes, such as ``warm``, a load's label.
        colour: by the server, in a shade by sizes and variant.
        server_colour: by the server alone.
        line: by sizes and variant.
        marker: by the server.
        cases: at most one for each rate, unless cases were repeated; rates ascending.
        letter: at the curve's end and before the server's name, if there are many servers.
    """

    kind: str
    title: str
    sizes: Sizes
    variant: str
    colour: str
    server_colour: str
    line: LineStyle
    marker: str
    cases: tuple[CaseResult, ...]
    letter: str = ""

    @property
    def server(self) -> str:
        """Return the server's letter and name; a long one is shortened in the middle."""
        return f"{self.letter} {abridged(self.title, _LONGEST_TITLE)}".strip()

    @property
    def label(self) -> str:
        """Return the curve's name."""
        return f"{self.server}, {self.load}"

    @property
    def load(self) -> str:
        """Return what the curve's line and shade stand for."""
        return f"{self.sizes}" + (f", {self.variant}" if self.variant else "")


def colours(kinds: Iterable[str]) -> dict[str, str]:
    """Return a colour for each kind: always the same for the kinds of this package."""
    return _each(kinds, _COLOURS)


def markers(kinds: Iterable[str]) -> dict[str, str]:
    """Return a marker for each kind: always the same for the kinds of this package."""
    return _each(kinds, _MARKERS)


def _each(kinds: Iterable[str], looks: Sequence[str]) -> dict[str, str]:
    known = (*_KINDS, *sorted(set(kinds) - set(_KINDS)))
    return {kind: looks[index % len(looks)] for index, kind in enumerate(known)}


def letter_of(place: int) -> str:
    """Return A to Z, then AA, AB, and so on."""
    more, index = divmod(place, 26)
    return (letter_of(more - 1) if more else "") + chr(ord("A") + index)


def line_of(index: int) -> LineStyle:
    """Return the line of the sizes or variant number ``index``."""
    return _LINES[index % len(_LINES)]


def tinted(colour: str, index: int) -> str:
    """Return the shade of a server's colour for the sizes number ``index``."""
    tint = _TINTS[index % len(_TINTS)]
    target = 255 if tint > 0 else 0
    channels = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(c + abs(tint) * (target - c)):02x}" for c in channels)


def make_series(cases: Sequence[CaseResult], palette: Mapping[str, str]) -> list[Series]:
    """Return a curve for each kind, sizes and variant of the test, without invalid cases.

    Args:
        cases: of one test function.
        palette: a colour for each kind of the whole run; see :func:`colours`.
    """
    titles = server_titles(cases)
    marks = markers(palette)
    loads: dict[tuple[Sizes, str], list[CaseResult]] = {}
    for case, name in zip(cases, own_names(cases), strict=True):
        loads.setdefault((case.sizes, name.removeprefix("::")), []).append(case)
    series = []
    for place, (kind, title) in enumerate(titles.items()):
        for index, (sizes, variant) in enumerate(sorted(loads, key=lambda load: load[0])):
            own = [case for case in loads[sizes, variant] if case.server.kind == kind]
            if own:
                valid = [case for case in own if case.measured]
                series.append(
                    Series(
                        kind=kind,
                        title=title,
                        sizes=sizes,
                        variant=variant,
                        colour=tinted(palette[kind], index),
                        server_colour=palette[kind],
                        line=line_of(index),
                        marker=marks[kind],
                        cases=tuple(sorted(valid, key=lambda case: case.rate)),
                        letter=letter_of(place) if len(titles) > _MOST_UNLETTERED else "",
                    )
                )
    return series
