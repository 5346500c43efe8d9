"""False alarms of gates on simulated pairs of runs, and whether gates detect a slower server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final

from benchmarks import plotting
from benchmarks.parts import Bar, Data
from benchmarks.rounds import say
from benchmarks.settings import Settings
from pytest_servebench.analysis.changes import changes_of
from pytest_servebench.analysis.compare import TAIL, compare, fails
from pytest_servebench.analysis.machine_effects import STEADY
from pytest_servebench.analysis.pairs import match
from pytest_servebench.analysis.plan import requests_for
from pytest_servebench.analysis.precision import Known, assumed, measured
from pytest_servebench.analysis.request_shifts import records_of, request_shifts
from pytest_servebench.commands.plan import SHOWN
from pytest_servebench.objectives.gates import Gate, parse_gates
from pytest_servebench.runs.results import Run
from simulation.pairs import KINDS, Kind, pair_of_runs
from simulation.queues import LAWS, Law

NAME = "gates"
TITLE = "Gates: false alarms, and changes that they find"
GATES: Final = ("p50:5%", "p90:10%", "p95:10%", "p99:10%", "mean:5%")
MOST_ALARMS: Final = 0.01
LEAST_FOUND: Final = 0.95

PAIRS: Final = 40
"""Pairs of identical runs for each kind, load and way to draw the arrivals, half of each length."""
LOADS: Final = (0.3, 0.6, 0.8)
NUMBERS: Final = (1000, 1250)
_ENOUGH: Final = 1000  # pairs to judge false alarms by

TAILS: Final = ("p95:10%", "p99:10%")
QUARTER: Final = 1.25
QUARTER_PAIRS: Final = 30
QUARTER_LOADS: Final = (0.3, 0.4)
QUARTER_NUMBER: Final = 1250
USUAL: Final[tuple[Kind, ...]] = ("M/M/1", "M/D/1", "M/G/1", "lognormal")
"""Queues that the power is judged by: pauses and bursts hide any change of the tail."""
LEAST_CAUGHT: Final = 0.5

SLOWER: Final = 1.2
PLANNED_GATES: Final = ("p50:5%", "p95:10%", "p99:10%")
PLANNED_PAIRS: Final = 12
PLANNED_LOADS: Final = (0.1, 0.3)
PILOT: Final = 5000
"""Requests of the earlier run that a plan is based on, if any."""
_LONGEST: Final = 30_000


def run(settings: Settings) -> Data:
    """Simulate all pairs."""
    pairs, quarter, planned = (4, 4, 4) if settings.quick else (PAIRS, QUARTER_PAIRS, PLANNED_PAIRS)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        tasks = {
            "same": [
                pool.submit(same, kind, load, common, pairs)
                for kind in KINDS
                for load in LOADS
                for common in (True, False)
            ],
            "body": [pool.submit(body, kind, pairs) for kind in KINDS],
            "quarter": [
                pool.submit(quarter_more, kind, load, quarter)
                for kind in KINDS
                for load in QUARTER_LOADS
            ],
            "slower": [
                pool.submit(slower, law, load, gate, planned, of)
                for law in LAWS
                for load in PLANNED_LOADS
                for gate in PLANNED_GATES
                for of in ("assumptions", "an earlier run")
                if law == "M/M/1" or of != "assumptions"  # which assume such a queue
            ],
        }
        return {name: [one.result() for one in found] for name, found in tasks.items()}


def same(kind: Kind, load: float, common: bool, pairs: int) -> dict[str, Any]:
    """Return how often each gate, alone, fails on two runs of one queue."""
    alarms = dict.fromkeys(GATES, 0)
    for seed in range(pairs):
        number = NUMBERS[seed % len(NUMBERS)]
        _count(alarms, *pair_of_runs(kind, load, number, seed, common=common))
    say(NAME, kind, load, common, alarms)
    return {"kind": kind, "load": load, "common": common, "pairs": pairs, "alarms": alarms}


def body(kind: Kind, pairs: int) -> dict[str, Any]:
    """Return how often each gate fails where only latencies below p90 became longer."""
    failed = dict.fromkeys(GATES, 0)
    for seed in range(pairs):
        runs = pair_of_runs(kind, 0.3, QUARTER_NUMBER, 20_000 + seed, body=QUARTER)
        _count(failed, *runs)
    say(NAME, "body", kind, failed)
    return {"kind": kind, "pairs": pairs, "failed": failed}


def quarter_more(kind: Kind, load: float, pairs: int) -> dict[str, Any]:
    """Return how often each gate finds that each service takes 1.25 times as long."""
    found = dict.fromkeys(GATES, 0)
    tails, together, worse = 0, 0, []
    for seed in range(pairs):
        base, new = pair_of_runs(kind, load, QUARTER_NUMBER, 30_000 + seed, slower=QUARTER)
        failed = _count(found, base, new)
        tails += any(text in failed for text in TAILS)
        together += compare(base, new, parse_gates(",".join(TAILS))).worse
        p99 = [run.cases[0].summary.estimates["p99"].value or 0.0 for run in (base, new)]
        worse.append(p99[1] / p99[0])
    say(NAME, "quarter", kind, load, found, tails, together)
    return {"kind": kind, "load": load, "pairs": pairs, "found": found, "tails": tails,
            "together": together, "worse": sorted(worse)}  # fmt: skip


def _count(counts: dict[str, int], base: Run, new: Run) -> list[str]:
    """Add which gates fail, each as the only one, and return them."""
    gates = {text: parse_gates(text)[0] for text in counts}
    (pair,) = match(base, new)
    thresholds = {gate.metric: gate.threshold for gate in gates.values()}
    shifts = request_shifts(*records_of(pair, (None, None)))
    changes = changes_of(pair, shifts, thresholds, TAIL, STEADY)
    failed = [text for text, gate in gates.items() if fails(gate, changes[gate.metric])]
    for text in failed:
        counts[text] += 1
    return failed


def slower(law: Law, load: float, text: str, pairs: int, planned: str) -> dict[str, Any]:
    """Return how often a gate detects that services take 1.2 times as long.

    :mod:`pytest_servebench.analysis.plan` gives the length of each pair for this change, from its
    assumptions or from a run of :data:`PILOT` requests, a new one for each pair.
    """
    (gate,) = parse_gates(text)
    lengths, found, left_out = [], 0, 0
    for seed in range(pairs):
        number = _planned(law, load, gate, seed, planned)
        if number is None or number > _LONGEST:
            left_out += 1
            continue
        base, new = pair_of_runs(law, load, number, 10_000 + seed, slower=SLOWER)
        lengths.append(number)
        found += compare(base, new, [gate]).worse
    say(NAME, law, load, text, planned, found, len(lengths), lengths[:3])
    return {"law": law, "load": load, "gate": text, "planned": planned, "pairs": len(lengths),
            "found": found, "left_out": left_out, "requests": sorted(lengths)}  # fmt: skip


def _planned(law: Law, load: float, gate: Gate, seed: int, planned: str) -> int | None:
    known: Known | None = assumed(gate.metric, load, load)
    if planned != "assumptions":
        pilot, _ = pair_of_runs(law, load, PILOT, 50_000 + seed)
        known = measured(gate.metric, pilot.cases, load)
    assert known is not None
    return requests_for(gate.metric, known, SLOWER - 1, SHOWN)


# -- words ----------------------------------------------------------------------------------------


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: peers do not compare runs."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Compare false alarms and power with the targets."""
    pairs = sum(one["pairs"] for one in data["same"])
    result = [
        alarms_bar(
            f"{pairs:,} simulated pairs",
            text,
            sum(one["alarms"][text] for one in data["same"]),
            pairs,
            _ENOUGH,
        )
        for text in GATES
    ]
    tried = sum(one["pairs"] for one in data["body"])
    for text in TAILS:
        failed = sum(one["failed"][text] for one in data["body"])
        words = f"{tried:,} simulated pairs of which only latencies below p90 differ"
        result.append(alarms_bar(words, text, failed, tried, _ENOUGH // 4))
    usual = [one for one in data["quarter"] if one["kind"] in USUAL]
    tried = sum(one["pairs"] for one in usual)
    caught = sum(one["tails"] for one in usual) / max(tried, 1)
    either = " or ".join(f"`{text}`" for text in TAILS)
    result.append(Bar(
        f"share of {tried:,} simulated pairs ({', '.join(USUAL)}) of {QUARTER_NUMBER:,} requests "
        f"in which a server {QUARTER:g} times as slow fails {either}",
        f"{100 * caught:.0f} %", f">= {100 * LEAST_CAUGHT:.0f} %",
        caught >= LEAST_CAUGHT if tried >= QUARTER_PAIRS else None,
    ))  # fmt: skip
    tried = sum(one["pairs"] for one in data["slower"])
    shares = [one["found"] / one["pairs"] for one in data["slower"] if one["pairs"]]
    found = sum(one["found"] for one in data["slower"]) / max(tried, 1)
    result.append(Bar(
        f"share of {tried:,} simulated pairs of the planned length in which a server {SLOWER:g} "
        "times as slow fails the gate",
        f"{100 * found:.1f} % (worst combination {100 * min(shares, default=0):.0f} %)",
        f">= {100 * LEAST_FOUND:.0f} %", found >= LEAST_FOUND if tried >= 100 else None,
    ))  # fmt: skip
    return result


def alarms_bar(words: str, text: str, alarms: int, pairs: int, enough: int) -> Bar:
    """Compare false alarms of one gate with the target, from ``enough`` pairs on."""
    share = alarms / max(pairs, 1)
    return Bar(
        f"false alarms of `compare --fail {text}`, {words}",
        f"{alarms} ({100 * share:.2f} %)",
        f"<= {100 * MOST_ALARMS:.0f} %",
        share <= MOST_ALARMS if pairs >= enough else None,
    )


def section(data: Data) -> str:
    """Return the tables."""
    same_rows = [
        [one["kind"], f"{one['load']:g}", "the same" if one["common"] else "others",
         f"{one['pairs']}", *(str(one["alarms"][text]) for text in GATES)]
        for one in data["same"]
    ]  # fmt: skip
    body_rows = [
        [one["kind"], f"{one['pairs']}", *(str(one["failed"][text]) for text in GATES)]
        for one in data["body"]
    ]
    quarter_rows = [
        [one["kind"], f"{one['load']:g}", f"{one['pairs']}",
         f"{100 * (_median(one['worse']) - 1):.0f} %",
         *(_percent(one["found"][text], one["pairs"]) for text in GATES),
         _percent(one["tails"], one["pairs"]), _percent(one["together"], one["pairs"])]
        for one in data["quarter"]
    ]  # fmt: skip
    slower_rows = [
        [one["law"], f"{one['load']:g}", one["gate"], one["planned"], _lengths(one),
         f"{one['found']} of {one['pairs']}", str(one["left_out"])]
        for one in data["slower"]
    ]  # fmt: skip
    lengths = " or ".join(f"{number:,}" for number in NUMBERS)
    either = " or ".join(TAILS)
    return "\n\n".join([
        f"**Identical pairs.** Two runs of the same simulated queue, {lengths} requests each, with "
        "the same arrivals or with others: how often each gate fails on its own. Pauses: one "
        "service in 200 takes 20 times as long. MMPP: arrivals at 1.5 or 0.5 times their mean "
        "rate, in turn.",
        plotting.table(["queue", "load", "arrivals", "pairs", *GATES], same_rows),
        f"**Only the body slower.** Latencies below p90 take up to {QUARTER:g} times as long, "
        f"those beyond are of an identical queue: load 0.3, {QUARTER_NUMBER:,} requests.",
        plotting.table(["queue", "pairs", *GATES], body_rows),
        f"**A server that takes {QUARTER:g} times as long**, {QUARTER_NUMBER:,} requests, the same "
        "arrivals: the share of the pairs in which each gate on its own fails; in which one of "
        f"{either} does, each on its own; and both at once, sharing the error.",
        plotting.table(
            ["queue", "load", "pairs", "p99, median", *GATES, either, "both at once"], quarter_rows
        ),
        f"**As long as planned.** Services take {SLOWER:g} times as long, at the same arrivals. "
        "One run per side, as long as `pytest-servebench plan --change 20%` says for this metric: "
        f"from its assumptions, given the load, or from a run of {PILOT:,} requests, a new one for "
        f"each pair. Plans of more than {_LONGEST:,} requests were skipped.",
        plotting.table(
            ["queue", "load", "gate", "plan from", "requests, median (min to max)", "detected",
             "skipped"],
            slower_rows,
        ),
    ])  # fmt: skip


def _percent(count: int, of: int) -> str:
    return f"{100 * count / max(of, 1):.0f} %"


def _median(values: Sequence[float]) -> float:
    return values[len(values) // 2]


def _lengths(one: Mapping[str, Any]) -> str:
    numbers = one["requests"]
    if not numbers:
        return "–"
    return f"{_median(numbers):,} ({numbers[0]:,} to {numbers[-1]:,})"
