"""The figures of a run, each self-contained for a paper or a slide."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from pytest_servebench.metrics import Times, has_streams, standing_in
from pytest_servebench.report.capacity_table import blocks
from pytest_servebench.report.captions import case_names, marks, measured, subtitle
from pytest_servebench.report.facts import test_id, test_labels
from pytest_servebench.report.figures import known_times
from pytest_servebench.report.outputs import Material
from pytest_servebench.report.panels import (
    CPU,
    CPU_PER_REQUEST,
    GOODPUT,
    MEMORY,
    PSS,
    SUCCESS,
    THROUGHPUT,
    Panel,
    class_panels,
    percentile_panel,
    shown_percentiles,
    shows_goodput,
)
from pytest_servebench.report.plot_capacity import draw_capacities
from pytest_servebench.report.plot_distribution import Latencies, draw_distributions
from pytest_servebench.report.plot_frame import Frame, columns_of, drawing
from pytest_servebench.report.plot_streams import draw_streams
from pytest_servebench.report.plot_sweep import draw_sweep, ideal_handles
from pytest_servebench.report.series import colours, make_series
from pytest_servebench.runs.case_records import read_records
from pytest_servebench.runs.node_ids import function_of, short_labels
from pytest_servebench.runs.results import CaseResult, Run
from pytest_servebench.runs.titles import server_titles
from pytest_servebench.system.files import file_name
from pytest_servebench.text.safe import abridged, counted, joined

PLOTS: Final = "plots"
_MOST_PANELS: Final = 12  # of a figure; smaller ones would be illegible
_LONGEST_FOLDER: Final = 80  # bytes of a test's directory
_LONGEST_NAMES: Final = 70  # characters of all servers' names in a heading
_NARROW, _MIDDLE, _WIDE = 7.2, 8.2, 11.0  # widths of figures in inches


def write(made: Material) -> list[Path]:
    """Draw the plots of a run; see :func:`draw_plots`."""
    return draw_plots(made.run, made.directory)


def draw_plots(run: Run, directory: Path) -> list[Path]:
    """Draw the run's plots into ``directory / "plots"``, as PNG and SVG; return the files.

    Each of several test functions gets its own directory, as their cases may differ in kind.
    Searches for a capacity have a figure for each test and SLO.

    Args:
        run: what to draw; invalid cases are left out, and the captions say so.
        directory: the run's own directory, with its records.

    Raises:
        OSError: a file cannot be written.
    """
    tests = test_labels(run.cases)
    palette = colours(
        (
            *(case.server.kind for case in run.every_case),
            *(one.server.kind for one in run.capacities),
        )
    )
    files = []
    taken: Counter[str] = Counter()
    with drawing():
        for test, name in tests.items():
            cases = tuple(case for case in run.cases if test_id(case) == test)
            target = directory / PLOTS
            if len(tests) > 1:
                word = file_name(name, _LONGEST_FOLDER)
                taken[word] += 1
                target /= word + (f"-{taken[word]}" if taken[word] > 1 else "")
            target.mkdir(parents=True, exist_ok=True)
            part = dataclasses.replace(run, cases=cases)
            files += _Drawing(part, directory, target, palette).draw()
        searches = blocks(run.capacities)
        labels = short_labels(function_of(one.nodeid) for one in run.capacities)
        for heading, found in searches:
            name = "capacity"
            if len(searches) > 1:
                word = file_name(
                    f"capacity-{labels[function_of(found[0].nodeid)]}", _LONGEST_FOLDER
                )
                taken[word] += 1
                name = word + (f"-{taken[word]}" if taken[word] > 1 else "")
            (directory / PLOTS).mkdir(parents=True, exist_ok=True)
            title = heading if len(searches) > 1 else ""
            files += draw_capacities(run, title, found, palette, directory / PLOTS / name)
    return files


def _names(titles: Sequence[str]) -> str:
    """Return the servers' names for a heading of one line."""
    together = joined(titles)
    if len(together) <= _LONGEST_NAMES or len(titles) < 2:
        return abridged(together, _LONGEST_NAMES)
    return counted(len(titles), "server")


class _Drawing:
    def __init__(self, run: Run, directory: Path, target: Path, palette: dict[str, str]) -> None:
        """Draw into ``target`` with a colour for each kind of server."""
        self._run = run
        self._directory = directory
        self._target = target
        self._series = make_series(run.cases, palette)
        self._names = _names(list(server_titles(run.cases).values()))

    def draw(self) -> list[Path]:
        """Draw all figures; return their files."""
        valid = [case for case in self._run.cases if case.measured]
        unseen = {  # of attached servers
            panel.metric for panel in (CPU, PSS, MEMORY)
            if valid and all(panel.point(case) is None for case in valid)
        }  # fmt: skip
        memory = (PSS, MEMORY) if any(PSS.point(case) for case in valid) else (MEMORY,)
        overview = standing_in("overview")
        if has_streams(self._run.cases):
            overview += standing_in("overview", streamed=True)
        good = (GOODPUT,) if shows_goodput(valid) else ()
        every = (*map(percentile_panel, overview), THROUGHPUT, *good, SUCCESS, CPU, memory[0])
        everything = [panel for panel in every if panel.metric not in unseen]
        processes = "of the server's processes against offered rate"
        return [
            *self._sweeps("overview", f"{self._names} under open-loop load", everything),
            *(path for times in known_times(self._run.cases) for path in self._percentiles(times)),
            *self._by_class(everything),
            *self._sweeps("throughput", "Throughput against offered rate", (THROUGHPUT,)),
            *(
                path
                for one in good
                for path in self._sweeps("goodput", "Goodput against offered rate", (one,))
            ),
            *self._sweeps("success_rate", "Success rate against offered rate", (SUCCESS,)),
            *(
                path
                for name, own in (("CPU", (CPU, CPU_PER_REQUEST)), ("memory", memory))
                if own[0] in everything
                for path in self._sweeps(
                    name.lower(), f"{name[:1].upper()}{name[1:]} {processes}", own
                )
            ),
            *self._distribution(),
            *draw_streams(self._run, self._directory, self._series, self._target),
        ]

    def _percentiles(self, times: Times) -> list[Path]:
        shown = [one for one in shown_percentiles(self._run.cases) if one.times is times]
        if not shown:
            return []
        title = f"{times.title[:1].upper()}{times.title[1:]} against offered rate"
        return self._sweeps(times.name, title, [*map(percentile_panel, shown)], alike=True)

    def _by_class(self, overview: Sequence[Panel]) -> list[Path]:
        of_classes = class_panels(self._run.cases)
        rows = [row for one in overview for row in of_classes if row[0].metric == one.metric]
        if not rows:
            return []
        title = f"{self._names}: classes of requests against offered rate"
        panels = [panel for row in rows for panel in row]
        return self._sweeps("classes", title, panels, columns=len(rows[0]))

    def _sweeps(
        self,
        name: str,
        title: str,
        metrics: Sequence[Panel],
        *,
        alike: bool = False,
        columns: int = 0,
    ) -> list[Path]:
        """Draw a panel for each metric.

        Args:
            name: of the file.
            title: heading.
            metrics: the panels.
            alike: whether all have the same y axis.
            columns: panels in a row that has the same y axis; 0 for as many as look good.
        """
        rows_alike, columns = columns > 0, columns or columns_of(len(metrics))
        rows = math.ceil(len(metrics) / columns)
        alone = len(metrics) == 1
        width = _NARROW if alone else _WIDE
        height = 4.2 if alone else 3.4 if rows == 1 else 2.95 * rows
        frame = Frame(
            (width, height),
            title,
            subtitle=subtitle(self._run.cases),
            caption=[marks(self._run.cases, metrics, len(self._series)), *measured(self._run)],
            series=self._series,
            further=ideal_handles(self._series) if any(one.of_offered for one in metrics) else (),
        )
        panels = frame.axes(rows, columns, share_y=alike, titles=not alone)
        for ax in panels[len(metrics) :]:
            ax.remove()
        for place, (ax, metric) in enumerate(zip(panels, metrics, strict=False)):
            inches = ax.get_position().width * width
            row = metrics[place - place % columns :][:columns] if rows_alike else ()
            draw_sweep(ax, metric, self._series, inches, metrics if alike else row)
            if alike and place % columns:
                ax.set_ylabel("")
        if alone:
            panels[0].set_title("")
        return frame.save(self._target / name)

    def _distribution(self) -> list[Path]:
        rates = sorted({case.rate for one in self._series for case in one.cases})
        shown = rates
        if len(rates) > _MOST_PANELS:
            places = np.linspace(0, len(rates) - 1, _MOST_PANELS).round().astype(int)
            shown = [rates[place] for place in places]
        curves, missing = self._curves(shown)
        caption = (
            "Each curve: all requests of a case from fastest to slowest; the axis is stretched "
            "towards the slow ones."
        )
        if any(np.isinf(values).any() for panel in curves for _, values in panel):
            caption += " ▲: requests beyond this point failed and rank as infinitely slow."
        if len(shown) < len(rates):
            caption += f" {len(shown)} of {counted(len(rates), 'rate')} are shown."
        if missing:
            caption += f" Left out, as their records cannot be read: {case_names(missing)}."
        columns = columns_of(len(shown))
        rows = max(1, math.ceil(len(shown) / columns))
        width = {1: _NARROW, 2: _MIDDLE}.get(columns, _WIDE)
        height = 2.5 * rows if rows > 1 else 4.2 if columns == 1 else 3.4
        frame = Frame(
            (width, height),
            "Distribution of latency",
            subtitle=subtitle(self._run.cases),
            caption=[caption, *measured(self._run)],
            series=self._series,
        )
        panels = frame.axes(rows, columns, share_y=True)
        for ax in panels[len(shown) :]:
            ax.remove()
        draw_distributions(panels[: len(shown)], shown, curves, columns)
        return frame.save(self._target / "latency_distribution")

    def _curves(self, rates: Sequence[float]) -> tuple[list[list[Latencies]], list[CaseResult]]:
        panels: list[list[Latencies]] = [[] for _ in rates]
        missing = []
        for one in self._series:
            for case in one.cases:
                if case.rate not in rates:
                    continue
                records, _ = read_records(case, self._directory)
                if records is None:
                    missing.append(case)
                else:
                    panels[rates.index(case.rate)].append((one, 1e3 * records.latency()))
        return panels, missing
