"""``pytest-servebench plan``: how long and how often to run a test."""

import argparse
import dataclasses
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from pytest_servebench.analysis.plan import (
    MOST_REPEATS,
    POWER,
    CasePlan,
    Detectable,
    Needed,
    plan_case,
)
from pytest_servebench.commands.arguments import (
    Commands,
    add_results,
    number,
    results_of,
    say_left_out,
    whole,
)
from pytest_servebench.errors import OptionError
from pytest_servebench.load.classes import unknown_class
from pytest_servebench.metrics import METRICS, POINTS
from pytest_servebench.objectives.slo import parse_slo
from pytest_servebench.objectives.slo_grammar import Clause
from pytest_servebench.runs.node_ids import function_of, labelled
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.runs.run_json import read_file
from pytest_servebench.runs.run_names import find_run
from pytest_servebench.text.quantity import quantity
from pytest_servebench.text.safe import clean, wrapped
from pytest_servebench.text.tables import Cell, Column, plain_text, table

SHOWN: Final = sum(not metrics[-1].of_server for metrics in POINTS.values())
"""Verdicts that a comparison gives per case: p50, tail, throughput and success rate."""

_WIDTH: Final = 88
_ANY_WIDTH: Final = 10_000  # of tables: their columns are few
_PERCENT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*%\s*", re.ASCII)
_Group = tuple[float, str, tuple[CaseResult, ...]]  # rate, name for people, repeats


def add_parser(commands: Commands) -> None:
    """Add the command to those of the command line."""
    parser = commands.add_parser(
        "plan",
        help="how long and how often to run for a conclusive SLO verdict",
        description="Say how long a case must run for its SLO to pass or fail, rather than be "
        f"inconclusive, in {POWER:.0%} of the runs, and which changes a comparison of two such "
        "runs can detect. Without --run this rests on assumptions, which the output states.",
    )
    parser.add_argument(
        "--slo", action="append", required=True, metavar="SLO",
        help="such as 'p99<50ms'; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--rate", action="append", metavar="R",
        help="requests per second; may be repeated (default: the rates of --run)",
    )  # fmt: skip
    parser.add_argument(
        "--run", dest="past", metavar="RUN",
        help="an earlier run, whose values and intervals replace the assumptions",
    )  # fmt: skip
    parser.add_argument(
        "--load", default="0.6", metavar="SHARE",
        help="assumed utilization of the server (default: 0.6); with --run, used only if that run "
        "had too few requests",
    )  # fmt: skip
    parser.add_argument(
        "--margin", default="20%", metavar="PERCENT",
        help="assumed distance of latencies from their bounds (default: 20%%); with --run, the "
        "measured distance counts",
    )  # fmt: skip
    parser.add_argument(
        "--repeats", default="1", metavar="N", help="runs on each side of a comparison (default: 1)"
    )
    parser.add_argument(
        "--change", default="10%", metavar="PERCENT",
        help="change that a comparison should detect (default: 10%%; for shares, points)",
    )  # fmt: skip
    add_results(parser, "where to look up --run by name")
    parser.add_argument(
        "--format",
        choices=("table", "json"),
        default="table",
        help="output format (default: table)",
    )


def run(options: argparse.Namespace) -> int:
    """Print the plan and return 0.

    Raises:
        OptionError: the value of an option is invalid.
        SavedRunError: the earlier run cannot be read.
    """
    slo = ", ".join(options.slo)
    clauses = tuple(clause for text in options.slo for clause in parse_slo(text))
    if searched := [str(one) for one in clauses if one.of_search]:
        raise OptionError(f"--slo={searched[0]}: find_capacity searches for it, in the time of "
                          "--servebench-capacity-budget; leave it out")  # fmt: skip
    load = number("load", options.load, "0.6", below=1.0)
    margin, change = (_percent(name, getattr(options, name)) for name in ("margin", "change"))
    repeats = whole("repeats", options.repeats, 1, MOST_REPEATS, "5")
    groups = _with_classes(_groups(options.rate, _past(options)), clauses)
    parts = sum(len(cases[0].classes) for _, _, cases in groups if cases)
    statements = SHOWN * (len(groups) + parts)
    plans = [
        plan_case(
            clauses, rate, cases, case=name, load=load, margin=margin, repeats=repeats,
            change=change, statements=statements,
        )
        for rate, name, cases in groups
    ]  # fmt: skip
    asked = {
        "slo": slo, "load": load, "margin": margin, "repeats": repeats, "change": change,
        "statements": statements, "power": POWER,
    }  # fmt: skip
    if options.format == "json":
        print(json.dumps({"asked": asked, "plans": [_plain(one) for one in plans]}, indent=2))
    else:
        print("\n\n".join(_text(one, clauses, asked) for one in plans))
    return 0


def _plain(plan: CasePlan) -> dict[str, object]:
    soonest = plan.soonest
    data = {**dataclasses.asdict(plan), "soonest": soonest.metric if soonest else None}
    for part in (*data["needed"], *data["detectable"]):
        for key, value in part.items():
            if isinstance(value, float) and not math.isfinite(value):
                part[key] = None  # JSON has no infinity
    return data


# -- what was asked -------------------------------------------------------------------------------


def _percent(option: str, text: str) -> float:
    match = _PERCENT.fullmatch(text)
    value = float(match[1]) / 100 if match else 0.0
    if not 0 < value < math.inf:
        raise OptionError(f"--{option}={text!r}: give a percentage above 0, such as 10%")
    return value


def _past(options: argparse.Namespace) -> Path | None:
    return None if options.past is None else find_run(options.past, results_of(options))


def _groups(rates: Sequence[str] | None, past: Path | None) -> list[_Group]:
    """Return what to plan for: the requested rates, each with the run's cases at this rate."""
    wanted = [number("rate", text, "10") for text in rates or ()]
    if past is None:
        if not wanted:
            raise OptionError("give a rate, such as --rate=10, or an earlier run by --run")
        return [(rate, "", ()) for rate in dict.fromkeys(wanted)]
    cells = _cells(past)
    there = sorted({rate for rate, _, _ in cells})
    for rate in wanted:
        if rate not in there:
            raise OptionError(
                f"--rate={rate:g}: {past} has valid cases only at {_listed(there)}/s; "
                f"choose one of these, measure {rate:g}, or drop --run"
            )
    return [cell for cell in cells if not wanted or cell[0] in wanted]


def _cells(past: Path) -> list[_Group]:
    """Return the valid cases of a saved run, grouped by repeats.

    Raises:
        SavedRunError: it cannot be read.
        OptionError: no case is valid.
    """
    groups: dict[tuple[float, str, str], list[CaseResult]] = {}
    saved, _ = read_file(past)
    say_left_out(past, saved)
    for case in saved.cases:
        if case.invalid_reason is None and case.rate > 0:  # others had no load
            name = f"{case.server.title}, {case.sizes}"
            test = labelled(function_of(case.nodeid), case.label)
            groups.setdefault((case.rate, name, test), []).append(case)
    several = len({test for _, _, test in groups}) > 1
    if not groups:
        raise OptionError(
            f"--run={str(past)!r}: it has no valid case; run the suite again, or drop --run"
        )
    return [
        (rate, f"{name}, {test}" if several else name, tuple(cases))
        for (rate, name, test), cases in sorted(groups.items(), key=lambda item: item[0])
    ]


def _with_classes(groups: Sequence[_Group], clauses: Sequence[Clause]) -> list[_Group]:
    """Return the groups whose loads have the classes of requests that clauses are about.

    Raises:
        OptionError: none has.
    """
    found = list(groups)
    for clause in clauses:
        if not (name := clause.request_class):
            continue
        if not all(cases for _, _, cases in groups):
            raise OptionError(
                f"--slo={clause}: how many requests a class has is known from a run only: give one "
                f"by --run, or leave {{{name}}} out and give the rate of that class by --rate"
            )
        lacking = [one for one in found if not all(map(partial(_has, name), one[2]))]
        found = [one for one in found if one not in lacking]
        for _, _, cases in lacking:
            case = next(one for one in cases if not _has(name, one))
            reason = unknown_class(name, case.class_names)
            if name in case.class_names:
                reason = f"no request of its class {clean(name)!r} arrived; measure longer"
            if not found:
                raise OptionError(f"--slo={clause}: {clean(case.name)}: {reason}")
            print(f"{clean(case.name)}: left out: {reason}", file=sys.stderr)
    return found


def _has(request_class: str, case: CaseResult) -> bool:
    names = case.class_names
    return request_class in names and case.of_class(request_class).summary.arrivals > 0


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


# -- words ----------------------------------------------------------------------------------------


def _text(plan: CasePlan, clauses: Sequence[Clause], asked: Mapping[str, Any]) -> str:
    title = f"{plan.rate:g} {plan.unit}s/s" + (f", {plan.case}" if plan.case else "")
    rows = [_needed_row(one, clause) for one, clause in zip(plan.needed, clauses, strict=True)]
    runs = "one run" if asked["repeats"] == 1 else f"{asked['repeats']} runs"
    change = f"{100 * asked['change']:g} %"
    shown = [
        [one.name, "measured" if one.measured else "assumed",
         _change(one), _length(one),
         f"> {MOST_REPEATS}" if one.repeats is None else f"{one.repeats}"]
        for one in plan.detectable
    ]  # fmt: skip
    return "\n\n".join(
        [
            title,
            _table(["SLO", "value", "distance", "queueing", "at least", "requests", "time"], rows),
            _table(
                [
                    "change of",
                    "spread",
                    f"detectable, {runs} each",
                    f"{change}: one run each of",
                    f"or {_time(plan.seconds)} x",
                ],
                shown,
            ),
            "\n".join(
                _assumptions(plan, asked) + wrapped("", _advice(plan, clauses, asked), _WIDTH)
            ),
        ]
    )


def _needed_row(one: Needed, clause: Clause) -> list[str]:
    if one.requests == 0:
        return [one.clause, _value(one, clause), "-", "-", "-", "any", "any"]
    share = METRICS[clause.metric].is_share or clause.relative
    away = _percentage(one.distance, share=share)
    factor = "measured" if one.measured else f"x {one.inflation:.3g}"
    ends = ["never", "never"]
    if one.requests is not None and one.seconds is not None:
        ends = [f"{one.requests:,}", _time(one.seconds)]
    return [one.clause, _value(one, clause), away, factor, f"{one.least:,}", *ends]


def _value(one: Needed, clause: Clause) -> str:
    if one.value is None:
        return "?"
    return quantity("share" if clause.relative else clause.kind, one.value)


def _change(one: Detectable) -> str:
    bounded = METRICS[one.metric].kind in ("throughput", "share")  # it cannot lose more than all
    if math.isinf(one.change) or (bounded and one.change > 1):
        return "none"
    return _percentage(one.change, share=METRICS[one.metric].is_share)


def _length(one: Detectable) -> str:
    if one.requests is None or one.seconds is None:
        return "no duration"
    return f"{one.requests:,} ({_time(one.seconds)})"


def _percentage(value: float, *, share: bool) -> str:
    text = f"{100 * value:.3g}" if value < 10 else f"{100 * min(value, 1e9):.0f}"
    return f"{text} {'points' if share else '%'}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    if seconds < 7200:
        return f"{math.ceil(seconds / 60)} min"
    hours = seconds / 3600
    return f"{hours:.3g} h" if hours < 1000 else f"{hours / 24:,.0f} days"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    columns = [Column(text, right=place > 0) for place, text in enumerate(head)]
    lines = table(columns, [[Cell(text) for text in row] for row in rows], _ANY_WIDTH)
    return "\n".join(f"  {plain_text(line)}" for line in lines)


def _assumptions(plan: CasePlan, asked: Mapping[str, Any]) -> list[str]:
    """Return the plan's assumptions, which are not measured."""
    guessed = [one for one in plan.needed if not one.measured and one.requests != 0]
    if not guessed and all(one.measured for one in plan.detectable):
        return []
    unknown = any(one.value is None for one in guessed)
    distance = f", {100 * asked['margin']:g} % from their bounds (--margin)" if unknown else ""
    text = (
        f"exponential latencies{distance}, correlated as in an M/M/1 queue at "
        f"{100 * asked['load']:g} % utilization (--load)"
    )
    if not plan.case:
        text += "; no failed requests; no further variation between runs"
    else:
        text += ", where the run had too few requests to measure this"
    return wrapped("Assumed: ", f"{text}.", _WIDTH)


def _sides(one: Detectable, planned: int) -> str:
    """Return how long a single run per side must be, or how many of ``planned`` seconds."""
    runs = "one run" if one.repeats == 1 else f"{one.repeats} runs"
    several = f"{runs} of {planned} s" if one.repeats is not None else ""
    if one.seconds is None:
        several = several or f"more than {MOST_REPEATS} runs"
        return f"{several} per side: runs differ too much for a single one"
    if one.repeats == 1:
        return f"{several} per side"
    seconds, text = math.ceil(one.seconds), _time(one.seconds)
    alone = f"one run of {seconds} s" + (f" ({text})" if text != f"{seconds} s" else "")
    return f"{alone} per side" + (f", or {several}" if several else "")


def _advice(plan: CasePlan, clauses: Sequence[Clause], asked: Mapping[str, Any]) -> str:
    if all(one.requests == 0 for one in plan.needed):
        return "Any duration will do: each clause is about the run itself."
    never = [one.clause for one in plan.needed if one.requests is None]
    if never and plan.requests == 1:
        return (
            f"No duration decides {', '.join(never)}: the value is at the bound; choose another "
            "bound."
        )
    seconds = math.ceil(plan.seconds)
    # The latency of the SLO, the one that takes longest of several, or the median.
    named = {(clause.metric, clause.request_class) for clause in clauses}
    latencies = [one for one in plan.detectable if METRICS[one.metric].times]
    of_slo = [one for one in latencies if (one.metric, one.request_class) in named]
    compared = max(
        of_slo or latencies[:1], key=lambda one: math.inf if one.seconds is None else one.seconds
    )
    sentence = (
        f"Run it for {seconds} s (--servebench-duration={seconds}): {100 * POWER:.0f} % of such "
        f"runs pass or fail, rather than be inconclusive. To detect {100 * asked['change']:g} % "
        f"more {compared.name}, compare {_sides(compared, seconds)}"
    )
    soonest = plan.soonest
    if soonest is not None and soonest != compared:
        requests, time = soonest.requests or 0, _time(soonest.seconds or 0.0)
        sentence += (
            f". {soonest.name} shows such a change soonest: in {requests:,} "
            f"requests ({time}) per side"
        )
    return f"{sentence}; no duration decides {', '.join(never)}." if never else f"{sentence}."
