"""``metrics_summary.txt``: the whole run for a person, from the verdicts to every last figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from pytest_servebench.report.facts import (
    priority_text,
    server_text,
    server_titles,
    settings_text,
)
from pytest_servebench.report.figures import NAMES, groups, interval, percentile
from pytest_servebench.report.numbers import (
    INFINITE,
    MISSING,
    compact,
    megabytes,
    percent,
    plain,
    significant,
)
from pytest_servebench.report.tables import plain_text
from pytest_servebench.report.terminal import WIDTH, report_lines, title
from pytest_servebench.report.text import clean, clip, display_width, wrapped
from pytest_servebench.results import CaseResult, Distribution, Estimate, Run
from pytest_servebench.slo import failure_texts

_LABEL: Final = 18
_INDENT: Final = 2


def summary_text(run: Run) -> str:
    """Return the text of the run's summary, ending with a newline."""
    heading = f"{title(run)}: {clean(run.name)}, {clean(run.started)}"
    lines = [*wrapped("", heading, WIDTH), "=" * min(WIDTH, display_width(heading)), ""]
    lines += [plain_text(parts) for parts in report_lines(run, width=WIDTH)]
    lines += ["", *_section("Each case")]
    for group in groups(run.cases):
        for case in group.cases:
            lines += [*case_text(case, server_titles(run.cases)[case.server.kind]), ""]
    lines += _section("Versions")
    lines += [
        line
        for package, version in run.versions.items()
        for line in _row(clean(package), clean(version))
    ]
    return "\n".join(clip(line.rstrip(), WIDTH) for line in lines).rstrip() + "\n"


def _section(name: str) -> list[str]:
    return [name, "-" * len(name), ""]


def _row(label: str, text: str) -> list[str]:
    return wrapped(f"{label:<{_LABEL}}", text, WIDTH, indent=_INDENT)


def case_text(case: CaseResult, name: str) -> list[str]:
    """Return everything that is known of one case."""
    lines = wrapped("", clean(case.nodeid) or clean(case.name), WIDTH)
    lines += _row("verdict", _verdict_text(case))
    for clause in case.clauses:
        lines += _row(f"  {clause.verdict}", clean(clause.message))
    lines += _row("server", f"{server_text(name, case.server)}; {clean(case.server.base_url)}")
    lines += _row("", settings_text(case.server))
    lines += _row("load", _load_text(case))
    lines += _row("outcomes", _outcomes_text(case))
    for text in failure_texts(case):
        lines += _row("", clean(text))
    lines += _row("success rate", _estimate_text(case, "success_rate", 100, " %"))
    lines += _row("throughput", _estimate_text(case, "throughput", 1, "/s"))
    lines += [""]
    lines += _latency_table(case)
    lines += [""]
    lines += _row("resources", _resources_text(case))
    lines += _row("generator", _generator_text(case))
    lines += _row("  lateness", _lag_text(case))
    lines += _row("  machine", _host_text(case))
    lines += _row("arrivals", _arrivals_text(case))
    if case.records_file:
        lines += _row("records", clean(case.records_file))
    return lines


def _verdict_text(case: CaseResult) -> str:
    if case.verdict == "invalid":
        reason = clean(case.invalid_reason or "no reason is recorded")
        return f"INVALID, so that the figures say nothing about the server: {reason}"
    if not case.clauses:
        return f"{case.verdict} (no SLO was set)"
    return case.verdict.upper() if case.verdict == "failed" else case.verdict


def _load_text(case: CaseResult) -> str:
    return (
        f"rate {plain(case.rate)}/s offered, {significant(case.summary.achieved_rate)}/s in the "
        f"schedule, for {plain(case.duration)} s; buffer {plain(case.buffer_size)}, "
        f"{case.workers} connections, seed {case.seed}"
    )


def _outcomes_text(case: CaseResult) -> str:
    parts = [f"{number} {clean(word)}" for word, number in case.summary.outcomes.items()]
    return f"{case.summary.arrivals} arrivals: {', '.join(parts)}"


def _estimate_text(case: CaseResult, name: str, scale: float, unit: str) -> str:
    estimate = case.summary.estimates.get(name)
    measured = case.summary.success_rate if name == "success_rate" else case.summary.throughput
    value = percent(measured, 2) if name == "success_rate" else significant(measured)
    ends = interval(estimate)
    if ends is None:
        return f"{value}{unit}"
    low, high = (significant(end * scale) for end in ends)
    return f"{value}{unit}, 95 % interval {low} to {high}{unit}"


_HEADINGS: Final = ("ms", "n", "mean", "min", "p50", "p90", "p95", "p99", "p99.9", "max")
_FIRST: Final = 26
_OTHER: Final = 8


def _latency_table(case: CaseResult) -> list[str]:
    summary = case.summary
    lines = [_cells(_HEADINGS)]
    estimates = summary.estimates
    every = [percentile(summary, name) for name in NAMES]
    mean = estimates.get("mean", Estimate(None, None, None))
    infinite_mean = math.inf if summary.latency.n < summary.arrivals else None
    values = [one.value for one in every]
    marks = [one.value is not None and not one.resolved for one in every]
    lines.append(
        _cells(
            [
                "latency, all requests",
                compact(summary.arrivals, 0),
                _ms(mean.value if mean.value is not None else infinite_mean),
                "",
                *(
                    f"({_ms(value)})" if mark else _ms(value)
                    for value, mark in zip(values, marks, strict=True)
                ),
                "",
            ]
        )
    )
    for heading, end in (("  from", 0), ("  to", 1)):
        ends = [interval(estimates.get(name)) for name in ("mean", *NAMES)]
        texts = [MISSING if pair is None else _ms(pair[end]) for pair in ends]
        if summary.arrivals:
            lines.append(_cells([f"{heading} (95 % interval)", "", texts[0], "", *texts[1:], ""]))
    for label, distribution in (
        ("latency of successes", summary.latency),
        ("queue wait", summary.queue_wait),
        ("service time", summary.service_time),
        ("generator lag", summary.generator_lag),
    ):
        lines.append(_cells([label, *_distribution_cells(distribution)]))
    if any(marks):
        lines.append("  (x): too few requests to tell this percentile")
    if infinite_mean:
        lines.append(f"  all requests: a failed one ranks as infinitely slow ({INFINITE})")
    return lines


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


def _cells(texts: Sequence[str]) -> str:
    first, *rest = texts
    return " " * _INDENT + f"{first:<{_FIRST - _INDENT}}" + "".join(f"{t:>{_OTHER}}" for t in rest)


def _resources_text(case: CaseResult) -> str:
    known = case.resources
    if known.cpu_mean is None and known.memory_peak is None:
        parts = ["the server's processor time and memory cannot be seen"]
    else:
        parts = [
            f"CPU mean {compact(known.cpu_mean)} %, peak {compact(known.cpu_peak)} % "
            "of one processor",
            f"memory mean {compact(megabytes(known.memory_mean), 0)} MB, "
            f"peak {compact(megabytes(known.memory_peak), 0)} MB",
        ]
    if known.host_cpu_mean is not None:
        parts.append(f"whole machine {compact(known.host_cpu_mean)} % busy")
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
    parts.append(f"put off the processor {_times(known.involuntary_switches)}")
    if known.resent:
        parts.append(f"{known.resent} requests sent again after the server closed a connection")
    if known.throttled_seconds:
        parts.append(f"held back by a quota for {significant(known.throttled_seconds)} s")
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
