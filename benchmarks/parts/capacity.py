"""The highest rate that a load generator sustains on one core."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks import measure, plotting, stats
from benchmarks.parts import Bar, Data
from benchmarks.peers import Peer
from benchmarks.peers.registry import BY_NAME, OURS, PLACE, available
from benchmarks.rounds import rounds, say
from benchmarks.settings import Settings
from benchmarks.targets import nginx

NAME = "capacity"
TITLE = "Highest rate held on one core"
BAR: Final = 30_000
"""Our target, which is a step of the ladder."""
STEP: Final = 1.2
MAX_LAG: Final = 1_000.0
"""Limit of the p99 lag in µs."""
CONNECTIONS: Final = 256
"""More than elsewhere: at 30,000/s a server pause of 3 ms uses up a hundred."""
_SECONDS: Final = 2.0
_SETTLE: Final = 0.7
_TRIES: Final = 2
"""A failed step is retried once: something else may have used the machine for a moment."""
_STRIDE: Final = 4
"""Stride of the first, coarse search in rungs: a factor of two."""
_LOWEST: Final = 50
_COLUMNS: Final = {
    "held": "highest rate held on one core /s",
    "prompt": "of that with p99 lag under 1 ms /s",
}


def run(settings: Settings) -> Data:
    """Search for the highest rate of every open-loop peer."""
    peers = [peer for peer in available(settings.only) if peer.open_loop]
    runs = []
    known: dict[tuple[str, str], int] = {}
    for number, peer in rounds(settings, peers):
        steps: dict[int, dict[str, Any]] = {}
        one = {"peer": peer.name, "place": PLACE[peer.name], "repeat": number}
        for way in _COLUMNS if peer.tells else ("held",):
            # Each round starts where the last one ended; the first at a rate the peer handles well.
            start = known.get((peer.name, way), _rung_below(peer.top_rate))
            stride = 1 if (peer.name, way) in known else _STRIDE
            place = _search(_Climber(peer, way, number, settings, steps), start, stride)
            if place is not None:
                known[peer.name, way] = place
            one[way] = None if place is None else rung(place)
            at = {} if place is None else steps[place]
            one[f"{way}_at"] = {key: at.get(key) for key in ("p99", "threads", "cpu", "rate")}
        one["steps"] = [steps[place] for place in sorted(steps)]
        say(NAME, number + 1, {key: value for key, value in one.items() if key != "steps"})
        runs.append(one)
    return {"runs": runs, "body_bytes": settings.body_bytes, "cores": len(os.sched_getaffinity(0))}


def rung(number: int) -> int:
    """Return a rate of the ladder; rung 0 is our target."""
    return round(BAR * STEP**number)


def _rung_below(rate: float) -> int:
    return math.floor(math.log(rate / BAR) / math.log(STEP))


@dataclass(frozen=True)
class _Climber:
    """One peer in one round: ``steps`` has the result of each rung."""

    peer: Peer
    way: str
    number: int
    settings: Settings
    steps: dict[int, dict[str, Any]]

    def passes(self, place: int) -> bool:
        """Return whether the peer holds a rung, in one of its tries."""
        for attempt in range(_TRIES):
            known = self.steps.get(place)
            if known is None or attempt > 0:
                seed = self.number * _TRIES + attempt
                step = _measure(self.peer, rung(place), seed, self.settings)
                # The better of two tries is kept.
                if known is None or (not step["prompt"], not step["held"]) <= (
                    not known["prompt"], not known["held"]
                ):  # fmt: skip
                    self.steps[place] = known = step
            if known[self.way]:
                return True
        return False


def _search(climber: _Climber, start: int, stride: int) -> int | None:
    """Return the highest rung that the peer holds, or ``None``."""
    place = start
    if climber.passes(place):
        while climber.passes(place + stride):
            place += stride
        good, bad = place, place + stride
    else:
        while not climber.passes(place - stride):
            place -= stride
            if rung(place) < _LOWEST:
                return None
        good, bad = place - stride, place
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if climber.passes(middle) else (good, middle)
    return good


def _measure(peer: Peer, rate: int, seed: int, settings: Settings) -> dict[str, Any]:
    cores = sorted(os.sched_getaffinity(0))
    # If there are two cores, the generator gets one and nginx the other.
    generator, server = (cores[-1:], cores[:1]) if len(cores) > 1 else (None, None)
    short = Settings(settle=_SETTLE, seconds=_SECONDS, body_bytes=settings.body_bytes)
    try:
        with measure.scratch() as directory, nginx.serve(directory, server) as target:
            job = measure.make_job(
                directory, short, port=target.port, rate=rate, seconds=short.load_seconds,
                connections=CONNECTIONS, seed=seed, stamps=peer.tells,
            )  # fmt: skip
            window = measure.run_with_window(peer, job, target, short, generator)
            stamps, told = peer.stamps(job) if peer.tells else None, peer.told(job)
    except measure.MeasurementError as error:
        return {"offered": rate, "held": False, "prompt": False, "why": str(error)[:200]}
    step: dict[str, Any] = {
        "offered": rate, "rate": window.rate, "threads": window.threads,
        "cpu": window.cpu_per_request, "dropped": told.get("dropped", 0),
        "held": measure.held(window.rate, rate, window.seconds) and not told.get("dropped"),
        "prompt": False,
    }  # fmt: skip
    if peer.tells and stamps is not None:
        p99 = stats.lag_figures(stamps.lag(short.settle, short.seconds)).get("p99")
        step |= {"p99": p99, "unaccounted": stamps.unaccounted}
        step["held"] = step["held"] and not stamps.unaccounted
        step["prompt"] = step["held"] and p99 is not None and p99 < MAX_LAG
    return step


def _highest(data: Data, peer: str, way: str) -> stats.Spread | None:
    return stats.spread(one.get(way) for one in stats.select(data["runs"], peer=peer))


def _there(data: Data, peer: str, way: str, key: str) -> stats.Spread | None:
    runs = stats.select(data["runs"], peer=peer)
    return stats.spread(one.get(f"{way}_at", {}).get(key) for one in runs)


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return the highest rates."""
    return {
        heading: {
            peer: _cell(data, peer, way, BY_NAME[peer].tells) for peer in stats.names(data["runs"])
        }
        for way, heading in _COLUMNS.items()
    }


def _cell(data: Data, peer: str, way: str, tells: bool) -> str:
    if way == "prompt" and not tells:
        return "not reported"
    highest = _highest(data, peer, way)
    return f"none from {_LOWEST}/s" if highest is None else highest.text("{:,.0f}")


def bars(data: Data) -> Sequence[Bar]:
    """Compare our highest rate with the target."""
    what = (
        "our highest rate from one generator process on one core, every request recorded and "
        "accounted for"
    )
    highest, threads = _highest(data, OURS, "held"), _there(data, OURS, "held", "threads")
    if highest is None or threads is None:
        return [Bar(what, "not measured", f"≥ {BAR:,}/s, one thread", None)]
    figure = f"{highest.text('{:,.0f}')}/s, active threads: {threads.text()}"
    reached = highest.median >= BAR and threads.median <= 1
    return [Bar(what, figure, f"≥ {BAR:,}/s, one thread", reached)]


def section(data: Data) -> str:
    """Return the table and the plot."""
    rows = []
    peers = stats.names(data["runs"])
    for peer in peers:
        tells = BY_NAME[peer].tells
        rows.append([
            peer,
            *(_cell(data, peer, way, tells) for way in _COLUMNS),
            stats.text(_there(data, peer, "held", "p99"), "{:,.0f}"),
            stats.text(_there(data, peer, "held", "cpu"), "{:.1f}"),
            stats.text(_there(data, peer, "held", "threads")),
            str(len(stats.select(data["runs"], peer=peer))),
        ])  # fmt: skip
    pinned = (
        "The generator's process tree is pinned to one core, nginx to another."
        if data["cores"] > 1
        else "Generator and nginx share the only core."
    )
    return "\n\n".join([
        f"{pinned} Rates form a ladder in steps of {STEP - 1:.0%} through {BAR:,}/s, "
        f"{_SECONDS:g} s each: first in strides of four steps, then by bisection. "
        f"{measure.HELD_IN_WORDS} No arrival may be dropped (reported by k6) or unaccounted for "
        "(reported by all others except Locust). A failed step is retried once. Bodies have "
        f"{data['body_bytes']:,} bytes, and every peer {CONNECTIONS} connections; waiting for a "
        "free connection counts as lag.",
        plotting.table(["peer", *_COLUMNS.values(), "p99 lag µs at the highest",
                        "CPU µs per request there", "active threads", "rounds"], rows),
        plotting.grouped_bars(
            "capacity", ["held", "held with p99 lag under 1 ms"],
            {peer: [_highest(data, peer, way) for way in _COLUMNS] for peer in peers},
            label="highest rate on one core, requests per second", log=True,
            line=("our target", BAR),
        ),
    ])  # fmt: skip
