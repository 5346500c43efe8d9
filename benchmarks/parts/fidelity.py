"""Whether arrivals follow the requested process, as drawn and as sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks import measure, plotting
from benchmarks.parts import Bar, Data
from benchmarks.rounds import say
from benchmarks.settings import Settings
from pytest_servebench.load.arrival_check import check_renewal
from pytest_servebench.load.arrival_forms import parse_arrivals
from pytest_servebench.load.arrivals import Poisson
from pytest_servebench.load.draws import streams
from simulation import known

NAME = "fidelity"
TITLE = "Fidelity of the arrivals"
SEEDS: Final = 100
LEAST: Final = 97
WINDOWS: Final = ((10.0, 15.0), (100.0, 15.0), (1000.0, 5.0))
"""Rates, and seconds of each schedule."""
OTHERS: Final = ("constant", "gamma:4", "gamma:0.25", "steps:1,3,1", "ramp:0.5,2")
SENT_RATE: Final = 1000.0
SENT_SECONDS: Final = 2.0
SENT_SEEDS: Final = 10
_Z: Final = 2.5758  # two-sided 99 % of the normal distribution
_TICK: Final = 0.010
_SERVICE: Final = 0.001
_CONNECTIONS: Final = 200


def run(settings: Settings) -> Data:
    """Test schedules of many seeds, and for some of them the requests as sent."""
    drawn = [_drawn(rate, seconds) for rate, seconds in WINDOWS]
    others = [
        {
            "process": text,
            "rates": [
                {"rate": rate, "plausible": _plausible(text, rate, seconds)}
                for rate, seconds in WINDOWS
            ],
        }
        for text in OTHERS
    ]
    sent = []
    with measure.scratch() as directory:
        for seed in range(2 if settings.quick else SENT_SEEDS):
            one = _sent(seed, directory)
            say(NAME, seed + 1, one)
            sent.append(one)
    return {"drawn": drawn, "others": others, "sent": sent}


def _drawn(rate: float, seconds: float) -> dict[str, Any]:
    found = [_inside(_schedule("poisson", seed, rate, seconds) / 1e9, rate, seconds)
             for seed in range(SEEDS)]  # fmt: skip
    return {
        "rate": rate,
        "seconds": seconds,
        "dispersion": sum(one["dispersion"] for one in found),
        "lag1": sum(one["lag1"] for one in found),
        "both": sum(one["dispersion"] and one["lag1"] for one in found),
    }


def _schedule(text: str, seed: int, rate: float, seconds: float) -> npt.NDArray[np.int64]:
    """Return the schedule that the engine would draw."""
    return parse_arrivals(text).schedule(rate, seconds, streams(seed, rate)[0])


def _inside(times: npt.NDArray[np.float64], rate: float, seconds: float) -> dict[str, bool]:
    check = check_renewal(times, rate, seconds, z=_Z)
    low, high = check.dispersion_band
    return {
        "dispersion": bool(low <= check.dispersion <= high),
        "lag1": bool(abs(check.lag1) <= check.lag1_band),
    }


def _plausible(text: str, rate: float, seconds: float) -> int:
    process = parse_arrivals(text)
    return sum(
        bool(process.check(_schedule(text, seed, rate, seconds), rate, seconds).plausible)
        for seed in range(SEEDS)
    )


def _sent(seed: int, directory: Path) -> dict[str, Any]:
    """Send a schedule and test it at every stage."""
    with known.serve(directory, _CONNECTIONS, f"fixed:{_SERVICE}", seed) as server:
        result = server.load(
            rate=SENT_RATE, duration=SENT_SECONDS, buffer_size=100_000, workers=_CONNECTIONS,
            arrivals=Poisson(), seed=seed,
        )  # fmt: skip
    records = result.records
    stations = {
        "drawn": records.scheduled / 1e9,
        "sent": np.sort(records.sent) / 1e9,
        "read": np.sort(server.rows[:, 0] - result.start) / 1e9,
        # A generator that wakes up in ticks, to show that the test detects it.
        "ticks": np.ceil(records.scheduled / 1e9 / _TICK) * _TICK,
    }
    late = (records.sent - records.scheduled) / 1e6
    return {
        "seed": seed,
        "arrivals": len(records),
        "late_p50": float(np.quantile(late, 0.5)),
        "late_p99": float(np.quantile(late, 0.99)),
        **{
            name: _inside(times, SENT_RATE, SENT_SECONDS) | {"count": len(times)}
            for name, times in stations.items()
        },
    }


def columns(data: Data) -> Mapping[str, Mapping[str, str]]:
    """Return nothing: this does not involve peers."""
    del data
    return {}


def _passed(sent: Sequence[Mapping[str, Any]], station: str) -> int:
    """Return in how many runs both figures were within their bands."""
    return sum(one[station]["dispersion"] and one[station]["lag1"] for one in sent)


def bars(data: Data) -> Sequence[Bar]:
    """Compare the Poisson schedules with the target, and sent requests with their schedules."""
    result = []
    for figure, words in (("dispersion", "dispersion of counts"), ("lag1", "lag-1 correlation")):
        counts = [one[figure] for one in data["drawn"]]
        result.append(Bar(
            f"Poisson schedules whose {words} is within its 99 % band, at "
            + ", ".join(f"{one['rate']:g}" for one in data["drawn"]) + "/s",
            ", ".join(map(str, counts)) + f" of {SEEDS}",
            f"≥ {LEAST} of {SEEDS}",
            min(counts) >= LEAST,
        ))  # fmt: skip
    sent = data["sent"]
    drawn = _passed(sent, "drawn")
    result.append(Bar(
        f"the same, both figures, for requests as sent at {SENT_RATE:g}/s",
        f"{_passed(sent, 'sent')} of {len(sent)}",
        f"as many as for their schedules: {drawn}",
        _passed(sent, "sent") >= drawn,
    ))  # fmt: skip
    return result


def section(data: Data) -> str:
    """Return the tables."""
    drawn = [
        [f"{one['rate']:g}/s", f"{one['seconds']:g} s", str(one["dispersion"]), str(one["lag1"]),
         str(one["both"])]
        for one in data["drawn"]
    ]  # fmt: skip
    others = [
        [one["process"], *(str(at["plausible"]) for at in one["rates"])] for one in data["others"]
    ]
    sent = data["sent"]
    words = {
        "drawn": "the schedule",
        "sent": "when the engine wrote the requests",
        "read": "when the server read them",
        "ticks": f"the schedule, sent in ticks of {_TICK * 1e3:g} ms (a counter-example)",
    }
    stations = [
        [text, str(sum(one[name]["dispersion"] for one in sent)),
         str(sum(one[name]["lag1"] for one in sent)), str(_passed(sent, name))]
        for name, text in words.items()
    ]  # fmt: skip
    late = [np.median([one[name] for one in sent]) for name in ("late_p50", "late_p99")]
    return "\n\n".join([
        f"Poisson schedules of seeds 0 to {SEEDS - 1}: how many have a dispersion of counts "
        "(Fisher's index test) and a lag-1 correlation of gaps (Bartlett) within the two-sided "
        "99 % bands. On average, a perfect generator has 99 for each and 98 for both.",
        plotting.table(["rate", "window", "dispersion", "lag-1", "both"], drawn),
        f"A good schedule sent in bursts is not a Poisson load: {len(sent)} seeds at "
        f"{SENT_RATE:g}/s for {SENT_SECONDS:g} s, sent to a server that responds after "
        f"{_SERVICE * 1e3:g} ms. Requests were sent {late[0]:.3f} ms (p50) and {late[1]:.3f} ms "
        "(p99) after their scheduled time (medians of the runs).",
        plotting.table(["times", "dispersion", "lag-1", f"both, of {len(sent)}"], stations),
        "Other processes, judged by the check that every run applies to its schedule (99.9 % "
        f"bands, three figures): how many of {SEEDS} seeds are plausible.",
        plotting.table(
            ["process", *(f"{rate:g}/s, {seconds:g} s" for rate, seconds in WINDOWS)], others
        ),
    ])  # fmt: skip
