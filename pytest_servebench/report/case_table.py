"""The table of cases: one row each, the same columns for every rate."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_servebench.metrics import METRICS, Metric, standing_in
from pytest_servebench.report import sessions
from pytest_servebench.report.facts import attempt_name
from pytest_servebench.report.figures import (
    Standing,
    cpu_per_request,
    dropped,
    errors,
    failed,
    goodput,
    memory_metric,
    percentile,
    standing,
)
from pytest_servebench.report.variants import own_names
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import CapacityResult, CaseResult, Sizes
from pytest_servebench.stats.estimates import ClassFigures, Summary
from pytest_servebench.text.numbers import (
    INFINITE,
    MISSING,
    compact,
    decimals_for,
    megabytes,
    milliseconds,
    percent,
)
from pytest_servebench.text.safe import clean
from pytest_servebench.text.tables import PLAIN, Cell, Column, Markup

_EXTRA: Final = 9
"""From here on, columns are shown only if there is room; the table does not mention missing
ones."""

COLUMNS: Final = (
    Column("", right=False, shrinks=24),
    Column("verdict", right=False),
    Column("requests", expendable=2),
    Column("ok %", expendable=1),
    Column("ok/s", expendable=4),
    Column("good/s", expendable=_EXTRA, optional=True),
    *(
        Column(one.written, expendable=0 if "overview" in one.places else 3)
        for one in standing_in("table")
    ),
    *(
        Column(one.written, expendable=1 if "overview" in one.places else 3, optional=True)
        for one in standing_in("table", streamed=True)
    ),
    *(
        Column(one.written, expendable=2, optional=True)
        for one in standing_in("unscheduled", streamed=True)
    ),
    Column("wait", expendable=6),
    Column("CPU %", expendable=7),
    Column("CPU ms", expendable=_EXTRA),
    Column("MB", expendable=8),
    Column("dropped", expendable=5),
    Column("errors", expendable=5),
)
_FIRST_PERCENTILE: Final = 6
_MEMORY: Final = {
    "memory": "MB: peak resident memory of the server",
    "memory_pss": "MB: memory of the server (PSS)",
}

_VERDICTS: Final[Mapping[Standing, Markup]] = {
    "passed": {"green": True},
    "failed": {"red": True, "bold": True},
    "test-failed": {"red": True, "bold": True},
    "excused": {"yellow": True},
    "inconclusive": {"yellow": True},
    "invalid": {"red": True, "bold": True},
}
_NAMED: Final = tuple(one.name for one in standing_in("table"))
_STREAMED: Final = tuple(one.name for one in standing_in("table", streamed=True))
_UNSCHEDULED: Final = tuple(one.name for one in standing_in("unscheduled", streamed=True))
_PART: Final = "  └ class "
_OF_CASE: Final = ("verdict", "CPU %", "CPU ms", "MB")
_SUCCESSES: Final = "  └ successes"
_BAD: Final[Markup] = {"red": True}
_FAINT: Final[Markup] = {"light": True}


def verdict_cell(case: CaseResult | CapacityResult) -> Cell:
    """Return the verdict; bad ones can be recognized without colours too."""
    where = standing(case)
    word: str = case.verdict
    if word == "passed" and not case.clauses:  # a capacity has an SLO: what it keeps
        word = "found" if isinstance(case, CapacityResult) else "no SLO"
    if where == "excused":
        word = f"{word}, {case.test_outcome}"
    elif where == "test-failed":
        word = f"{word}, test failed"
    elif where in ("failed", "invalid"):
        word = word.upper()
    return Cell(word, PLAIN if word == "no SLO" else _VERDICTS[where])


@dataclass(frozen=True)
class ServerRows:
    """The rows of one server in one table.

    Attributes:
        kind: the server's kind.
        title: its name.
        implementation: program and version; each table names them.
        rows: one for each case and for each of its classes, and one more if requests failed.
    """

    kind: str
    title: str
    implementation: str
    rows: list[list[Cell]]


def server_rows(
    cases: Sequence[CaseResult], titles: Mapping[str, str], run: Sequence[CaseResult]
) -> list[ServerRows]:
    """Return the rows of ``cases``, formatted alike in all tables of the whole ``run``.

    A case whose requests have classes gets a row for each. A case with failed requests gets
    another row: percentiles of the requests that succeeded, beside those in which the failed ones
    rank as infinitely slow. A case that was measured again gets a row that says so.
    """
    show, memory = _formats(run), memory_metric(run)
    found: dict[str, ServerRows] = {}
    seen: Counter[tuple[str, Sizes, str]] = Counter()
    own = own_names(cases, every_label=True)
    for case, name in zip(cases, own, strict=True):
        server, summary = case.server, case.summary
        block = found.setdefault(
            server.kind,
            ServerRows(server.kind, titles[server.kind], clean(server.implementation), []),
        )
        seen[server.kind, case.sizes, name] += 1
        repeat = seen[server.kind, case.sizes, name]
        label = f"  {case.sizes}{name}" + (f" #{repeat}" if repeat > 1 else "")
        if is_plain(case) or case.origin is not None:
            label = f"  {clean(case.name)}"
        block.rows.append(_case_row(case, label, show, memory))
        block.rows.extend(_class_row(case, one, show, memory) for one in case.classes)
        if case.attempts:
            block.rows.append(_note_row(f"  └ {attempt_name(len(case.attempts) + 1)}"))
        if 0 < failed(summary) < summary.arrivals and summary.latency.n:
            block.rows.append(_successes_row(summary, show))
    return list(found.values())


_Formats = Mapping[str, Callable[[float | None], str]]


def _case_row(case: CaseResult, label: str, show: _Formats, memory: Metric) -> list[Cell]:
    summary, resources = case.summary, case.resources
    lost, wrong = dropped(summary), errors(summary)
    throughput = None if is_plain(case) else summary.throughput
    streamed = summary.estimates.keys() - (_UNSCHEDULED if case.arrivals_told else ())
    return [
        Cell(label),
        verdict_cell(case),
        Cell(compact(summary.arrivals, 0)),
        _share_cell(summary),
        Cell(show["throughput"](throughput)),
        Cell(show["throughput"](good) if (good := goodput(case)) is not None else ""),
        *(_percentile_cell(summary, name, show[name]) for name in _NAMED),
        *(
            _percentile_cell(summary, name, show[name]) if name in streamed else Cell("")
            for name in (*_STREAMED, *_UNSCHEDULED)
        ),
        Cell(show["wait"](milliseconds(summary.queue_wait.percentiles.get("p95")))),
        Cell(compact(resources.cpu_mean)),
        Cell(show["cost"](milliseconds(cpu_per_request(case)))),
        Cell(compact(megabytes(memory.read(case).value), 0)),
        Cell(compact(lost, 0), _BAD if lost else PLAIN),
        Cell(compact(wrong, 0), _BAD if wrong else PLAIN),
    ]


def _class_row(case: CaseResult, part: ClassFigures, show: _Formats, memory: Metric) -> list[Cell]:
    """Return the row of a class of requests; of what the server is, its case's has the figures."""
    whole = dataclasses.replace(case, summary=part.summary)
    row = _case_row(whole, f"{_PART}{clean(part.name)}", show, memory)
    return [
        Cell("") if column.heading in _OF_CASE else cell
        for column, cell in zip(COLUMNS, row, strict=True)
    ]


def _share_cell(summary: Summary) -> Cell:
    if not summary.arrivals:  # of a rare class, in a short load
        return Cell(MISSING)
    return Cell(percent(summary.success_rate), _BAD if summary.success_rate < 1 else PLAIN)


def _percentile_cell(summary: Summary, name: str, show: Callable[[float | None], str]) -> Cell:
    known = percentile(summary, name)
    text = show(milliseconds(known.value))
    if text == INFINITE:
        return Cell(text, _BAD)
    if text == MISSING or known.resolved:
        return Cell(text)
    return Cell(f"({text})", _FAINT)


def _note_row(text: str) -> list[Cell]:
    return [Cell(text, _FAINT), *[Cell("", _FAINT)] * (len(COLUMNS) - 1)]


def _successes_row(summary: Summary, show: _Formats) -> list[Cell]:
    row = _note_row(_SUCCESSES)
    row[2] = Cell(compact(summary.latency.n, 0), _FAINT)
    for offset, name in enumerate(_NAMED):
        value = milliseconds(summary.latency.percentiles.get(name))
        row[_FIRST_PERCENTILE + offset] = Cell(show[name](value), _FAINT)
    return row


def _formats(cases: Sequence[CaseResult]) -> _Formats:
    """Return how each column's numbers are written: with the same decimals from first to last."""
    columns: dict[str, list[float | None]] = {
        "throughput": [case.summary.throughput for case in cases],
        "wait": [milliseconds(case.summary.queue_wait.percentiles.get("p95")) for case in cases],
    }
    columns["cost"] = [milliseconds(cpu_per_request(case)) for case in cases]
    for name in (*_NAMED, *_STREAMED, *_UNSCHEDULED):
        columns[name] = [milliseconds(percentile(case.summary, name).value) for case in cases]
    for name in _NAMED:
        columns[name] += [
            milliseconds(case.summary.latency.percentiles.get(name)) for case in cases
        ]
    return {name: _writer(decimals_for(values)) for name, values in columns.items()}


def _writer(decimals: int) -> Callable[[float | None], str]:
    return lambda value: compact(value, decimals)


def legend(
    cases: Sequence[CaseResult], rows: Sequence[Sequence[Cell]], shown: Sequence[Column]
) -> list[str]:
    """Return the notes that the tables need, and only these.

    Args:
        cases: what was measured.
        rows: all rows of the tables.
        shown: those of :data:`COLUMNS` for which there is room.
    """
    headings = {column.heading for column in shown}
    percentiles = {
        row[_FIRST_PERCENTILE + offset].text
        for offset, name in enumerate((*_NAMED, *_STREAMED, *_UNSCHEDULED))
        for row in rows
        if name in headings
    }
    notes = _definitions(cases, headings)
    if any(failed(case.summary) for case in cases):
        sign = f" ({INFINITE})" if INFINITE in percentiles else ""
        alone = any(row[0].text == _SUCCESSES for row in rows)
        notes.append(
            f"A failed request ranks as infinitely slow{sign}"
            + ("; in the row below, the requests that succeeded." if alone else ".")
        )
    if any(text.startswith("(") for text in percentiles):
        notes.append(
            "(x): too few independent requests for this percentile; the true value may be far "
            "higher."
        )
    if any(case.rows > 1 for case in cases):
        notes.append("rows: samples in each request; all figures are those of requests.")
    if any(case.sessions for case in cases):
        notes.append(sessions.RATE)
    if any(case.attempts for case in cases):
        notes.append(
            "second attempt: the first was invalid; see metrics_summary.txt or the page for why."
        )
    if all(map(is_plain, cases)):
        return notes
    parts = [
        text
        for heading, text in (
            ("ok/s", "ok/s: throughput"),
            ("good/s", "good/s: those within the SLO's limits"),
            ("wait", "wait: p95 of the time in the buffer, ms"),
            ("MB", _MEMORY[memory_metric(cases).name]),
        )
        if heading in headings
    ]
    if parts:
        notes.append("; ".join(parts) + ".")
    if "CPU %" in headings:
        each = "; CPU ms: per successful request" if "CPU ms" in headings else ""
        notes.append(f"CPU: mean of all the server's processes; 100 % is one processor{each}.")
    more = any(
        column.expendable < _EXTRA and column not in shown
        and not (column.optional and all(not row[place].text for row in rows))
        for place, column in enumerate(COLUMNS)
    )  # fmt: skip
    if more and any(case.origin is None for case in cases):  # other runs have no such file
        notes.append("The terminal is too narrow for more columns; see metrics_summary.txt.")
    return notes


def _definitions(cases: Sequence[CaseResult], headings: Collection[str]) -> list[str]:
    """Return the definitions of the times in the table."""
    if all(map(is_plain, cases)):
        notes = ["p50 to p99: ms per round."]
    elif not any(case.arrivals_told for case in cases):
        notes = ["p50 to p99: unknown, as it was not recorded when requests were due."]
    else:
        notes = ["p50 to p99: ms from the scheduled arrival to the whole answer, waiting included."]
    found = [
        text
        for name, text in (
            ("ttft", "ttft: ms from the scheduled arrival to the first output"),
            ("ttft_sent", "ttft_sent: ms from sending to the first output"),
            ("tpot", "tpot: ms for each output token after it"),
        )
        if any(one.times is not None and one.times.name == name for one in _shown(headings))
    ]
    return [*notes, *([f"{'; '.join(found)}."] if found else [])]


def _shown(headings: Collection[str]) -> list[Metric]:
    return [METRICS[name] for name in (*_STREAMED, *_UNSCHEDULED) if name in headings]
