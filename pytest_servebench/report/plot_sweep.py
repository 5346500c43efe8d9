"""One panel: a metric against the offered rate, a curve for each server and its sizes."""

import math
from collections.abc import Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.path import Path as Outline
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

from pytest_servebench.report.panels import Panel, Point
from pytest_servebench.report.plot_frame import GREY, scale, shown
from pytest_servebench.report.series import Series
from pytest_servebench.report.sessions import of_sessions
from pytest_servebench.report.sweep import Curve, Sweep, endings, sweep, x_label

_APART: Final = 7.0  # points between curves at one rate
_MARKER: Final = 5.5  # points: a marker's size
_SMALLEST: Final = 0.45  # of the markers' usual size, where curves and rates crowd
_LETTER: Final = 6.1  # points that a character of a tick's label takes, with its share of air
_LETTER_HEIGHT: Final = 6.6  # points between the letters of two servers
_LABEL_ROOM: Final = 11.0  # points that an SLO's label needs above its line
_TOP: Final = 0.965  # height of infinite values, as a share of the axis
_IDEAL: Final = "#9a9a9a"
_UP = Outline(
    [(0, 0), (0, 1), (-0.16, 0.72), (0, 1), (0.16, 0.72)],
    [Outline.MOVETO, Outline.LINETO, Outline.MOVETO, Outline.LINETO, Outline.LINETO],
)


def draw_sweep(
    ax: Axes, panel: Panel, series: Sequence[Series], width: float, alike: Sequence[Panel] = ()
) -> None:
    """Draw one metric of all curves into axes that are ``width`` inches wide.

    Args:
        ax: where to draw.
        panel: what to draw.
        series: the curves.
        width: of the axes, in inches.
        alike: panels that have the same y axis.
    """
    ax.set_title(shown(panel.title))
    ax.set_ylabel(panel.unit)
    if not any(one.cases for one in series):
        _nothing(ax, "no valid case", x_label(series))
        return
    points = 72 * width
    # Beside the ideal line, a step to the side looks like a step upwards.
    apart = _APART / 2 if panel.of_offered else _APART
    what = sweep(panel, series, apart=apart / points, marker=_MARKER / points,
                 letter=_LETTER / points, alike=alike)  # fmt: skip
    if what.message:
        _nothing(ax, what.message, x_label(series))
        return
    scale(ax, "x", what.x, what.x.labelled(x_label(series)))
    scale(ax, "y", what.y, what.y.labelled(panel.unit))
    step = what.step * points
    if panel.of_offered:
        _ideal(ax, series, step * (len(series) - 1))
    size = min(1.0, max(_SMALLEST, 0.3 + step / 4))
    for curve in what.curves:
        _Pen(ax, panel, curve, curve.aside * width, size).draw()
    _bounds(ax, what)
    _letters(ax, what, step * (len(series) - 1) / 2)


def _letters(ax: Axes, what: Sweep, aside: float) -> None:
    """Write each server's letter beside the end of its curve, ``aside`` points from its rate."""
    assert ax.figure is not None
    tall = ax.get_window_extent().height * 72 / ax.figure.dpi
    for one in endings(what, _LETTER_HEIGHT / tall):
        ax.annotate(one.series.letter, (one.rate, one.height), xycoords=ax.get_xaxis_transform(),
                    xytext=(aside + 5, 0), textcoords="offset points", size=6.5, weight="bold",
                    color=one.series.server_colour, va="center", annotation_clip=False,
                    zorder=5)  # fmt: skip


class _Pen:
    def __init__(self, ax: Axes, panel: Panel, curve: Curve, aside: float, size: float) -> None:
        """Draw ``aside`` inches to the right, with markers of ``size`` times their usual size."""
        assert ax.figure is not None
        self._ax = ax
        self._panel = panel
        self._curve = curve
        self._series = curve.series
        self._size = size
        shift = ScaledTranslation(aside, 0, ax.figure.dpi_scale_trans)
        self._data = ax.transData + shift
        self._edge = blended_transform_factory(ax.transData, ax.transAxes) + shift
        self._lowest, self._highest = ax.get_ylim()

    def draw(self) -> None:
        """Draw a line through the medians of each rate, and a marker for each case."""
        rates, values = self._curve.medians()
        self._ax.plot(rates, [max(value, self._lowest) for value in values],
                      linestyle=self._series.line, color=self._series.colour,
                      transform=self._data)  # fmt: skip
        for case, point in self._curve.points:
            outline = "black" if self._panel.is_broken(case) else self._series.colour
            if math.isfinite(point.value):
                self._bar(case.rate, point)
                self._mark(case.rate, max(point.value, self._lowest), self._series.marker, outline,
                           hollow=not point.resolved)  # fmt: skip
            else:
                self._mark(case.rate, _TOP, "^", outline, infinite=True)

    def _mark(
        self,
        x: float,
        y: float,
        marker: str,
        outline: str,
        *,
        hollow: bool = False,
        infinite: bool = False,
    ) -> None:
        self._ax.plot(
            [x],
            [y],
            linestyle="",
            marker=marker,
            markersize=(7 if infinite else _MARKER) * self._size,
            markerfacecolor="white" if hollow else self._series.colour,
            markeredgecolor=outline,
            markeredgewidth=1.2 * self._size,
            transform=self._edge if infinite else self._data,
            clip_on=False,  # a marker on the axis is shown whole
            zorder=4 if infinite else 3,
        )

    def _bar(self, x: float, point: Point) -> None:
        look: dict[str, Any] = {
            "color": self._series.colour,
            "transform": self._data,
            "zorder": 2.5,
        }
        if point.peak is not None:
            self._ax.plot([x], [point.peak], linestyle="", marker="_", markeredgewidth=1.6,
                          markersize=6 * self._size, **look)  # fmt: skip
        if point.low is None:
            return
        value = max(point.value, self._lowest)
        high = value if point.high is None else min(point.high, self._highest)
        if point.high == math.inf:
            # Open upwards: an arrow takes less ink than a bar through the panel.
            high = value
            self._ax.plot([x], [value], marker=_UP, markersize=17 * self._size, linestyle="",
                          markerfacecolor="none", markeredgewidth=self._size, **look)  # fmt: skip
        self._ax.plot([x, x], [max(point.low, self._lowest), high], linewidth=self._size,
                      marker="_", markersize=4 * self._size, **look)  # fmt: skip


def _ideal(ax: Axes, series: Sequence[Series], broad: float) -> None:
    ends = ax.get_xlim()
    if not of_sessions(series):
        ax.plot(ends, ends, color=_IDEAL, linewidth=1.0, linestyle="-", zorder=1.5)
    # One mark for a common schedule; with sessions, the number depends on the server.
    achieved = {(case.rate, case.summary.achieved_rate) for one in series for case in one.cases}
    # Broad enough to be seen behind the markers.
    rates, came = zip(*sorted(achieved), strict=True)
    ax.plot(rates, came, linestyle="", marker="_",
            markersize=broad + 16, markeredgewidth=1.4, color=_IDEAL, zorder=1.6)  # fmt: skip


def ideal_handles(series: Sequence[Series]) -> list[tuple[Line2D, str]]:
    """Return legend entries for what a perfect server would do."""
    line = (Line2D([], [], color=_IDEAL, linewidth=1.0), "ideal: all that is offered")
    return [
        *(() if of_sessions(series) else (line,)),
        (
            Line2D([], [], color=_IDEAL, linestyle="", marker="_", markersize=14,
                   markeredgewidth=1.4),
            "requests that arrived" if of_sessions(series) else "arrivals in the schedule",
        ),
    ]  # fmt: skip


def _bounds(ax: Axes, what: Sweep) -> None:
    inside = [(bound, text) for bound, text in what.bounds if what.y.holds(bound)]
    if len(inside) > 2:
        return  # too many lines would hide the curves
    top = ax.transAxes.transform((0, 1))[1]
    for bound, text in reversed(inside):
        ax.axhline(bound, color=GREY, linewidth=0.9, linestyle=(0, (6, 3)), zorder=1.7)
        height = ax.transData.transform((1, bound))[1]
        above = (top - height) * 72 / ax.figure.dpi > _LABEL_ROOM
        top = height
        # At the left: there, latencies are low and the bound is seldom reached. Over the curves,
        # which may still pass here.
        ax.annotate(f"SLO {shown(text, 40)}", (0.01, bound), xycoords=ax.get_yaxis_transform(),
                    xytext=(0, 2 if above else -2), textcoords="offset points", size=7, color=GREY,
                    va="bottom" if above else "top", zorder=5,
                    bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
                    )  # fmt: skip


def _nothing(ax: Axes, why: str, label: str) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", color=GREY)
    ax.set_xlabel(label)
