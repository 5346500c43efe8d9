"""Results of searches for a capacity, and their probes, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pytest_servebench.analysis.capacities import contests
from pytest_servebench.objectives.capacity import explained, stated
from pytest_servebench.report.case_table import verdict_cell
from pytest_servebench.report.facts import workers_text
from pytest_servebench.runs.capacity import CapacityProbe
from pytest_servebench.runs.node_ids import (
    buffer_id,
    cell_of,
    function_of,
    repeat_of,
    rows_id,
    short_labels,
    without,
)
from pytest_servebench.runs.results import CapacityResult, CaseResult, Run
from pytest_servebench.runs.titles import server_titles
from pytest_servebench.text.numbers import MISSING, compact, percent, significant
from pytest_servebench.text.safe import abridged, clean, counted, joined, wrapped
from pytest_servebench.text.tables import Cell, Column, Line, line, table

COLUMNS: Final = (
    Column("", right=False, shrinks=24),
    Column("verdict", right=False),
    Column("capacity/s"),
    Column("from"),
    Column("to"),
    Column("first broken", right=False, expendable=1),
    Column("probes", expendable=3),
    Column("seconds", expendable=2),
)
_LONGEST: Final = 60  # characters of parameters
STAGES: Final = {"ladder": "ladder", "estimate": "around it", "recovery": "low again"}
SLOWER: Final = "machine slower by"
STATES: Final = {"disturbed": "disturbed", "invalid": "invalid", "died": "server died"}


def capacity_lines(run: Run, width: int) -> list[Line]:
    """Return the table of capacities, and remarks on some; empty without any."""
    lines: list[Line] = []
    for heading, found in blocks(run.capacities):
        lines += [line(text, bold=True, cyan=True) for text in wrapped("", heading, width)]
        lines += table(COLUMNS, rows(found), width)
        lines += [
            line(text)
            for note in (*notes(found), *carried(found))
            for text in wrapped("", note, width, hang=2)
        ]
        lines.append(line(""))
    if left := unfinished_probes(run):
        text = (
            f"{counted(len(left), 'probe')} of a search that was interrupted: "
            f"{joined([f'{significant(case.rate)}/s {case.verdict}' for case in left])}"
        )
        lines += [line(part, yellow=True) for part in wrapped("", text, width)]
    return lines


def blocks(
    capacities: Sequence[CapacityResult],
) -> list[tuple[str, tuple[CapacityResult, ...]]]:
    """Return the capacities with a heading for those of one test and SLO."""
    names = short_labels(function_of(one.nodeid) for one in capacities)
    found: dict[str, list[CapacityResult]] = {}
    for one in capacities:
        limits = " and ".join(clean(limit.clause) for limit in one.limits)
        name = clean(names[function_of(one.nodeid)])
        found.setdefault(f"{name}: highest rate that keeps {limits}", []).append(one)
    return [(heading, tuple(members)) for heading, members in found.items()]


def rows(found: Sequence[CapacityResult]) -> list[list[Cell]]:
    """Return a row for each capacity, of :data:`COLUMNS`."""
    return [_row(one, name) for one, name in zip(found, names(found), strict=True)]


def _row(one: CapacityResult, name: str) -> list[Cell]:
    return [
        Cell(name),
        verdict_cell(one),
        Cell(significant(one.value)),
        Cell(significant(one.low)),
        Cell(significant(one.high)),
        Cell(clean(one.limiting) or MISSING),
        Cell(str(len(one.probes))),
        Cell(compact(one.seconds, 0)),
    ]


def names(found: Sequence[CapacityResult]) -> list[str]:
    """Return what to call each capacity: its server, and what else distinguishes it."""
    titles = server_titles(found)
    several = len({one.sizes for one in found}) > 1
    own = [_own_parameters(one) for one in found]
    parametrized = len(set(own)) > 1
    texts = []
    for one, parameters in zip(found, own, strict=True):
        brackets = f"[{parameters}]" if parametrized and parameters else ""
        parts = [titles[one.server.kind] + brackets]
        parts += [str(one.sizes)] if several else []
        parts += [clean(one.label)] if one.label else []
        texts.append(", ".join(parts))
    return [
        f"{text} #{repeat_of(one)}" if texts.count(text) > 1 else text
        for one, text in zip(found, texts, strict=True)
    ]


def _own_parameters(one: CapacityResult) -> str:
    """Return the rest of a test's id without server, sizes and repeat."""
    server = (one.server.kind, one.server.base_url)
    sizes = (buffer_id(one.buffer_size), rows_id(one.rows))
    ours = (*server, *sizes, f"repeat{repeat_of(one)}")
    return abridged(clean(without(cell_of(one.nodeid), ours)), _LONGEST)


def limited(one: CapacityResult) -> str:
    """Return a capacity with its interval, and of several limits the one that is broken first."""
    first = clean(one.limiting) if len(one.limits) > 1 else ""
    return stated(one) + (f", limited by {first}" if first else "")


def notes(found: Sequence[CapacityResult]) -> list[str]:
    """Return a sentence for each capacity that needs more than its row."""
    texts = []
    for one, name in zip(found, names(found), strict=True):
        if one.reason:
            texts.append(f"{name}: {clean(explained(one))}.")
        texts += [f"{name}: {remark}." for remark in remarks(one)]
    return texts


def carried(found: Sequence[CapacityResult]) -> list[str]:
    """Return a sentence on what each server carries, and one on each pair: which carries more."""
    known = [one for one in found if one.state == "found"]
    if len({one.server.kind for one in known}) < 2:
        return []
    called = dict(zip(map(id, found), names(found), strict=True))
    ranked = sorted(known, key=lambda one: -(one.value or 0.0))
    lines = [f"{', '.join(f'{called[id(one)]} carries {stated(one)}' for one in ranked)}."]
    for pair in contests(found):
        ratio = pair.ratio
        text = (
            f"{called[id(pair.better)]} carries {significant(ratio.value)} times as much as "
            f"{called[id(pair.other)]} ({significant(ratio.low)} to {significant(ratio.high)})"
        )
        lines.append(f"{text}." if pair.decided else f"{text}, which may be chance.")
    return lines


def remarks(one: CapacityResult) -> list[str]:
    """Return the remarks on a search."""
    found = [recovery(one)] if one.slow_recovery else []
    return [*found, *filter(None, (disturbed(one), at_one_speed(one)))]


def recovery(one: CapacityResult) -> str:
    """Return how slowly a server recovered from an overload."""
    slow = "recovers slowly: after an overload it broke the SLO at a low rate that it had kept"
    if one.recovery_seconds is None:
        return f"{slow}, and did not keep it again during the search"
    return f"{slow}, until it had rested for {significant(one.recovery_seconds)} s"


def disturbed(one: CapacityResult) -> str:
    """Return in how many probes other programs ran, and whether those count; otherwise empty."""
    found = [probe for probe in one.probes if probe.state == "disturbed"]
    if not found:
        return ""
    text = (
        "other programs or guests of the host used the server's processors during "
        f"{len(found)} of {counted(len(one.probes), 'probe')}"
    )
    if any(probe.used for probe in found):
        return f"{text}, and may carry more without them: search again while nothing else runs"
    return f"{text}, which do not count"


def at_one_speed(one: CapacityResult) -> str:
    """Return by how much the machine's speed varied, if it was allowed for; otherwise empty."""
    slowdowns = one.slowdowns
    if not slowdowns:
        return ""
    varied = max(slowdowns) / min(slowdowns) - 1
    text = (
        f"the machine's speed varied by {percent(varied, 0)} % between {len(slowdowns)} probes, "
        "as the CPU time of generator and server per request shows; the capacity is that at the "
        "median speed"
    )
    far = sum(probe.slowdown is not None and not probe.used for probe in one.probes)
    more = f". {counted(far, 'probe')} at a very different speed do not count" if far else ""
    return f"{text}{more}"


def from_queue(one: CapacityResult) -> str:
    """Return that the interval also rests on service times, if it does; otherwise empty."""
    if one.expected is None:
        return ""
    return (
        f"a queue with the service times of the probes has {significant(one.expected)}/s; the "
        "interval also rests on it"
    )


def unfinished_probes(run: Run) -> list[CaseResult]:
    """Return the probes of searches that were interrupted before they found anything."""
    known = {(one.nodeid, probe.label) for one in run.capacities for probe in one.probes}
    return [case for case in run.probes if (case.nodeid, case.label) not in known]


def probe_lines(one: CapacityResult, name: str, width: int) -> list[Line]:
    """Return everything about one search: its interval, its clauses and its probes."""
    facts = [("capacity", stated(one)), *((c.verdict, clean(c.message)) for c in one.clauses)]
    facts += [("", f"{clean(one.reason)}.")] if one.reason and not one.clauses else []
    facts += [("", f"{name} {recovery(one)}.")] if one.slow_recovery else []
    facts += [("beside", f"{beside}.")] if (beside := disturbed(one)) else []
    facts += [("machine", f"{speed}.")] if (speed := at_one_speed(one)) else []
    facts += [("queue", f"{queue}.")] if (queue := from_queue(one)) else []
    facts.append(
        (
            "search",
            f"{significant(one.seconds)} s of at most {significant(one.budget)} s, rates from "
            f"{significant(one.lowest)} to {significant(one.highest)}/s; {one.sizes}, "
            f"{workers_text(str(one.workers), [one.streams])}, seed {one.seed}",
        )
    )
    lines = [line(text) for text in wrapped("", clean(one.name), width)]
    lines += [
        line(text)
        for label, content in facts
        for text in wrapped(f"{label:<17} ", content, width, indent=2)
    ]
    columns = [
        Column("  probe", right=False, shrinks=16), Column("rate/s"), Column("for", right=False),
        Column("requests"), *(Column(f"broke {clean(limit.clause)}") for limit in one.limits),
        *([Column(SLOWER, expendable=2)] if one.slowdowns else []),
        Column("counts", right=False, expendable=1),
    ]  # fmt: skip
    return [*lines, *table(columns, [_probe_row(one, probe) for probe in one.probes], width)]


def _probe_row(one: CapacityResult, probe: CapacityProbe) -> list[Cell]:
    counted = "yes" if probe.used else STATES.get(probe.state, "no")
    return [
        Cell(f"  {clean(probe.label) or 'not measured'}"),
        Cell(significant(probe.rate)),
        Cell(STAGES[probe.stage]),
        Cell(compact(probe.arrivals, 0)),
        *map(Cell, shares(one, probe)),
        *map(Cell, slower(one, probe)),
        Cell(counted),
    ]


def slower(one: CapacityResult, probe: CapacityProbe) -> list[str]:
    """Return how much slower the machine was in a probe; nothing if unknown for all."""
    if not one.slowdowns:
        return []
    return [MISSING if probe.slowdown is None else f"{100 * (probe.slowdown - 1):+.0f} %"]


def shares(one: CapacityResult, probe: CapacityProbe) -> list[str]:
    """Return what share of a probe's requests broke each limit."""
    if not probe.beyond:
        return [MISSING] * len(one.limits)
    return [
        f"{percent(number / counted, 2)} %" if counted else MISSING
        for number, counted in zip(probe.beyond, probe.counted, strict=True)
    ]
