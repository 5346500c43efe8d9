"""Search for the highest rate that a peer holds, on a ladder of rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import measure, stats
from benchmarks.peers import Peer
from benchmarks.peers.registry import PLACE
from benchmarks.rounds import rounds, say
from benchmarks.settings import Settings

STEP: Final = 1.2
MAX_LAG: Final = 1_000.0
"""Limit of the p99 lag in µs."""
CONNECTIONS: Final = 256
"""More than in other parts: at 30,000/s, a server pause of 3 ms occupies a hundred connections."""
SECONDS: Final = 2.0
LOWEST: Final = 50
WAYS: Final = ("held", "prompt")
"""The rate is held; and the p99 lag is below its limit too."""
_SETTLE: Final = 0.7
_TRIES: Final = 2
"""A failed step is retried once: other work may have disturbed it for a moment."""
_STRIDE: Final = 4
"""Stride of the first, coarse search in rungs: a factor of two."""

Serve = Callable[[Peer, Path, Sequence[int] | None], AbstractContextManager[measure.Server]]
"""Runs the server for a peer: files in a directory, on some processors."""


@dataclass(frozen=True)
class Ladder:
    """A ladder of rates.

    Attributes:
        name: of the part.
        bar: rung 0, requests a second.
        serve: runs the server.
        settings: of the run.
        ways: those of :data:`WAYS` to search for.
    """

    name: str
    bar: int
    serve: Serve
    settings: Settings
    ways: Sequence[str] = WAYS

    def rung(self, number: int) -> int:
        """Return a rate."""
        return round(self.bar * STEP**number)

    def climb(self, peers: Sequence[Peer]) -> list[dict[str, Any]]:
        """Return the highest rates of every peer in every round."""
        runs = []
        known: dict[tuple[str, str], int] = {}
        for number, peer in rounds(self.settings, peers):
            steps: dict[int, dict[str, Any]] = {}
            one = {"peer": peer.name, "place": PLACE[peer.name], "repeat": number}
            for way in self.ways if peer.tells else ("held",):
                # Each round starts where the last one ended; the first at a rate that the peer
                # handles well.
                start = known.get((peer.name, way), self._rung_below(peer.top_rate))
                stride = 1 if (peer.name, way) in known else _STRIDE
                place = _Climber(self, peer, way, number, steps).search(start, stride)
                if place is not None:
                    known[peer.name, way] = place
                one[way] = None if place is None else self.rung(place)
                at = {} if place is None else steps[place]
                one[f"{way}_at"] = {key: at.get(key) for key in ("p99", "threads", "cpu", "rate")}
            one["steps"] = [steps[place] for place in sorted(steps)]
            say(self.name, number + 1, {key: one[key] for key in one if key != "steps"})
            runs.append(one)
        return runs

    def _rung_below(self, rate: float) -> int:
        return math.floor(math.log(rate / self.bar) / math.log(STEP))

    def measure(self, peer: Peer, rate: int, seed: int) -> dict[str, Any]:
        """Return how a peer does at a rate."""
        generator, server = measure.apart()
        short = Settings(
            settle=_SETTLE, seconds=SECONDS, body_bytes=self.settings.body_bytes
        )  # fmt: skip
        try:
            with measure.scratch() as directory, self.serve(peer, directory, server) as target:
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


@dataclass(frozen=True)
class _Climber:
    """One peer in one round: ``steps`` has the result of each rung."""

    ladder: Ladder
    peer: Peer
    way: str
    number: int
    steps: dict[int, dict[str, Any]]

    def _passes(self, place: int) -> bool:
        """Return whether the peer holds a rung, in one of its tries."""
        for attempt in range(_TRIES):
            known = self.steps.get(place)
            if known is None or attempt > 0:
                seed = self.number * _TRIES + attempt
                step = self.ladder.measure(self.peer, self.ladder.rung(place), seed)
                # The better of two tries is kept.
                if known is None or (not step["prompt"], not step["held"]) <= (
                    not known["prompt"], not known["held"]
                ):  # fmt: skip
                    self.steps[place] = known = step
            if known[self.way]:
                return True
        return False

    def search(self, start: int, stride: int) -> int | None:
        """Return the highest rung that the peer holds, or ``None``."""
        place = start
        if self._passes(place):
            while self._passes(place + stride):
                place += stride
            good, bad = place, place + stride
        else:
            while not self._passes(place - stride):
                place -= stride
                if self.ladder.rung(place) < LOWEST:
                    return None
            good, bad = place - stride, place
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if self._passes(middle) else (good, middle)
        return good


def highest(runs: Sequence[dict[str, Any]], peer: str, way: str) -> stats.Spread | None:
    """Return the highest rates of a peer."""
    return stats.spread(one.get(way) for one in stats.select(runs, peer=peer))


def there(runs: Sequence[dict[str, Any]], peer: str, way: str, key: str) -> stats.Spread | None:
    """Return a figure at the highest rates of a peer."""
    return stats.spread(one.get(f"{way}_at", {}).get(key) for one in stats.select(runs, peer=peer))


def in_words(bar: int) -> str:
    """Describe the search."""
    return (
        f"Rates form a ladder in steps of {STEP - 1:.0%} through {bar:,}/s, {SECONDS:g} s each: "
        f"first in strides of four steps, then by bisection. {measure.HELD_IN_WORDS} No arrival "
        "may be dropped (reported by k6) or unaccounted for (reported by all others except "
        "Locust). A failed step is retried once."
    )
