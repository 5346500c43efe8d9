"""The whole distribution of latencies: how slow the slowest 10 %, 1 %, 0.1 % are."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from pytest_servebench.report import axes
from pytest_servebench.report.percentile_curves import curve
from pytest_servebench.report.plot_frame import GREY, scale
from pytest_servebench.report.series import Series
from pytest_servebench.report.sessions import per_second
from pytest_servebench.text.numbers import plain

Latencies = tuple[Series, axes.Floats]
"""A series and the latencies of one of its cases in ms, infinite where a request failed."""

_MOST_POINTS: Final = 400
_TOP: Final = 0.965  # height of infinite values, as a share of the axis


def draw_distributions(
    panels: Sequence[Axes],
    rates: Sequence[float],
    measured: Sequence[Sequence[Latencies]],
    columns: int,
) -> None:
    """Draw one panel for each rate; all have the same axes."""
    every = [latencies for panel in measured for _, latencies in panel]
    shares = axes.slower(max(map(len, every), default=1))
    finite = [
        end
        for latencies in every
        if (positive := latencies[np.isfinite(latencies) & (latencies > 0)]).size
        for end in (float(positive.min()), float(positive.max()))
    ]
    for index, (ax, rate, panel) in enumerate(zip(panels, rates, measured, strict=True)):
        numbers = sorted({len(latencies) for _, latencies in panel})
        n = "no record" if not numbers else f"n = {numbers[0]}"
        if len(numbers) > 1:
            n += f" to {numbers[-1]}"
        of = per_second(case for series, _ in panel for case in series.cases)
        ax.set_title(f"rate {plain(rate)}{of}, {n}", size=8.5)
        scale(ax, "x", shares, axes.PERCENTILE)
        for series, latencies in panel:
            _draw(ax, shares, series, latencies)
        if panel and not any(np.isfinite(latencies).any() for _, latencies in panel):
            ax.text(0.5, 0.5, "no request succeeded", transform=ax.transAxes, ha="center",
                    va="center", color=GREY)  # fmt: skip
        if index % columns == 0:
            scale(ax, "y", axes.logarithmic(finite), "latency, ms (log scale)")


def _marked(shares: axes.Axis, slower: axes.Floats) -> list[int]:
    """Return where the server's marker stands: at the axis' percentiles, and at the end."""
    if not len(slower):
        return []
    ticks = [share for share, _ in shares.ticks[1:] if slower[-1] <= share]
    return sorted({*(int(np.argmax(slower <= share)) for share in ticks), len(slower) - 1})


def _draw(ax: Axes, shares: axes.Axis, series: Series, latencies: axes.Floats) -> None:
    slower, latency = curve(latencies, _MOST_POINTS)
    # Narrow dashes over a broad line: if two buffer sizes give equal curves, both stay visible.
    width = 2.4 if series.line == "-" else 1.3
    ax.plot(slower, latency, color=series.colour, linestyle=series.line, linewidth=width,
            marker=series.marker, markersize=4.5, markevery=_marked(shares, slower))  # fmt: skip
    if np.isfinite(latencies).all():
        return
    share = float(slower[-1]) if len(slower) else 1.0
    trans = ax.get_xaxis_transform()
    ax.plot([share], [_TOP], marker="^", markersize=6, color=series.colour, linestyle="",
            transform=trans, clip_on=False, zorder=4)  # fmt: skip
    if len(latency):
        ax.annotate("", xy=(share, 0.95), xycoords=trans, xytext=(slower[-1], latency[-1]),
                    textcoords="data", annotation_clip=False,
                    arrowprops={"arrowstyle": "-", "color": series.colour, "linewidth": 0.9,
                                "linestyle": ":", "shrinkA": 0, "shrinkB": 0})  # fmt: skip
