"""Streamed answers one by one: a panel for each case, those of times with the same axes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pytest_servebench.load.records import Records
from pytest_servebench.metrics import has_streams
from pytest_servebench.report import scatter, timelines
from pytest_servebench.report.axes import Axis
from pytest_servebench.report.captions import measured, subtitle
from pytest_servebench.report.plot_frame import GREY, Frame, columns_of, scale, shown
from pytest_servebench.report.scatter import LEVELS, Scatter
from pytest_servebench.report.series import Series
from pytest_servebench.report.sessions import per_second
from pytest_servebench.report.timelines import Timeline
from pytest_servebench.runs.case_records import read_records
from pytest_servebench.runs.results import CaseResult, Run
from pytest_servebench.text.numbers import plain
from pytest_servebench.text.safe import abridged

_MOST: Final = 12  # panels of a figure; smaller ones would be illegible
_MOST_TIMELINES: Final = 6
_MOST_ROWS: Final = 3  # with a curve each
_WIDTHS: Final = {1: 7.2, 2: 9.0}  # inches by columns; of more:
_WIDE: Final = 11.0
_TOP: Final = 0.965  # height of what failed, as a share of the axis
_CROWDED: Final = 0.85  # height from which on a bound's name would lie on it
_ALPHAS: Final = (0.5, 0.7, 0.85, 1.0)  # of the levels
_LOST: Final[dict[str, dict[str, Any]]] = {
    "drop": {"marker": "v", "color": "#a0700a"}, "error": {"marker": "x", "color": "#b3231a"},
}  # fmt: skip
_WAIT, _STALL, _INK = "#a0700a", "#6e3bc4", "#1b1f24"
_FINEST: Final = 900  # events along an axis that can be distinguished
_OWN_TIME: Final = "Each panel has its own axis of time."
_CHARACTERS: Final = 15.0  # of a panel's heading, in an inch


@dataclass(frozen=True)
class _Shown:
    """One case: its curve, and what is drawn of it."""

    series: Series
    case: CaseResult
    first: Scatter
    stalls: Scatter
    rows: Sequence[Timeline]


def draw_streams(run: Run, directory: Path, series: Sequence[Series], target: Path) -> list[Path]:
    """Draw the streamed answers of a run into ``target``; return the files, none without any.

    Args:
        run: cases of one test function.
        directory: of the run, with its records.
        series: its curves.
        target: of the figures.
    """
    if not has_streams(run.cases):
        return []
    drawn = [
        _Shown(one, case, scatter.first_and_further(case, records),
               scatter.stalls(case, records), timelines.timelines(records))
        for one, case in _chosen(series, _MOST)
        if (records := _streamed(case, directory)) is not None
    ]  # fmt: skip
    if not drawn:
        return []
    few = {id(case) for _, case in _chosen(series, _MOST_TIMELINES)}
    return [
        *_scatters(run, drawn, lambda one: one.first, target / "ttft_against_tpot"),
        *_scatters(run, drawn, lambda one: one.stalls, target / "stalls_over_time"),
        *_timelines(run, [one for one in drawn if id(one.case) in few and one.rows],
                    target / "token_timelines"),
    ]  # fmt: skip


def _streamed(case: CaseResult, directory: Path) -> Records | None:
    records, _ = read_records(case, directory)
    return None if records is None or records.streams is None else records


def _chosen(series: Sequence[Series], most: int) -> list[tuple[Series, CaseResult]]:
    """Return some cases of each curve, at the same rates, or all; of repeats the first."""
    rates = sorted({case.rate for one in series for case in one.cases})
    number = max(1, min(len(rates), most // max(1, len(series))))
    if sum(len({case.rate for case in one.cases}) for one in series) <= most:
        number = len(rates)  # curves need not have the same rates
    places = np.linspace(0, len(rates) - 1, number).round().astype(int) if number > 1 else [-1]
    picked = [rates[place] for place in places] if rates else []
    found = []
    for one in series:
        first = {case.rate: case for case in reversed(one.cases)}
        found += [(one, first[rate]) for rate in picked if rate in first]
    return found[:most]


def _figure(
    run: Run, drawn: Sequence[_Shown], title: str, caption: str, tall: float,
    further: Sequence[tuple[Any, str]],
) -> tuple[Frame, list[Axes]]:  # fmt: skip
    curves = {id(one.series): one.series for one in drawn}
    loads = {one.load for one in curves.values()}
    numbers = {*Counter(id(one.series) for one in drawn).values()}
    columns = columns_of(len(drawn))
    if 1 < len(curves) <= _MOST_ROWS and len(numbers) == 1 and numbers <= {2, 3, 4}:
        (columns,) = numbers  # a row for each curve
    rows = -(-len(drawn) // columns)
    width = _WIDTHS.get(columns, _WIDE)
    every = [case for case in run.cases if case.measured]
    if len(drawn) < len(every):
        caption += f" {len(drawn)} of {len(every)} cases are shown."
    frame = Frame(
        (width, tall * rows + 0.6), title, subtitle=subtitle(run.cases),
        caption=[caption, *measured(run)], series=list(curves.values()), further=further,
    )  # fmt: skip
    panels = frame.axes(rows, columns, share_y=True)
    for ax in panels[len(drawn) :]:
        ax.remove()
    for ax, one in zip(panels, drawn, strict=False):
        room = int(ax.get_position().width * width * _CHARACTERS)
        label = one.series.label if len(loads) > 1 else one.series.server
        rate = plain(one.case.rate) + per_second([one.case])
        label = abridged(label, max(8, room - max(8, len(rate) + 2)))
        name = f"{label}, " if len(curves) > 1 else "rate "
        ax.set_title(shown(f"{name}{rate}"), size=8.5)
    return frame, panels[: len(drawn)]


# -- clouds ---------------------------------------------------------------------------------------


def _scatters(
    run: Run, drawn: Sequence[_Shown], of: Callable[[_Shown], Scatter], path: Path
) -> list[Path]:
    every = [of(one) for one in drawn]
    x, y = scatter.axes_of(every)
    timed = every[0].lasts is not None
    across = [scatter.axes_of([one])[0] if timed else x for one in every]  # each its own time
    dots = [scatter.dots(one, own, y) for one, own in zip(every, across, strict=True)]
    levels = sorted({found.level for own in dots for found in own})
    further: list[tuple[Any, str]] = [
        (Line2D([], [], color=GREY, linestyle="", marker="o", markersize=4, alpha=_ALPHAS[level]),
         LEVELS[level][1])
        for level in levels
    ]  # fmt: skip
    kinds: Counter[tuple[str, str]] = Counter()
    for lost in (lost for one in every for lost in one.lost):
        kinds[lost.shape, lost.text] += len(lost.places)
    further += [
        (Line2D([], [], linestyle="", markersize=5, **_LOST[shape]),
         f"{text} ({number}), at the top edge")
        for (shape, text), number in kinds.items()
    ]  # fmt: skip
    title, _, _ = every[0].title.rpartition(", ")
    times = f"{_OWN_TIME} " if timed else ""
    missing = scatter.left_out(sum(one.undefined for one in every),
                               sum(one.uncounted for one in every))  # fmt: skip
    caption = (
        f"Each point stands for the requests there: the darker, the more. {times}{missing}".rstrip()
    )
    frame, panels = _figure(run, drawn, title, caption, 2.6, further)
    for ax, one, own, x, cells in zip(panels, drawn, every, across, dots, strict=True):
        scale(ax, "x", x, x.labelled(own.x_label))
        for found in cells:
            ax.plot(found.x, found.y, transform=ax.transAxes, linestyle="", marker="o",
                    markersize=2.6, markeredgewidth=0, color=one.series.colour,
                    alpha=_ALPHAS[found.level])  # fmt: skip
        for lost, places in zip(own.lost, own.rims, strict=True):
            at = np.unique(x.place(places).round(3))
            ax.plot(at, np.full(len(at), _TOP), transform=ax.transAxes, linestyle="", markersize=4,
                    clip_on=False, zorder=4, **_LOST[lost.shape])  # fmt: skip
        _bounds(ax, own, x, y)
        if not len(own.x):
            ax.text(0.5, 0.5, "no answer has this time", transform=ax.transAxes, ha="center",
                    va="center", color=GREY)  # fmt: skip
    scale(panels[0], "y", y, y.labelled(every[0].y_label))
    return frame.save(path)


def _bounds(ax: Axes, one: Scatter, x: Axis, y: Axis) -> None:
    look: dict[str, Any] = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (6, 3))}
    text: dict[str, Any] = {
        "textcoords": "offset points", "size": 7, "color": GREY, "zorder": 5,
        "bbox": {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
    }  # fmt: skip
    for bound in filter(lambda one: y.holds(one.value), one.y_bounds):
        ax.axhline(bound.value, **look)
        # Beside what failed, which stands at the top edge.
        away, side = (-2, "top") if y.place([bound.value])[0] > _CROWDED else (2, "bottom")
        ax.annotate(f"SLO {shown(bound.clause, 40)}", (0.99, bound.value), (0, away), ha="right",
                    va=side, xycoords=ax.get_yaxis_transform(), **text)  # fmt: skip
    # Away from the other bound's name.
    below = any(y.place([bound.value])[0] > 0.5 for bound in one.y_bounds)
    height, side = (0.02, "bottom") if below else (_TOP - 0.05, "top")
    for bound in filter(lambda one: x.holds(one.value), one.x_bounds):
        ax.axvline(bound.value, **look)
        ax.annotate(f"SLO {shown(bound.clause, 40)}", (bound.value, height), (-2, 0), rotation=90,
                    ha="right", va=side, xycoords=ax.get_xaxis_transform(), **text)  # fmt: skip


# -- token by token -------------------------------------------------------------------------------


def _timelines(run: Run, drawn: Sequence[_Shown], path: Path) -> list[Path]:
    if not drawn:
        return []
    most = max(len(one.rows) for one in drawn)
    colours = {one.series.colour for one in drawn}
    colour = drawn[0].series.colour if len(colours) == 1 else GREY
    further: list[tuple[Any, str]] = [
        (Patch(color=_WAIT), "waits to be sent"),
        (Patch(color=colour, alpha=0.25, linewidth=0), "sent, no token yet"),
        (Line2D([], [], color=colour, linestyle="", marker="|"), "event with output"),
        (Patch(color=_STALL, alpha=0.45, linewidth=0), "its longest stall"),
        (Line2D([], [], color=_INK, linestyle="", marker="D", markersize=4), "end of the answer"),
    ]
    if any(row.failed for one in drawn for row in one.rows):
        further.append((Line2D([], [], linestyle="", **_LOST["error"]), "failed"))
    caption = (
        "Chosen by their time to first token (TTFT) and their longest stall, separately in each "
        f"case. {_OWN_TIME}"
    )
    frame, panels = _figure(run, drawn, timelines.TITLE, caption, 0.3 + 0.55 * most, further)
    for ax, one in zip(panels, drawn, strict=True):
        axis = timelines.axis_of(one.rows)
        scale(ax, "x", axis, timelines.X_LABEL)
        ax.grid(visible=False, axis="y")
        for row, line in enumerate(one.rows):
            _timeline(ax, line, timelines.bar_of(row, most), timelines.text_of(row, most),
                      one.series.colour, axis.last)  # fmt: skip
    for ax in panels:
        ax.set(ylim=(0, most), yticks=[])
    return frame.save(path)


def _timeline(
    ax: Axes, line: Timeline, bar: tuple[float, float], text: float, colour: str, last: float
) -> None:
    low, high = bar
    sent, first = max(0.0, line.sent), float(line.events[0])
    ax.broken_barh([(0, sent)], (low, high - low), color=_WAIT)
    ax.broken_barh([(sent, first - sent)], (low, high - low), color=colour, alpha=0.25, linewidth=0)
    if line.stall is not None:
        begin, end = line.stall
        ax.broken_barh([(begin, end - begin)], (low, high - low), color=_STALL, alpha=0.45,
                       linewidth=0)  # fmt: skip
    step = last / _FINEST
    ax.vlines(np.unique((line.events / step).round()) * step, low, high, color=colour,
              linewidth=0.6)  # fmt: skip
    middle = (low + high) / 2
    ax.plot([line.events[-1], line.end], [middle] * 2, color=GREY, linewidth=0.8)
    look: dict[str, Any] = {"marker": "D", "color": _INK, "markersize": 4}
    ax.plot([line.end], [middle], linestyle="", zorder=4,
            **({**_LOST["error"], "markersize": 6} if line.failed else look))  # fmt: skip
    ax.text(0.005, text, line.label, transform=ax.get_yaxis_transform(), size=7, color="#333333",
            va="bottom")  # fmt: skip
