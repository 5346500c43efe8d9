"""What the page shows of each case: a row of the table, a cell of the matrix, a drill-down."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pytest_servebench.metrics import POINTS, has_streams, standing_in
from pytest_servebench.objectives.slo import failure_texts
from pytest_servebench.report.attention import reasons
from pytest_servebench.report.axes import grouped
from pytest_servebench.report.case_details import attempt_facts, case_facts
from pytest_servebench.report.case_table import verdict_cell
from pytest_servebench.report.facts import (
    attempt_name,
    cell_name,
    server_text,
    setup_text,
    start_text,
)
from pytest_servebench.report.figures import (
    NAMES,
    Percentile,
    cpu_per_request,
    dropped,
    errors,
    percentile,
    standing,
    times_table,
)
from pytest_servebench.report.page.chart import Chart
from pytest_servebench.report.page.clauses import ClauseView, clause_view
from pytest_servebench.report.page.log_tails import LogTail, case_logs
from pytest_servebench.report.sessions import per_second
from pytest_servebench.runs.node_ids import labelled
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.stats.estimates import Distribution
from pytest_servebench.text.numbers import MISSING, compact, megabytes, percent, plain, significant
from pytest_servebench.text.quantity import trimmed
from pytest_servebench.text.safe import clean

_WORSE: Final = ("failed", "invalid")


@dataclass(frozen=True)
class Figure:
    """One figure of a table.

    Attributes:
        text: as it is shown.
        sort: sort key; infinite where the figure is, empty if it is unknown.
        css: classes, such as ``doubtful``.
        title: what a mark means.
    """

    text: str
    sort: str = ""
    css: str = ""
    title: str = ""


@dataclass(frozen=True)
class CaseView:
    """Everything that the page shows of one case."""

    anchor: str
    name: str
    label: str
    function: str
    kind: str
    css: str
    server: str
    rate: str
    per_second: str
    buffer: str
    rows: str
    sizes: str
    repeat: int
    verdict: str
    verdict_text: str
    reasons: tuple[str, ...]
    figures: tuple[Figure, ...]
    parts: tuple[tuple[str, tuple[Figure, ...]], ...]
    p50: Figure
    tail: tuple[str, Figure]
    clauses: tuple[ClauseView, ...]
    table: tuple[tuple[str, tuple[Figure, ...]], ...]
    facts: tuple[tuple[str, str], ...]
    failures: tuple[str, ...]
    charts: tuple[Chart, ...]
    missing: str
    logs: tuple[LogTail, ...]
    added: tuple[tuple[str, str], ...]
    measured: bool
    probe: bool

    @property
    def has_load(self) -> bool:
        """Return whether it is a load test, not a plain benchmark."""
        return self.rate != MISSING

    @property
    def heading(self) -> str:
        """Return the server with its cell, or of a benchmark without load, its name."""
        return self.name if not self.has_load else f"{self.server}, {self.cell}"

    @property
    def cell(self) -> str:
        """Return rate, buffer and rows in a few words."""
        return f"{self.rate}{self.per_second}, {self.sizes}" + (
            f" #{self.repeat}" if self.repeat else ""
        )


def anchors(cases: Sequence[CaseResult]) -> list[str]:
    """Return the anchor of each case: made from its name, the same in every page of the run."""
    seen: Counter[str] = Counter()
    found = []
    for case in cases:
        word = re.sub(r"[^A-Za-z0-9_.]+", "-", cell_name(case.name)).strip("-")[:80] or "case"
        seen[word] += 1
        found.append(f"case-{word}" + (f"-{seen[word]}" if seen[word] > 1 else ""))
    return found


# -- the table of cases ---------------------------------------------------------------------------

# What decides comes first: a phone shows no more without scrolling.
_TIMES, _STREAMED = (
    tuple(
        (f"{one.written} ms", f"{one.meaning}, a failed request counting as infinitely slow")
        for one in standing_in("table", streamed=streamed)
    )
    for streamed in (False, True)
)
_OTHERS: Final = (
    ("ok %", "Share of the arrivals that succeeded"),
    ("ok/s", "Throughput: successes per second inside the window"),
    ("requests", "Arrivals in the schedule"),
    ("wait p95 ms", "95th percentile of the time in the buffer"),
    ("CPU %", "Mean CPU of the server's processes, percent of one processor"),
    ("CPU ms", "CPU time of the server's processes per successful request"),
    ("MB", "Memory of the server's processes between loads, shared pages counted once (PSS)"),
    ("MB RSS", "Peak resident memory of the server's processes, shared pages counted for each"),
    ("dropped", "Arrivals that found the buffer full"),
    ("errors", "Requests that failed, not counting dropped ones"),
)


def headings(cases: Iterable[CaseResult]) -> tuple[tuple[str, str], ...]:
    """Return heading and explanation of each figure of some cases."""
    return (*_TIMES, *(_STREAMED if has_streams(cases) else ()), *_OTHERS)


def figures(case: CaseResult, among: Iterable[CaseResult]) -> tuple[Figure, ...]:
    """Return a figure for each of the :func:`headings` of the cases that it is among.

    For one class of requests, without those of the server, which the whole case has.
    """
    summary, resources = case.summary, case.resources
    lost, failed = dropped(summary), errors(summary)
    throughput = None if is_plain(case) else summary.throughput
    times = standing_in("table")
    if has_streams(among):
        times += standing_in("table", streamed=True)
    share = summary.success_rate if summary.arrivals else None
    of_server = (
        _figure(resources.cpu_mean, compact(resources.cpu_mean)),
        _milliseconds(cpu_per_request(case)),
        _figure(resources.pss, compact(megabytes(resources.pss), 0)),
        _figure(resources.memory_peak, compact(megabytes(resources.memory_peak), 0)),
    )
    return (
        *(latency_figure(case, one.name) for one in times),
        _figure(share, MISSING if share is None else percent(share),
                "bad" if share is not None and share < 1 else ""),
        _figure(throughput, significant(throughput)),
        _figure(summary.arrivals, compact(summary.arrivals, 0)),
        _milliseconds(summary.queue_wait.percentiles.get("p95")),
        *([Figure("")] * len(of_server) if case.request_class else of_server),
        _figure(lost, compact(lost, 0), "bad" if lost else ""),
        _figure(failed, compact(failed, 0), "bad" if failed else ""),
    )  # fmt: skip


def _figure(value: float | None, text: str, css: str = "") -> Figure:
    return Figure(grouped(text), "" if value is None else repr(float(value)), css)


def _milliseconds(seconds: float | None) -> Figure:
    if seconds is None:
        return Figure(MISSING)
    return _figure(seconds, significant(max(seconds, 0.0) * 1e3))


def latency_figure(case: CaseResult, name: str) -> Figure:
    """Return a percentile; in brackets if there were too few independent requests for it."""
    return _known_figure(percentile(case.summary, name))


def _known_figure(known: Percentile) -> Figure:
    if known.value is None:
        return Figure(MISSING)
    text = significant(max(known.value, 0.0) * 1e3)
    if math.isinf(known.value):
        return Figure(text, "inf", "bad", "infinite, as too many requests failed")
    if known.resolved:
        return _figure(known.value, text)
    title = "too few independent requests; the true value may be far higher"
    return Figure(f"({grouped(text)})", repr(known.value), "doubtful", title)


# -- the drill-down -------------------------------------------------------------------------------

FIGURE_HEADINGS: Final = ("n", "mean", "min", *NAMES.values(), "max")


def figure_table(case: CaseResult) -> tuple[tuple[str, tuple[Figure, ...]], ...]:
    """Return a row in ms for each quantity."""
    table = times_table(case)
    unknown = Figure("")
    rows: list[tuple[str, tuple[Figure, ...]]] = []
    for row in table.rows:
        number, (mean, *others) = compact(table.n, 0), map(_known_figure, row.figures)
        rows.append((f"{row.times.title}, all requests",
                     (_figure(table.n, number), mean, unknown, *others, unknown)))  # fmt: skip
        if any(pair is not None for pair in row.intervals):
            ends = [
                Figure("" if pair is None else "–".join(_end(end) for end in pair), css="ends")
                for pair in row.intervals
            ]
            rows.append(("95 % interval", (unknown, ends[0], unknown, *ends[1:], unknown)))
    rows += [(label, _distribution(values)) for label, values in table.parts]
    return tuple(rows)


def _end(seconds: float) -> str:
    return grouped(significant(max(seconds, 0.0) * 1e3))


def _distribution(values: Distribution) -> tuple[Figure, ...]:
    numbers = [values.mean, values.min, *(values.percentiles.get(name) for name in NAMES)]
    return (
        _figure(values.n, compact(values.n, 0)),
        *(_milliseconds(value) for value in (*numbers, values.max)),
    )


def _facts(case: CaseResult, title: str) -> tuple[tuple[str, str], ...]:
    facts = [("test", clean(labelled(case.nodeid, case.label) or case.name))]
    if not is_plain(case):
        facts.append(("server", server_text(title, case.server)))
        facts.append(("settings", setup_text(case.server)))
        if started := start_text([case.server]):
            facts.append(("start", started))
    return (*facts, *attempt_facts(case), *case_facts(case))


def _attempt(case: CaseResult) -> str:
    return f", {attempt_name(len(case.attempts) + 1)}" if case.attempts else ""


def case_view(
    case: CaseResult,
    anchor: str,
    *,
    repeat: int,
    function: str,
    title: str,
    among: Sequence[CaseResult],
    css: str,
    charts: Sequence[Chart],
    missing: str,
    added: Mapping[str, str],
    directory: Path,
) -> CaseView:
    """Return everything the page shows of a case.

    Args:
        case: its figures.
        anchor: its anchor in the page.
        repeat: its number among the cases of its cell, 0 if it is the only one.
        function: name of the test.
        title: the server's name.
        among: the cases that are shown in one table with it.
        css: class with the curve's colour.
        charts: its drawings.
        missing: why there are no records, if so.
        added: what hooks have added.
        directory: of the run, for the logs.
    """
    (median,), (*better, last) = POINTS["p50"], POINTS["tail"]
    resolved = (one for one in better if percentile(case.summary, one.name).resolved)
    tail = next(resolved, last)
    where = standing(case)
    told = where != "passed"
    bare = replace(case, records=None)  # those of a class alone take long to pick
    return CaseView(
        anchor=anchor,
        name=clean(case.name),
        label=cell_name(case.name),
        function=function,
        kind=case.server.kind,
        css=css,
        server=title,
        rate=MISSING if is_plain(case) else trimmed(case.rate) if case.probe else plain(case.rate),
        per_second=per_second([case]),
        buffer=MISSING if is_plain(case) else plain(case.buffer_size),
        rows=MISSING if is_plain(case) else str(case.rows),
        sizes=str(case.sizes),
        repeat=repeat,
        verdict="none" if where == "passed" and not case.clauses else where,
        verdict_text=verdict_cell(case).text.lower().replace("slo", "SLO") + _attempt(case),
        reasons=tuple(reasons(case)) if told else (),
        figures=figures(case, among),
        parts=tuple(
            (clean(name), figures(bare.of_class(name), among)) for name in case.class_names
        ),
        p50=latency_figure(case, median.name),
        tail=(tail.written, latency_figure(case, tail.name)),
        clauses=tuple(clause_view(one) for one in case.clauses),
        table=figure_table(case),
        facts=_facts(case, title),
        failures=tuple(clean(text) for text in failure_texts(case, most=12)),
        charts=tuple(charts),
        missing=missing,
        logs=tuple(case_logs(case, directory)) if case.verdict in _WORSE else (),
        added=tuple(added.items()),
        measured=case.measured,
        probe=case.probe,
    )
