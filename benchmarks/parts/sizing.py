"""The sizing model on known servers: predictions beyond the loads that it was fitted to."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks import plotting
from benchmarks.parts import Bar, Data
from benchmarks.rounds import say
from benchmarks.settings import Settings
from pytest_servebench.sizing.fit import fit
from pytest_servebench.sizing.model import Caution, Unfit
from pytest_servebench.sizing.prediction import Setting, predict
from simulation import distributions, queueing
from simulation.queues import VARIATION, percentile
from simulation.servers import KNOWN, OTHERS, Server

NAME = "sizing"
TITLE = "Sizing: what the model predicts at loads that were not measured"
REPEATS: Final = 120
"""Of each server: of 40, one set of 95 % intervals in twenty holds the truth in less than 90 %."""
REFUSALS: Final = 40
"""Of each server that is another queue."""
SECONDS: Final = 30.0
FITTED: Final = (0.2, 0.5)
PREDICTED: Final = (0.7, 0.85)
SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LEAST_COVERAGE: Final = 0.90
LEAST_RIGHT: Final = 0.95
LEAST_REFUSED: Final = 0.95
LONGEST: Final = 2.0
_PLENTY: Final = 64  # connections
_ROUNDING: Final = 1e-8  # seconds: records are in ns
_UNLIMITED: Final = 150  # places, hardly any of which is ever needed


class _Limits(NamedTuple):
    """Of a server's case: connections, and how many may wait for one."""

    workers: int
    buffer_size: int


@dataclass(frozen=True)
class _Known:
    """A server whose percentiles are known."""

    name: str
    server: Server
    limits: _Limits | None = None

    def truths(self, load: float) -> Mapping[str, float]:
        """Return its percentiles in seconds, infinite where drops reach, and the drop rate."""
        server, rate = self.server, load * self.server.saturation
        if server.law != "M/M/1" or (server.slots == 1 and self.limits is None):
            found = {
                name: server.mean * percentile(server.law, load, share)
                for name, share in SHARES.items()
            }
            return {**found, "drop_rate": 0.0}
        places = _UNLIMITED
        if self.limits is not None:
            places = self.limits.workers + self.limits.buffer_size
        let_in = distributions.mmck_sojourn(rate, 1 / server.mean, server.slots, places)
        dropped = queueing.mmck(rate, 1 / server.mean, server.slots, places).blocking
        return {
            **{
                name: _of_all(let_in, share, dropped, server.mean) for name, share in SHARES.items()
            },
            "drop_rate": dropped if self.limits else 0.0,
        }


def _of_all(let_in: Callable[[float], float], share: float, dropped: float, scale: float) -> float:
    if share >= 1 - dropped:
        return math.inf
    return distributions.quantile(let_in, share / (1 - dropped), scale)


_QUEUES: Final = (
    *(_Known(server.name, server) for server in KNOWN),
    _Known(
        "M/M/4/20", next(one for one in KNOWN if one.name == "M/M/4"), _Limits(8, 12),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class _Round:
    """One fit of one server, and its predictions.

    Attributes:
        slots: that it has by the model; ``None`` if none was fitted.
        reason: why not, the first one.
        found: load and metric to value and interval.
        warned: loads whose prediction warns of a heavy tail.
        seconds: CPU time of each prediction.
    """

    slots: int | None
    reason: str
    found: Mapping[tuple[float, str], Sequence[float | None]]
    warned: Sequence[float]
    seconds: Sequence[float]


def run(settings: Settings) -> Data:
    """Simulate, fit and predict, as many at a time as there are processors."""
    repeats = 5 if settings.quick else REPEATS
    # Spawned: NumPy's threads do not survive a fork.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        queues = []
        for number, known in enumerate(_QUEUES):
            rounds = list(pool.map(_predict, [number] * repeats, range(repeats)))
            queues.append(_queue(known, rounds))
            say(NAME, known.name, queues[-1]["right"], queues[-1]["refused"])
        others, refusals = [], min(repeats, REFUSALS)
        for number, server in enumerate(OTHERS):
            reasons = Counter(pool.map(_refuse, [number] * refusals, range(refusals)))
            del reasons[""]
            others.append(
                {"name": server.name, "refused": reasons.total(), "reasons": dict(reasons)}
            )
            say(NAME, others[-1])
    return {"repeats": repeats, "refusals": refusals, "queues": queues, "others": others}


def _predict(number: int, repeat: int) -> _Round:
    known = _QUEUES[number]
    workers, buffer_size = known.limits or (None, None)
    dice = np.random.default_rng([repeat, number])
    model = fit([
        known.server.case(load, SECONDS, dice, buffer_size=buffer_size, workers=workers or _PLENTY)
        for load in FITTED
    ])  # fmt: skip
    if isinstance(model, Unfit):
        return _Round(None, model.reasons[0].value, {}, (), ())
    found: dict[tuple[float, str], Sequence[float | None]] = {}
    warned, seconds = [], []
    for load in PREDICTED:
        setting = Setting(load * known.server.saturation, workers, buffer_size or 0)
        start = time.process_time()
        prediction = predict(model, setting, seed=repeat)
        seconds.append(time.process_time() - start)
        if Caution.HEAVY_TAIL in prediction.cautions:
            warned.append(load)
        for name in (*SHARES, "drop_rate"):
            one = prediction.estimates[name]
            found[load, name] = (one.value, one.low, one.high)
    return _Round(model.slots, "", found, warned, seconds)


def _refuse(number: int, repeat: int) -> str:
    """Return why a server that is another queue is refused, empty if it is not."""
    dice = np.random.default_rng([repeat, len(_QUEUES) + number])
    model = fit([OTHERS[number].case(load, SECONDS, dice) for load in FITTED])
    return model.reasons[0].value if isinstance(model, Unfit) else ""


def _queue(known: _Known, rounds: Sequence[_Round]) -> dict[str, Any]:
    """Return the figures of one server as JSON data."""
    fitted = [one for one in rounds if one.slots is not None]
    return {
        "name": known.name,
        "right": sum(one.slots == known.server.slots for one in fitted),
        "refused": len(rounds) - len(fitted),
        "reasons": dict(Counter(one.reason for one in rounds if one.slots is None)),
        "found": {
            str(load): {
                name: [one.found[load, name] for one in fitted] for name in (*SHARES, "drop_rate")
            }
            for load in PREDICTED
        },
        "truths": {
            str(load): {
                name: value if math.isfinite(value) else None
                for name, value in known.truths(load).items()
            }
            for load in PREDICTED
        },
        "warned": {str(load): sum(load in one.warned for one in fitted) for load in PREDICTED},
        "seconds": [second for one in fitted for second in one.seconds],
    }


def _coverage(queue: Mapping[str, Any], load: str, metric: str) -> float:
    """Return the share of the intervals that hold the truth."""
    truth = _known(queue["truths"][load][metric])
    rows = queue["found"][load][metric]
    held = sum(
        _known(low) - _ROUNDING <= truth <= _known(high) + _ROUNDING for _, low, high in rows
    )
    return held / len(rows)


def _error(queue: Mapping[str, Any], load: str, metric: str) -> float:
    """Return the root mean square of the relative errors."""
    truth = _known(queue["truths"][load][metric])
    errors = [value / truth - 1 for value, _, _ in queue["found"][load][metric] if value]
    return math.sqrt(statistics.fmean(error**2 for error in errors))


def _known(value: float | None) -> float:
    return math.inf if value is None else value


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: peers predict nothing."""
    del data
    return {}


def bars(data: Data) -> Sequence[Bar]:
    """Compare coverage, numbers of slots and refusals with their targets."""
    repeats = int(data["repeats"])
    many = repeats >= REPEATS
    result = []
    for metric in SHARES:
        cells = [
            (_coverage(queue, load, metric), queue["warned"][load] == repeats - queue["refused"])
            for queue in data["queues"] for load in queue["found"]
        ]  # fmt: skip
        shares = [share for share, _ in cells]
        result.append(Bar(
            f"95 % intervals of {metric} that hold the truth, {len(cells)} queues and loads",
            f"{100 * min(shares):.0f} to {100 * max(shares):.0f} %",
            f"≥ {100 * LEAST_COVERAGE:.0f} %, or warned of a heavy tail",
            all(share >= LEAST_COVERAGE or warned for share, warned in cells) if many else None,
        ))  # fmt: skip
    right = [queue["right"] / repeats for queue in data["queues"]]
    result.append(Bar(
        f"models with the right number of slots, {len(right)} queues",
        f"{100 * min(right):.0f} to {100 * max(right):.0f} %",
        f"≥ {100 * LEAST_RIGHT:.0f} %", min(right) >= LEAST_RIGHT if many else None,
    ))  # fmt: skip
    refused = [other["refused"] / data["refusals"] for other in data["others"]]
    result.append(Bar(
        f"refusals of {len(refused)} servers that are other queues",
        f"{100 * min(refused):.0f} to {100 * max(refused):.0f} %",
        f"≥ {100 * LEAST_REFUSED:.0f} %", min(refused) >= LEAST_REFUSED if many else None,
    ))  # fmt: skip
    typical = statistics.median(second for queue in data["queues"] for second in queue["seconds"])
    result.append(Bar(
        "CPU time of a prediction with its intervals, median", f"{typical:.2f} s",
        f"< {LONGEST:.0f} s", typical < LONGEST,
    ))  # fmt: skip
    return result


def section(data: Data) -> str:
    """Return the tables."""
    repeats = int(data["repeats"])
    rows = [
        [queue["name"], load,
         *(f"{100 * _coverage(queue, load, metric):.0f} "
           f"({100 * _error(queue, load, metric):.0f})" for metric in SHARES),
         f"{100 * _coverage(queue, load, 'drop_rate'):.0f}"
         if queue["truths"][load]["drop_rate"] else "–",
         f"{100 * queue['warned'][load] / repeats:.0f}"]
        for queue in data["queues"] for load in queue["found"]
    ]  # fmt: skip
    known = [
        [queue["name"], f"{100 * queue['right'] / repeats:.0f}",
         f"{100 * queue['refused'] / repeats:.0f}"]
        for queue in data["queues"]
    ]  # fmt: skip
    others = [
        [other["name"], f"{100 * other['refused'] / data['refusals']:.0f}",
         ", ".join(f"{word.replace('_', ' ')} {number}" for word, number in
                   sorted(other["reasons"].items(), key=lambda one: -one[1]))]
        for other in data["others"]
    ]  # fmt: skip
    loads = " and ".join(f"{load:g}" for load in FITTED)
    return "\n\n".join([
        f"Simulated servers, fitted to two cases of {SECONDS:g} s at loads of "
        f"{loads} (about 4,200 requests), {repeats} of each. A service takes 5 ms on average, of "
        f"four slots 20 ms; M/G/1 has lognormal services (c² = {VARIATION:g}), and M/M/4/20 eight "
        "connections behind a buffer of twelve. *Coverage* is the share of the 95 % intervals that "
        "hold the exact value of the long run, in brackets the root mean square of the relative "
        "errors; *warned* "
        "is the share of predictions that say that few slow services decide the tail.",
        plotting.table(
            ["queue", "load", *(f"{metric}: coverage % (error %)" for metric in SHARES),
             "drop rate: coverage %", "warned %"],
            rows,
        ),
        "How often the model has the right number of slots, and how often none is fitted:",
        plotting.table(["queue", "right %", "refused %"], known),
        "Servers that are none of the model's queues, with the first reason of each refusal:",
        plotting.table(["server", "refused %", "reasons"], others),
    ])  # fmt: skip
