"""Colours of servers and sizes for both themes: those of the plots if contrast allows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_servebench.report.series import tinted
from pytest_servebench.runs.results import Sizes

LIGHT: Final = "#ffffff"
DARK: Final = "#161b22"
LEAST: Final = 3.0
"""WCAG 2.1, 1.4.11: contrast of the parts of a graphic needed to understand it."""

_ON_DARK: Final = 4.5  # thin lines fade there
_STEP: Final = 0.08


@dataclass(frozen=True)
class Shade:
    """One colour in both themes."""

    light: str
    dark: str


def shade(colour: str) -> Shade:
    """Return ``#rrggbb`` as it is where it stands out enough, else darker or lighter."""
    return Shade(
        _legible(colour, LIGHT, "#000000", LEAST), _legible(colour, DARK, "#ffffff", _ON_DARK)
    )


Classes = dict[tuple[str, Sizes | None], str]
"""Kind and sizes to the CSS class with their colour; without sizes, the server's own."""


def looks(
    cells: Iterable[tuple[str, Sizes]], palette: Mapping[str, str]
) -> tuple[Classes, dict[str, Shade]]:
    """Return kind and sizes to a CSS class, and the class to its colours.

    Args:
        cells: kind and sizes of all results, in the order of running.
        palette: kind to its colour.
    """
    known = list(cells)
    every = sorted({sizes for _, sizes in known})
    classes: Classes = {}
    found: dict[str, Shade] = {}
    for number, kind in enumerate(dict.fromkeys(kind for kind, _ in known)):
        classes[kind, None] = f"k{number}"
        found[f"k{number}"] = shade(palette[kind])
        for index, sizes in enumerate(every):
            classes[kind, sizes] = f"k{number}b{index}"
            found[f"k{number}b{index}"] = shade(tinted(palette[kind], index))
    return classes, found


def contrast(colour: str, other: str) -> float:
    """Return the contrast of two colours as WCAG defines it, 1 to 21."""
    first, second = sorted((_luminance(colour), _luminance(other)))
    return (second + 0.05) / (first + 0.05)


def _legible(colour: str, ground: str, towards: str, least: float) -> str:
    share = 0.0
    mixed = colour.lower()
    while contrast(mixed, ground) < least and share < 1:
        share += _STEP
        mixed = _mixed(colour, towards, share)
    return mixed


def _channels(colour: str) -> Sequence[int]:
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]


def _mixed(colour: str, other: str, share: float) -> str:
    pairs = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in pairs)


def _luminance(colour: str) -> float:
    def linear(channel: float) -> float:
        return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(one / 255) for one in _channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
