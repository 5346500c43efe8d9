"""Every figure of one case, as text."""

from __future__ import annotations

from typing import Final

from pytest_servebench.metrics import METRICS
from pytest_servebench.objectives.goodput import slo_clauses
from pytest_servebench.objectives.limits import of_each_request
from pytest_servebench.objectives.slo import failure_texts
from pytest_servebench.report.case_table import verdict_cell
from pytest_servebench.report.classes import class_facts
from pytest_servebench.report.facts import (
    attempt_name,
    origin_facts,
    priority_text,
    server_text,
    setup_text,
    start_text,
    workers_text,
)
from pytest_servebench.report.figures import (
    NAMES,
    cpu_per_request_text,
    cpu_text,
    failed,
    interval,
    times_table,
)
from pytest_servebench.report.sessions import session_facts
from pytest_servebench.report.streamed import stream_facts
from pytest_servebench.runs.node_ids import labelled
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.stats.estimates import Distribution
from pytest_servebench.text.numbers import (
    INFINITE,
    MISSING,
    compact,
    megabytes,
    percent,
    plain,
    significant,
)
from pytest_servebench.text.safe import clean, counted, wrapped
from pytest_servebench.text.tables import Cell, Column, plain_text, table

_LABEL: Final = 18
_INDENT: Final = 2
_LATENCY: Final = (
    Column("  ms", right=False, shrinks=13),
    Column("n", expendable=3),
    Column("mean", expendable=4),
    Column("min", expendable=5),
    Column("p50"),
    Column("p90", expendable=2),
    Column("p95", expendable=1),
    Column("p99"),
    Column("p99.9", expendable=6),
    Column("max", expendable=3),
)


def case_text(case: CaseResult, name: str, width: int) -> list[str]:
    """Return every figure of one case, in lines of at most ``width`` columns.

    Args:
        case: the case.
        name: its server's.
        width: columns of the terminal.
    """

    def row(label: str, text: str) -> list[str]:
        return wrapped(f"{label:<{_LABEL - 1}} ", text, width, indent=_INDENT)

    lines = wrapped("", clean(labelled(case.nodeid, case.label) or case.name), width)
    if is_plain(case) or case.origin is not None:
        for label, text in case_facts(case):
            lines += row(label, text)
        return [*lines, "", *_latency_table(case, width)]
    lines += row("verdict", _verdict_text(case))
    for label, text in attempt_facts(case):
        lines += row(f"  {label}", text)
    for clause in case.clauses:
        lines += row(f"  {clause.verdict}", clean(clause.message))
    server, url = server_text(name, case.server), clean(case.server.base_url)
    lines += row("server", server if url in server else f"{server}; {url}")
    lines += row("", setup_text(case.server))
    if started := start_text([case.server]):
        lines += row("", started)
    lines += row("load", _load_text(case))
    lines += row("outcomes", _outcomes_text(case))
    for text in failure_texts(case):
        lines += row("", clean(text))
    lines += row("success rate", _estimate_text(case, "success_rate", 100, " %"))
    lines += row("throughput", _throughput_text(case))
    for label, text in (*_goodput_facts(case), *session_facts(case), *class_facts(case),
                        *stream_facts(case)):  # fmt: skip
        lines += row(label, text)
    lines += ["", *_latency_table(case, width), ""]
    lines += row("resources", _resources_text(case))
    lines += row("generator", _generator_text(case))
    lines += row("  lateness", _lag_text(case))
    lines += row("  machine", _host_text(case))
    lines += row("arrivals", _arrivals_text(case))
    if case.records_file:
        lines += row("records", clean(case.records_file))
    return lines


def case_facts(case: CaseResult) -> list[tuple[str, str]]:
    """Return labels and texts of a case's facts, without its verdict and latencies."""
    if is_plain(case):
        rounds = counted(case.summary.arrivals, "round")
        return [("measured", f"{rounds} of a benchmark, without a server and without load")]
    facts = [
        ("outcomes", _outcomes_text(case)),
        ("success rate", _estimate_text(case, "success_rate", 100, " %")),
        ("throughput", _throughput_text(case)),
        *_goodput_facts(case),
        *session_facts(case),
        *class_facts(case),
        *stream_facts(case),
    ]
    if case.origin is not None:
        failures = [("", clean(text)) for text in failure_texts(case)]
        return [*origin_facts(case.origin), facts[0], *failures, *facts[1:]]
    return [
        ("load", _load_text(case)),
        *facts,
        ("resources", _resources_text(case)),
        ("generator", _generator_text(case)),
        ("lateness", _lag_text(case)),
        ("machine", _host_text(case)),
        ("arrivals", _arrivals_text(case)),
    ]


def attempt_facts(case: CaseResult) -> list[tuple[str, str]]:
    """Return why each earlier measurement of the case was invalid."""
    return [
        (attempt_name(number), clean(one.reason)) for number, one in enumerate(case.attempts, 1)
    ]


def _verdict_text(case: CaseResult) -> str:
    if not case.measured:
        reason = clean(case.invalid_reason or "no reason is recorded")
        return f"INVALID, the figures say nothing about the server: {reason}"
    text = verdict_cell(case).text
    return "passed (no SLO was set)" if text == "no SLO" else text


def _load_text(case: CaseResult) -> str:
    achieved = significant(case.summary.achieved_rate)
    offered = f"rate {plain(case.rate)}/s offered, {achieved}/s in the schedule"
    if case.sessions is not None:
        offered = f"{plain(case.rate)} sessions/s offered, which made {achieved} requests/s"
    return (
        f"{offered}, for {plain(case.duration)} s; {case.sizes}, "
        f"{workers_text(str(case.workers), [case.streams])}, seed {case.seed}"
    )


def _outcomes_text(case: CaseResult) -> str:
    parts = [f"{number} {clean(word)}" for word, number in case.summary.outcomes.items()]
    return f"{case.summary.arrivals} arrivals: {', '.join(parts)}"


def _goodput_facts(case: CaseResult) -> list[tuple[str, str]]:
    """Return label and text of the goodput; nothing if it is only the throughput."""
    if "goodput" not in case.summary.estimates:
        return []
    limits = ", ".join(str(one.clause) for one in of_each_request(slo_clauses(case)))
    return [("goodput", f"{_estimate_text(case, 'goodput', 1, '/s')}; limits: {limits}")]


def _throughput_text(case: CaseResult) -> str:
    rows = f"; {significant(case.summary.throughput * case.rows)} rows/s" if case.rows > 1 else ""
    return _estimate_text(case, "throughput", 1, "/s") + rows


def _estimate_text(case: CaseResult, name: str, scale: float, unit: str) -> str:
    estimate = case.summary.estimates.get(name)
    measured = METRICS[name].read(case).value
    if measured is None:
        return "unknown"
    value = percent(measured, 2) if name == "success_rate" else significant(measured)
    ends = interval(estimate)
    if ends is None:
        return f"{value}{unit}"
    low, high = (significant(end * scale) for end in ends)
    return f"{value}{unit}, 95 % interval {low} to {high}{unit}"


def _latency_table(case: CaseResult, width: int) -> list[str]:
    times = times_table(case)
    every = [one for row in times.rows for one in row.figures]
    texts = []
    for row in times.rows:
        known = [
            _ms(one.value) if one.resolved or one.value is None else f"({_ms(one.value)})"
            for one in row.figures
        ]
        label = f"{row.times.name}, all requests"
        texts.append([label, compact(times.n, 0), known[0], "", *known[1:], ""])
        for heading, end in (("  from", 0), ("  to", 1)) if row.intervals else ():
            ends = [MISSING if pair is None else _ms(pair[end]) for pair in row.intervals]
            texts.append([f"{heading} (95 % interval)", "", ends[0], "", *ends[1:], ""])
    texts += [[label, *_distribution_cells(values)] for label, values in times.parts]
    rows = [[Cell(f"  {first}"), *map(Cell, rest)] for first, *rest in texts]
    notes = []
    if any(one.value is not None and not one.resolved for one in every):
        notes.append(
            "(x): too few independent requests for this percentile; the true value may be far "
            "higher"
        )
    if failed(case.summary):
        notes.append(f"all requests: a failed one ranks as infinitely slow ({INFINITE})")
    found = [plain_text(parts) for parts in table(_LATENCY, rows, width)]
    return found + [text for note in notes for text in wrapped("", note, width, indent=_INDENT)]


def _distribution_cells(values: Distribution) -> list[str]:
    percentiles = (values.percentiles.get(name) for name in NAMES)
    return [
        compact(values.n, 0),
        *(_ms(value) for value in (values.mean, values.min, *percentiles, values.max)),
    ]


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return MISSING
    return significant(max(seconds, 0.0) * 1e3)


def _resources_text(case: CaseResult) -> str:
    known = case.resources
    if known.cpu_mean is None and known.memory_peak is None:
        parts = ["the server's CPU and memory are not visible"]
    else:
        each = cpu_per_request_text(case)
        parts = [
            f"CPU {cpu_text(case)} of one processor" + (f", {each}" if each else ""),
            f"memory mean {compact(megabytes(known.memory_mean), 0)} MB, "
            f"peak {compact(megabytes(known.memory_peak), 0)} MB (RSS)",
        ]
        if known.pss is not None:
            parts[-1] += f", {compact(megabytes(known.pss), 0)} MB (PSS)"
    if known.host_cpu_mean is not None:
        parts.append(f"whole machine {compact(known.host_cpu_mean)} % busy")
    if known.others_share is not None:
        parts.append(f"other programs {percent(known.others_share, 0)} % of its processors")
    return "; ".join(parts)


def _generator_text(case: CaseResult) -> str:
    known = case.generator
    parts = [
        clean(known.pacing),
        clean(known.event_loop),
        priority_text(case),
        f"{significant(known.cpu_seconds)} s of CPU ({percent(known.cpu_share, 1)} % of one)",
    ]
    if known.waited_seconds is not None:
        parts.append(f"waited {significant(known.waited_seconds * 1e3)} ms for a processor")
    parts.append(f"preempted {_times(known.involuntary_switches)}")
    if known.resent:
        parts.append(f"{known.resent} requests sent again after the server closed a connection")
    if known.reconnections:
        parts.append(f"{known.reconnections} connections reopened")
    if known.throttled_seconds:
        parts.append(f"throttled by a CPU quota for {significant(known.throttled_seconds)} s")
    return ", ".join(parts)


def _lag_text(case: CaseResult) -> str:
    known = case.generator
    found = (("idle", known.lag_idle_p99), ("busy", known.lag_busy_p99))
    parts = [
        f"p99 {significant(lag * 1e6)} µs where workers were {word}"
        for word, lag in found
        if lag is not None
    ]
    parts.append(f"longest pause {significant(known.longest_pause * 1e3)} ms")
    return ", ".join(parts)


def _host_text(case: CaseResult) -> str:
    known = case.generator
    found = (
        ("stolen by its host", known.steal),
        ("some process waiting for a processor", known.cpu_pressure),
        ("for memory", known.memory_pressure),
        ("for disks", known.io_pressure),
    )
    parts = [f"{percent(share, 1)} % {word}" for word, share in found if share is not None]
    return ", ".join(parts) or "unknown"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _arrivals_text(case: CaseResult) -> str:
    known = case.generator
    process = clean(known.arrivals)
    word = f"plausibly {process}" if known.arrivals_plausible else f"NOT plausibly {process}"
    return (
        f"{word}: dispersion {known.dispersion:.2f} (Poisson: 1), lag-1 correlation of the gaps "
        f"{known.lag1:+.2f} (Poisson: 0)"
    )
