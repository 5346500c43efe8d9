"""Predictions of a queueing model for each server, next to the measurements."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from pytest_servebench.metrics import METRICS
from pytest_servebench.objectives.slo_grammar import Clause
from pytest_servebench.report import axes
from pytest_servebench.report.page.chart import Chart, Key
from pytest_servebench.report.panels import Point, percentile_panel
from pytest_servebench.report.sizing import (
    Measured,
    ServerFit,
    case_texts,
    fit_server,
    measured_servers,
    own_slo,
    rests_on,
    unchecked,
    unfit_text,
)
from pytest_servebench.report.sizing_text import held_texts
from pytest_servebench.report.sweep import X_LABEL
from pytest_servebench.runs.results import CaseResult, Run
from pytest_servebench.sizing.model import ServerModel, Unfit
from pytest_servebench.sizing.prediction import Prediction, Setting, predict
from pytest_servebench.text.numbers import MISSING, percent, significant
from pytest_servebench.text.quantity import trimmed
from pytest_servebench.text.safe import clean, counted

_SHOWN: Final = ("p50", "p95", "p99")
_CURVES: Final = ("p99", "p50")
_LINES: Final = {"p99": "d0", "p50": "d1"}  # dash patterns in the CSS
_MARKERS: Final = {"p99": "o", "p50": "s"}
_LOADS: Final = (0.05, 0.25, 0.45, 0.6, 0.7, 0.78, 0.84, 0.89, 0.93, 0.96)
_RESAMPLES: Final = 60  # a curve of predictions as steady as those of 'size' would take a minute
_BEYOND: Final = 1.04  # of the highest rate, to which the axis reaches
_SMALL: Final = 8  # half a marker


@dataclass(frozen=True)
class Reached:
    """Up to which rate a clause is kept; 0 for none, ``None`` if beyond the curve."""

    clause: Clause
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class CheckRow:
    """One case as predicted from the others of its server: cells of the table."""

    css: str
    server: str
    case: str
    busy: str
    cells: tuple[tuple[str, str], ...]
    missed: bool


@dataclass(frozen=True)
class SizingView:
    """The section.

    Attributes:
        charts: latency against the rate of each server that a model fits.
        texts: each server's class, name and what is known about it.
        headings: of the predicted metrics.
        rows: of the table that checks the models against the measurements.
    """

    charts: tuple[Chart, ...]
    texts: tuple[tuple[str, str, tuple[str, ...]], ...]
    headings: tuple[str, ...]
    rows: tuple[CheckRow, ...]


def sizing_view(run: Run, directory: Path, css: Mapping[str, str]) -> SizingView | None:
    """Return the section; ``None`` if no server was measured at several rates.

    Args:
        run: what was measured.
        directory: of the run, with the records.
        css: kind of server to its class.
    """
    servers = [one for one in measured_servers(run, directory) if len(one.rates) > 1]
    if not servers:
        return None
    charts, texts, rows = [], [], []
    fits = [fit_server(one) for one in servers]
    checks = [one for found in fits for one in found.checks]
    headings = tuple(name for name in _SHOWN if any(name in one.metrics for one in checks))
    for found in fits:
        look, name = css.get(found.measured.kind, ""), found.measured.name
        if isinstance(found.fitted, ServerModel):
            chart, told = _predicted(found.measured, found.fitted, look)
            charts.append(chart)
            told = (rests_on(found.measured, found.fitted), *told, unchecked(found))
        else:
            assert isinstance(found.fitted, Unfit)
            told = (_sentence(unfit_text(found.fitted)),)
        texts.append((look, name, tuple(filter(None, told))))
        rows += _rows(found, look, headings)
    return SizingView(tuple(charts), tuple(texts), headings, tuple(rows))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _rows(found: ServerFit, css: str, headings: Sequence[str]) -> list[CheckRow]:
    shown = [one for one in found.checks if one.metrics]
    return [
        CheckRow(
            css,
            found.measured.name,
            label,
            MISSING if one.load is None else f"{percent(one.load, 0)} %",
            tuple(held_texts(one.metrics.get(name)) for name in headings),
            one.missed,
        )
        for label, one in zip(case_texts(shown), shown, strict=True)
    ]


# -- the curve ------------------------------------------------------------------------------------


def _predicted(measured: Measured, model: ServerModel, css: str) -> tuple[Chart, tuple[str, ...]]:
    """Return a server's chart, and sentences on the bounds of its SLO."""
    setting, cases = _setting(measured)
    clauses = [one for one in own_slo([measured])[0] if one.metric in _CURVES]
    rates = {load * model.saturation for load in _LOADS} | {case.rate for case in cases}

    def at(rate: float) -> Prediction:
        return predict(model, replace(setting, rate=rate), resamples=_RESAMPLES)

    known = {rate: at(rate) for rate in sorted(rates)}
    for clause in clauses:
        # The curve between the rates is a guess; where it matters, it gets a point of its own.
        guess = _reached(clause, list(known.values())).value
        if guess and guess not in known:
            known[guess] = at(guess)
    curve = [known[rate] for rate in sorted(known)]
    reached = [_reached(clause, curve) for clause in clauses]
    assert setting.workers is not None
    highest = model.highest_load * model.saturation
    told = (
        f"The curve is for {counted(setting.workers, 'connection')} and buffer "
        f"{setting.buffer_size}, as measured; beyond {trimmed(highest)}/s it extrapolates.",
        *(f"{_reached_text(one)}." for one in reached),
    )
    return _chart(measured, cases, curve, reached, css), told


def _setting(measured: Measured) -> tuple[Setting, list[CaseResult]]:
    """Return the limits that most cases had, the larger ones of as many, and these cases."""
    limits = Counter((case.workers, case.buffer_size) for case in measured.cases)
    workers, buffer_size = max(limits, key=lambda one: (limits[one], one[1], one[0]))
    cases = [
        one for one in measured.cases if (one.workers, one.buffer_size) == (workers, buffer_size)
    ]
    return Setting(cases[0].rate, workers, buffer_size), cases


def _reached(clause: Clause, curve: Sequence[Prediction]) -> Reached:
    """Return where the curve and the ends of its interval reach a clause's bound."""
    rates = [one.setting.rate for one in curve]
    estimates = [one.estimates[clause.metric] for one in curve]
    return Reached(
        clause,
        _crossing(rates, [one.value for one in estimates], clause.bound),
        _crossing(rates, [one.high for one in estimates], clause.bound),
        _crossing(rates, [one.low for one in estimates], clause.bound),
    )


def _crossing(rates: Sequence[float], values: Sequence[float | None], bound: float) -> float | None:
    """Return the rate at which values reach a bound; in between, their logarithm is linear."""
    known = [math.inf if value is None else value for value in values]
    if known[0] >= bound:
        return 0.0
    points = list(zip(rates, known, strict=True))
    for (rate, value), (further, above) in itertools.pairwise(points):
        if above >= bound > value:
            share = math.log(bound / value) / math.log(above / value) if math.isfinite(above) else 0
            return rate + share * (further - rate)
    return None


def _reached_text(one: Reached) -> str:
    if one.value is None:
        return f"{clean(one.clause)} is kept at every rate of the curve"
    if one.value == 0:
        return f"{clean(one.clause)} is kept at no rate of the curve"
    low, high = one.low or 0.0, "…" if one.high is None else trimmed(one.high)
    return f"{clean(one.clause)} is kept up to {trimmed(one.value)}/s ({trimmed(low)} to {high})"


def _chart(
    measured: Measured, cases: Sequence[CaseResult],
    curve: Sequence[Prediction], reached: Sequence[Reached], css: str,
) -> Chart:  # fmt: skip
    rates = np.array([one.setting.rate for one in curve])
    points = {
        name: [(case.rate, point) for case in cases if (point := panel.point(case)) is not None]
        for name in _CURVES
        for panel in [percentile_panel(METRICS[name])]
    }
    values = [
        1e3 * end
        for name in _CURVES
        for one in curve
        for end in (one.estimates[name].value, one.estimates[name].low)
        if end is not None
    ]
    values += [point.value for own in points.values() for _, point in own if point.value < math.inf]
    bounds = {one.clause: 1e3 * one.clause.bound for one in reached}
    near = [bound for bound in bounds.values() if min(values) / 2 <= bound <= 2 * max(values)]
    chart = Chart(
        f"{measured.name}: latency, ms",
        _described(measured, curve, reached),
        axes.linear(0.0, _BEYOND * float(rates[-1])),
        axes.logarithmic([*values, *near]),
        X_LABEL,
        css=css,
    )
    chart.bounds([(bound, clean(clause)) for clause, bound in bounds.items()], left=True)
    for name in _CURVES:
        known = [one for one in curve if one.estimates[name].value is not None]
        x = [one.setting.rate for one in known]
        ends = [one.estimates[name] for one in known]
        chart.area(x, [1e3 * (one.low or 0.0) for one in ends],
                   [math.inf if one.high is None else 1e3 * one.high for one in ends],
                   "band")  # fmt: skip
        chart.line(x, [1e3 * (one.value or 0.0) for one in ends], f"line {_LINES[name]}")
        chart.legend.append(Key(f"line {_LINES[name]}", f"{METRICS[name].written} predicted"))
        for rate, point in points[name]:
            _measured(chart, rate, point, _MARKERS[name])
    for one in reached:
        if one.value and chart.y.holds(bounds[one.clause]):
            _mark(chart, one, bounds[one.clause])
    chart.legend += [Key("band", "95 % interval"), Key("dot", "measured")]
    if any(not point.resolved for own in points.values() for _, point in own):
        chart.note = "Hollow: too few independent requests for this percentile."
    return chart


def _mark(chart: Chart, one: Reached, bound: float) -> None:
    """Mark the rate at which a bound is reached, and its interval."""
    y = int(chart.py([bound])[0])
    low, value, high = chart.px([one.low or 0.0, one.value or 0.0, one.high or math.inf]).tolist()
    chart.trace([(low, y), (high, y)], "reached")
    chart.trace([(value, y), (value, chart.bottom)], "limit")


def _measured(chart: Chart, rate: float, point: Point, marker: str) -> None:
    place = int(chart.px([rate])[0])
    if not math.isfinite(point.value):
        chart.marker(place, chart.top + 4, "^", "mark", _SMALL)
        return
    if point.low is not None:
        end = point.value if point.high is None else point.high
        low, high = chart.py([point.low, end]).tolist()
        is_open = " open" if math.isinf(end) else ""
        chart.trace([(place, low), (place, high)], f"whisker{is_open}")
    hollow = "" if point.resolved else " hollow"
    chart.marker(place, int(chart.py([point.value])[0]), marker, f"mark{hollow}", _SMALL)


def _described(measured: Measured, curve: Sequence[Prediction], reached: Sequence[Reached]) -> str:
    texts = []
    for name in _CURVES:
        values = (
            f"{significant(1e3 * value)} at {trimmed(one.setting.rate)}/s"
            for one in curve if (value := one.estimates[name].value) is not None
        )  # fmt: skip
        texts.append(f"{METRICS[name].written}: {', '.join(values)}")
    told = "".join(f" {_reached_text(one)}." for one in reached)
    return (
        f"Predicted latency of {measured.name} in ms (log scale) against the offered rate. "
        f"{'; '.join(texts)}.{told}"
    )
