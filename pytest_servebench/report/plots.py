"""The figures of a run, each of which stands alone in a paper or on a slide."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from pytest_servebench.report.facts import (
    DIGEST_LENGTH,
    distinct,
    fairness_texts,
    machine_text,
    server_text,
    server_titles,
    servers,
    test_name,
    traffic_text,
)
from pytest_servebench.report.figures import percentile, with_verdict
from pytest_servebench.report.numbers import plain
from pytest_servebench.report.plot_distribution import Curve, draw_distributions
from pytest_servebench.report.plot_frame import Frame, drawing
from pytest_servebench.report.plot_series import Series, make_series
from pytest_servebench.report.plot_sweep import (
    CPU,
    MEMORY,
    SUCCESS,
    THROUGHPUT,
    Metric,
    draw_sweep,
    ideal_handles,
    latency,
)
from pytest_servebench.report.text import clean, counted, joined
from pytest_servebench.results import CaseResult, Run, load_records

PLOTS: Final = "plots"
_MOST_PANELS: Final = 12
_MOST_NAMES: Final = 4
_MOST_COUNTS: Final = 8

_ASIDE = "Curves stand side by side at each rate, so that equal ones can all be seen."
_INTERVALS = "Bars: 95 % intervals."
_INFINITE = (
    "A failed request ranks as infinitely slow; ▲ at the top edge: the percentile itself is "
    "infinite."
)
_HOLLOW = "Hollow, with an arrow: too few requests to tell the percentile; it may be far higher."
_OUTLINE = "Black outline: the SLO is broken."


def draw_plots(run: Run, directory: Path) -> list[Path]:
    """Draw the run's plots into ``directory / "plots"``, as PNG and SVG; return the files.

    Several test functions in one run get a directory each: their cases may be of any kind.

    Args:
        run: what to draw; invalid cases are left out, and the captions say so.
        directory: the run's own directory, in which the records are looked for.

    Raises:
        OSError: a file cannot be written.
    """
    if not run.cases:
        return []
    tests = distinct(test_name(case) for case in run.cases) or [""]
    files = []
    with drawing():
        for name in tests:
            cases = tuple(case for case in run.cases if test_name(case) == name)
            target = directory / PLOTS
            if len(tests) > 1:
                target /= _safe(name)
            target.mkdir(parents=True, exist_ok=True)
            files += _Drawing(dataclasses.replace(run, cases=cases), directory, target).draw()
    return files


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:100] or "test"


class _Drawing:
    """The plots of one test function's cases."""

    def __init__(self, run: Run, directory: Path, target: Path) -> None:
        self._run = run
        self._cases = run.cases
        self._directory = directory
        self._target = target
        self._series = make_series(run.cases)
        self._names = joined(server_titles(run.cases).values())

    def draw(self) -> list[Path]:
        names = ("p50", "p95", "p99")
        percentiles = tuple(latency(name) for name in names)
        return [
            *self._sweep("overview", f"{self._names} under open-loop Poisson load",
                         (latency("p50"), latency("p99"), THROUGHPUT, SUCCESS, CPU, MEMORY), 3),
            *self._sweep("latency", "Latency from the scheduled arrival, against offered rate", percentiles, 3),
            *self._sweep("throughput", "Throughput against offered rate", (THROUGHPUT,), 1),
            *self._sweep("success_rate", "Success rate against offered rate", (SUCCESS,), 1),
            *self._sweep("cpu", "CPU of the server's processes against offered rate", (CPU,), 1),
            *self._sweep("memory", "Memory of the server's processes against offered rate", (MEMORY,), 1),
            *self._distribution(),
        ]  # fmt: skip

    def _sweep(self, name: str, title: str, metrics: Sequence[Metric], columns: int) -> list[Path]:
        rows = -(-len(metrics) // columns)
        width = (7.2, 0.0, 11.0)[columns - 1]
        tall = 4.2 if columns == 1 else 3.4
        frame = Frame(
            (width, tall if rows == 1 else 2.95 * rows),
            title,
            self._subtitle(),
            self._caption(metrics),
            self._series,
            ideal_handles() if THROUGHPUT in metrics else (),
        )
        share = len(metrics) == columns > 1
        panels = frame.axes(rows, columns, share_y=share, titles=columns > 1)
        for ax, metric in zip(panels, metrics, strict=True):
            inches = ax.get_position().width * width
            draw_sweep(ax, metric, self._series, inches, metrics if share else ())
            if share and ax is not panels[0]:
                ax.set_ylabel("")
        if columns == 1:
            panels[0].set_title("")
        return frame.save(self._target / name)

    def _distribution(self) -> list[Path]:
        rates = sorted({case.rate for one in self._series for case in one.cases})
        shown = rates
        if len(rates) > _MOST_PANELS:
            places = np.linspace(0, len(rates) - 1, _MOST_PANELS).round().astype(int)
            shown = [rates[place] for place in places]
        curves, missing = self._curves(shown)
        columns = _columns(len(shown))
        rows = max(1, -(-len(shown) // columns))
        caption = [
            "Each curve: all requests of a case; the tail is stretched, so that each step to the "
            "right is the slowest tenth of the one before."
        ]
        if any(np.isinf(values).any() for panel in curves for _, values in panel):
            caption[0] += " ▲: from here on requests failed, which ranks as infinitely slow."
        if len(shown) < len(rates):
            caption[0] += f" {len(shown)} of {counted(len(rates), 'rate')} are shown."
        if missing:
            caption.append(f"Without their records, and so left out: {_names(missing)}.")
        frame = Frame(
            ((7.2, 8.2, 11.0, 11.0)[columns - 1], (4.2 if columns == 1 else 3.4) if rows == 1
             else 2.5 * rows),
            "Distribution of latency from the scheduled arrival",
            self._subtitle(),
            [*caption, *self._measured()],
            self._series,
        )  # fmt: skip
        panels = frame.axes(rows, columns, share_y=True)
        for ax in panels[len(shown) :]:
            ax.remove()
        draw_distributions(panels[: len(shown)], shown, curves, columns)
        return frame.save(self._target / "latency_distribution")

    def _curves(self, rates: Sequence[float]) -> tuple[list[list[Curve]], list[CaseResult]]:
        panels: list[list[Curve]] = [[] for _ in rates]
        missing = []
        for one in self._series:
            for case in one.cases:
                if case.rate not in rates:
                    continue
                records = load_records(case, self._directory)
                if records is None:
                    missing.append(case)
                else:
                    panels[rates.index(case.rate)].append((one, 1e3 * records.latency()))
        return panels, missing

    def _subtitle(self) -> str:
        models = distinct(clean(case.model) for case in self._cases)
        titles = server_titles(self._cases)
        implementations = [
            server_text(titles[kind], server, protocol=False)
            for kind, server in servers(self._cases).items()
        ]
        return f"{' / '.join(models)} on {', '.join(implementations)}"

    def _caption(self, metrics: Sequence[Metric]) -> list[str]:
        valid = [case for one in self._series for case in one.cases]
        notes = []
        latencies = [metric.slo for metric in metrics if metric.scale == "log"]
        if latencies or THROUGHPUT in metrics or SUCCESS in metrics:
            notes.append(_INTERVALS)
        if CPU in metrics or MEMORY in metrics:
            notes.append("CPU and memory: marker at the mean, line up to the peak.")
        if len(self._series) > 1:
            notes.append(_ASIDE)
        known = [percentile(case.summary, name) for case in valid for name in latencies]
        if any(one.value == float("inf") for one in known):
            notes.append(_INFINITE)
        if any(one.value is not None and not one.resolved for one in known):
            notes.append(_HOLLOW)
        slos = {metric.slo for metric in metrics}
        if any(c.metric in slos and c.verdict == "failed" for case in valid for c in case.clauses):
            notes.append(_OUTLINE)
        unseen = [case for case in valid if case.resources.cpu_mean is None]
        if unseen and (CPU in metrics or MEMORY in metrics):
            titles = server_titles(unseen)
            notes.append(f"CPU and memory cannot be seen: {', '.join(titles.values())}.")
        return [" ".join(notes), *self._measured()]

    def _measured(self) -> list[str]:
        digests = distinct(clean(case.weights_sha256)[:DIGEST_LENGTH] for case in self._cases)
        lines = [
            f"{_counts(self._cases)} Load: {traffic_text(self._cases)}. "
            f"Weights sha256 {' / '.join(digests)}. "
            f"Servers: {'; '.join(fairness_texts(self._cases))}. "
            f"Machine: {machine_text(self._run.machine)}."
        ]
        invalid = with_verdict(self._cases, "invalid")
        if invalid:
            lines.append(f"Left out, as the measurement is invalid: {_names(invalid)}.")
        return lines


def _counts(cases: Iterable[CaseResult]) -> str:
    """Return the number of requests in a case."""
    numbers: dict[float, set[int]] = {}
    for case in cases:
        if case.verdict != "invalid":
            numbers.setdefault(case.rate, set()).add(case.summary.arrivals)
    every = [number for known in numbers.values() for number in known]
    if not every:
        return "n = 0."
    if len(numbers) > _MOST_COUNTS:
        return f"n = {min(every)} to {max(every)} requests a case."
    parts = [
        f"{'-'.join(str(end) for end in sorted({min(known), max(known)}))} at {plain(rate)}/s"
        for rate, known in sorted(numbers.items())
    ]
    return f"n = {', '.join(parts)} (requests a case)."


def _columns(panels: int) -> int:
    """Return how many panels stand side by side: no row is left almost empty."""
    if panels <= 3:
        return max(1, panels)
    return 2 if panels == 4 else 3 if panels <= 6 or panels == 9 else 4


def _names(cases: Sequence[CaseResult]) -> str:
    names = [clean(case.name) for case in cases[:_MOST_NAMES]]
    more = f" and {len(cases) - _MOST_NAMES} more" if len(cases) > _MOST_NAMES else ""
    return ", ".join(names) + more
