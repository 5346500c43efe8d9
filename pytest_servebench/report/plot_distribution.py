"""The whole distribution of latencies: how slow the slowest 10 %, 1 %, 0.1 % are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from pytest_servebench.report.plot_frame import GREY
from pytest_servebench.report.plot_scales import scale_logarithmic
from pytest_servebench.report.plot_series import Series
from pytest_servebench.text.numbers import plain

Curve = tuple[Series, npt.NDArray[np.float64]]
"""A series and the latencies of one of its cases in ms, infinite where a request failed."""

_MOST_POINTS: Final = 400
_SHARES: Final = ((1.0, "0"), (0.5, "50"), (0.1, "90"), (0.01, "99"), (1e-3, "99.9"),
                  (1e-4, "99.99"), (1e-5, "99.999"))  # fmt: skip


def percentile_curve(
    latencies: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the share of requests that are slower, and the latency; failed requests are left out.

    A long run is thinned out evenly on the logarithmic axis: its tail keeps every point.
    """
    ordered = np.sort(latencies)
    n = len(ordered)
    number = int(np.isfinite(ordered).sum())
    index = np.arange(number)
    if number > _MOST_POINTS:
        tail = n - np.unique(np.geomspace(1, n, _MOST_POINTS).astype(int))
        index = np.unique(tail[tail < number])
    slower = (n - index - 0.5) / max(n, 1)
    return slower, ordered[index]


def draw_distributions(
    panels: Sequence[Axes], rates: Sequence[float], curves: Sequence[Sequence[Curve]], columns: int
) -> None:
    """Draw one panel for each rate; all have the same axes."""
    every = [values for panel in curves for _, values in panel]
    finite = [float(v) for values in every for v in _ends(values)]
    longest = max((len(values) for values in every), default=1)
    for index, (ax, rate, panel) in enumerate(zip(panels, rates, curves, strict=True)):
        numbers = sorted({len(values) for _, values in panel})
        n = "no record" if not numbers else f"n = {numbers[0]}"
        if len(numbers) > 1:
            n += f" to {numbers[-1]}"
        ax.set_title(f"rate {plain(rate)}/s, {n}", size=8.5)
        _scale_shares(ax, longest)
        for series, values in panel:
            _draw(ax, series, values)
        if index % columns == 0:
            ax.set_ylabel("latency, ms (log scale)")
        ax.set_xlabel("requests that are no slower, %")
        if panel and not any(np.isfinite(values).any() for _, values in panel):
            ax.text(0.5, 0.5, "no request succeeded", transform=ax.transAxes, ha="center",
                    va="center", color=GREY)  # fmt: skip
    if panels:
        scale_logarithmic(panels[0], finite, (1.0, 1000.0))


def _ends(values: npt.NDArray[np.float64]) -> Iterable[float]:
    finite = values[np.isfinite(values) & (values > 0)]
    return (finite.min(), finite.max()) if len(finite) else ()


def _scale_shares(ax: Axes, longest: int) -> None:
    smallest = 0.4 / max(longest, 10)
    ax.set_xscale("log")
    ax.set_xlim(1.0, smallest)
    ticks = [(share, text) for share, text in _SHARES if share >= smallest]
    ax.xaxis.set_major_locator(FixedLocator([share for share, _ in ticks]))
    ax.xaxis.set_major_formatter(FixedFormatter([text for _, text in ticks]))
    ax.xaxis.set_minor_locator(NullLocator())


def _marked(slower: npt.NDArray[np.float64]) -> list[int]:
    """Return where the server's marker stands: at the axis' percentiles, and at the end."""
    if not len(slower):
        return []
    shares = [share for share, _ in _SHARES[1:] if slower[-1] <= share]
    return sorted({*(int(np.argmax(slower <= share)) for share in shares), len(slower) - 1})


def _draw(ax: Axes, series: Series, values: npt.NDArray[np.float64]) -> None:
    slower, latency = percentile_curve(values)
    # Narrow dashes over a broad line: where two buffer sizes make no difference, both are seen.
    width = 2.4 if series.line == "-" else 1.3
    ax.plot(slower, latency, color=series.colour, linestyle=series.line, linewidth=width,
            marker=series.marker, markersize=4.5, markevery=_marked(slower))  # fmt: skip
    failed = len(values) - int(np.isfinite(values).sum())
    if not failed:
        return
    share = float(slower[-1]) if len(slower) else 1.0
    trans = ax.get_xaxis_transform()
    ax.plot([share], [0.965], marker="^", markersize=6, color=series.colour, linestyle="",
            transform=trans, clip_on=False, zorder=4)  # fmt: skip
    if len(latency):
        ax.annotate("", xy=(share, 0.95), xycoords=trans, xytext=(slower[-1], latency[-1]),
                    textcoords="data", annotation_clip=False,
                    arrowprops={"arrowstyle": "-", "color": series.colour, "linewidth": 0.9,
                                "linestyle": ":", "shrinkA": 0, "shrinkB": 0})  # fmt: skip
