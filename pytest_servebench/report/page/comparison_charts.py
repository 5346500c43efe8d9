"""Both sides of a comparison in one chart."""

from collections.abc import Sequence
from pathlib import Path

from pytest_servebench.analysis.compare import CaseComparison
from pytest_servebench.analysis.precision import tail_of
from pytest_servebench.report import axes
from pytest_servebench.report.figures import NAMES, percentile
from pytest_servebench.report.page.chart import Chart, Key
from pytest_servebench.report.percentile_curves import percentile_curve
from pytest_servebench.runs.case_records import read_records
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.text.numbers import significant

_Curve = tuple[CaseResult, axes.Floats, axes.Floats, bool]
"""A case, shares and latencies, and whether they are those of its records."""


def overlay(case: CaseComparison, base: Path, new: Path) -> Chart:
    """Return the percentile curves of both sides, one for each repeat.

    Args:
        case: what was compared.
        base: directory of the earlier run, with its records.
        new: directory of the new run.
    """

    def curves_of(cases: Sequence[CaseResult], where: Path) -> list[_Curve]:
        read = ((one, read_records(one, where)[0]) for one in cases)
        return [(one, *percentile_curve(one, rows), rows is not None) for one, rows in read]

    sides = [
        (word, css, curves_of(cases, where))
        for word, css, cases, where in (
            ("BASE", "of-base", case.pair.base, base),
            ("NEW", "of-new", case.pair.new, new),
        )
    ]
    every = [values for _, _, curves in sides for _, _, values, _ in curves if len(values)]
    ends = [float(end) for values in every for end in (values[0], values[-1])]
    number = max((one.summary.arrivals for one in case.pair.every), default=1)
    chart = Chart(
        "Latency by percentile, ms",
        _overlay_words(case),
        axes.slower(number),
        axes.logarithmic(ends),
        axes.PERCENTILE,
    )
    whole = True
    for word, css, curves in sides:
        for one, shares, values, recorded in curves:
            _interval_bars(chart, one, css)
            chart.line(shares, values, f"line {css}")
            whole = whole and recorded
        chart.legend.append(Key("line", word, css))
    chart.note = "Vertical lines: 95 % intervals."
    if not whole:
        chart.note += " If records are missing, known percentiles are joined."
    return chart


def _interval_bars(chart: Chart, case: CaseResult, css: str) -> None:
    aside = 3 if css == "of-new" else -3
    for name in NAMES:
        tail = tail_of(name)
        known = percentile(case.summary, name)
        if known.low is None or known.high is None or not chart.x.holds(tail):
            continue
        place = int(chart.px([tail])[0]) + aside
        low, high = chart.py([1e3 * known.low, min(1e3 * known.high, chart.y.last)]).tolist()
        chart.trace([(place, low), (place, high)], f"whisker {css}")


def _overlay_words(case: CaseComparison) -> str:
    texts = [
        f"{NAMES[name]} {significant(1e3 * change.base)} in BASE and "
        f"{significant(1e3 * change.new)} in NEW"
        for name, change in case.changes.items()
        if name in NAMES
    ]
    return f"Percentiles of the latency in ms: {'; '.join(texts)}."
