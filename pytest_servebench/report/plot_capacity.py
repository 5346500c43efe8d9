"""The probes of searches for a capacity against their rates, as a figure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pytest_servebench.report.capacity_chart import (
    NO_MORE,
    CapacityPanel,
    Found,
    Standing,
    asked,
    capacity_panels,
    one_size_each,
    probes_of,
)
from pytest_servebench.report.capacity_table import limited
from pytest_servebench.report.captions import capacity_marks, measured, subtitle
from pytest_servebench.report.plot_frame import GREY, Frame, scale, shown
from pytest_servebench.report.series import tinted
from pytest_servebench.report.sweep import X_LABEL
from pytest_servebench.runs.results import CapacityResult, Run

_LETTER: Final = 0.0102  # share of the axis that a character of a label takes, with two panels
_LETTER_GAP: Final = 0.03  # between the letters of two searches, as a share of the axis
_MARKS: Final[Mapping[Standing, dict[str, Any]]] = {
    "kept": {"marker": "o"},
    "broken": {"marker": "x", "markeredgewidth": 1.5},
    "undecided": {"marker": "o", "markerfacecolor": "white"},
}
_TOP: Final = 0.965  # height of infinite values, as a share of the axis


def draw_capacities(
    run: Run, heading: str, found: Sequence[CapacityResult], palette: Mapping[str, str], path: Path
) -> list[Path]:
    """Draw the searches of one test; return the files, none if no probe was measured.

    Args:
        run: with their probes.
        heading: of the figure; if empty, the aim of the searches.
        found: the searches.
        palette: a colour for each kind of server.
        path: of the files, without suffix.

    Raises:
        OSError: a file cannot be written.
    """
    panels = capacity_panels(found, run.probes, _LETTER)
    own = tuple(
        case for probes in probes_of(found, run.probes) for _, case in probes if case is not None
    )
    if not panels or not own:
        return []
    colours = _colours(found, palette)
    columns = min(len(panels), 2)  # more would cut the titles
    rows = math.ceil(len(panels) / columns)
    width = 11.0 if columns > 1 else 7.2
    frame = Frame(
        (width, 3.9 * rows),
        heading or asked(found),
        subtitle=subtitle(own),
        caption=[capacity_marks(panels), *measured(dataclasses.replace(run, cases=own))],
        series=(),
        further=_handles(panels, colours),
    )
    drawn = frame.axes(rows, columns)
    for ax in drawn[len(panels) :]:
        ax.remove()
    for ax, panel in zip(drawn, panels, strict=False):
        _draw(ax, panel, colours)
    return frame.save(path)


def _colours(found: Sequence[CapacityResult], palette: Mapping[str, str]) -> list[str]:
    """Return a colour for each search: the server's, in shades where it has several sizes."""
    if one_size_each(found):
        return [palette[one.server.kind] for one in found]
    every = sorted({one.sizes for one in found})
    return [tinted(palette[one.server.kind], every.index(one.sizes)) for one in found]


def _handles(panels: Sequence[CapacityPanel], colours: Sequence[str]) -> list[tuple[Line2D, str]]:
    handles = [
        (Line2D([], [], color=colour, linewidth=6, solid_capstyle="butt"),
         f"{one.letter} {one.name}: {limited(one.result)}".strip())
        for one, colour in zip(panels[0].found, colours, strict=True)
    ]  # fmt: skip
    words = {mark.standing for panel in panels for one in panel.found for mark in one.marks}
    handles += [
        (Line2D([], [], color=GREY, linestyle="", **look), word)
        for word, look in _MARKS.items() if word in words
    ]  # fmt: skip
    if panels[0].generator_limits:
        limit = Line2D([], [], color=GREY, linestyle=":")
        handles.append((limit, NO_MORE))
    return handles


def _draw(ax: Axes, panel: CapacityPanel, colours: Sequence[str]) -> None:
    ax.set_title(shown(panel.title), pad=14)
    scale(ax, "x", panel.x, panel.x.labelled(X_LABEL))
    scale(ax, "y", panel.y, panel.y.labelled(panel.unit))
    for one, colour in zip(panel.found, colours, strict=True):
        _band(ax, one, colour)
    for rate in panel.generator_limits:
        ax.axvline(rate, color=GREY, linewidth=1.2, linestyle=":", zorder=1.8)
    for one, colour in zip(panel.found, colours, strict=True):
        for mark in one.marks:
            _mark(ax, mark.rate, mark.point.value, colour, _MARKS[mark.standing])
            point = mark.point
            if point.low is not None and point.high is not None and math.isfinite(point.high):
                ends = [max(end, panel.y.first) for end in (point.low, point.high)]
                ax.plot([mark.rate] * 2, ends, color=colour, linewidth=1, alpha=0.5, zorder=2)
    height, clause = panel.bound
    ax.axhline(height, color=GREY, linewidth=0.9, linestyle=(0, (6, 3)), zorder=1.7)
    ax.annotate(f"SLO {shown(clause, 40)}", (0.01, height), xycoords=ax.get_yaxis_transform(),
                xytext=(0, 2), textcoords="offset points", size=7, color=GREY, va="bottom",
                zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75,
                                "pad": 0.5})  # fmt: skip
    for one, place in panel.letter_places(_LETTER_GAP):
        colour = colours[panel.found.index(one)]
        ax.annotate(one.letter, (place, 1.0), xycoords="axes fraction", xytext=(0, 2),
                    textcoords="offset points", size=8, weight="bold", color=colour, ha="center",
                    va="bottom", annotation_clip=False)  # fmt: skip


def _band(ax: Axes, one: Found, colour: str) -> None:
    if one.band is not None:
        left, right = ax.get_xlim()
        low, high = (min(max(end, left), right) for end in one.band)
        ax.axvspan(low, high, color=colour, alpha=0.2 if one.closed else 0.1, linewidth=0, zorder=1)
    if one.middle is not None:
        style: Any = "-" if one.closed else (0, (5, 3))
        ax.axvline(one.middle, color=colour, linewidth=1.3, linestyle=style, zorder=1.6)


def _mark(ax: Axes, rate: float, value: float, colour: str, look: Mapping[str, Any]) -> None:
    infinite = math.isinf(value)
    ax.plot(
        [rate],
        [_TOP if infinite else max(value, ax.get_ylim()[0])],
        color=colour,
        linestyle="",
        transform=ax.get_xaxis_transform() if infinite else ax.transData,
        clip_on=False,  # a marker on the axis is shown whole
        zorder=4,
        **({"marker": "^"} if infinite else look),
    )
