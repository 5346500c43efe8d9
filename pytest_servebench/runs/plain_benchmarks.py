"""pytest-benchmark results without load, as cases: little more than latencies."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pytest_servebench.load.device import Generator
from pytest_servebench.load.records import Outcome, Records
from pytest_servebench.metrics import LATENCY, statistics_of
from pytest_servebench.runs.decoding import as_object, decode
from pytest_servebench.runs.results import CaseResult, Resources, ServerInfo
from pytest_servebench.stats.estimates import Distribution, Estimate, Summary
from pytest_servebench.stats.student import Z
from pytest_servebench.stats.summary import PERMILLES, summarize
from pytest_servebench.text.safe import clean

_LONGEST: Final = 1e6  # seconds of a round, such that nanoseconds of all rounds can be added
_LATENCIES: Final = tuple(one.name for one in statistics_of(LATENCY))
NOTHING: Final = Distribution(0, None, None, None, None, dict.fromkeys(PERMILLES))
_NO_SERVER: Final = ServerInfo("", "no server", "", "", "", None, None, ())
NO_GENERATOR: Final = Generator(
    pacing="", priority="", event_loop="", cpu_seconds=0.0, cpu_share=0.0, waited_seconds=None,
    involuntary_switches=0, throttled_seconds=None, suspended_seconds=None, stops=0,
    longest_pause=0.0, steal=None, cpu_pressure=None, memory_pressure=None, io_pressure=None,
    lag_idle_p99=None, lag_busy_p99=None, unaccounted=0, resent=0, arrivals="",
    arrivals_plausible=True, dispersion=1.0, lag1=0.0,
)  # fmt: skip


@dataclass(frozen=True)
class _Names:
    name: str
    fullname: str


@dataclass(frozen=True)
class _Number:
    rounds: int


@dataclass(frozen=True)
class _Moments:
    mean: float
    median: float
    stddev: float
    iqr: float


def plain_case(entry: Mapping[str, Any], where: str) -> CaseResult:
    """Return a benchmark's entry as a case.

    Raw data (``--benchmark-json``, ``--benchmark-save-data``) give percentiles and mean; otherwise
    there are only median and mean, with intervals for independent rounds. Unknown values are empty,
    0 or ``None``.

    Args:
        entry: an item of ``benchmarks``.
        where: how messages name it.

    Raises:
        ValueError: a field is missing or has a wrong value.
    """
    names = decode(_Names, entry, where)
    stats = as_object(entry.get("stats"), f"{where}.stats")
    rounds = decode(_Number, stats, f"{where}.stats").rounds
    if rounds < 1:
        raise ValueError(f"{where}.stats.rounds is {rounds}, not 1 or more")
    samples = np.array([one for one in _rounds(stats) if _is_time(one)], dtype=np.float64)
    estimates = _of_data(samples) if len(samples) else _of_moments(stats, rounds, where)
    rounds = len(samples) or rounds
    return CaseResult(
        name=names.name, nodeid=names.fullname, server=_NO_SERVER, rate=0.0, buffer_size=0,
        duration=0.0, workers=0, seed=0, model="", weights_sha256="", input_source="", failures={},
        summary=Summary(
            arrivals=rounds, outcomes={"ok": rounds}, success_rate=1.0, throughput=0.0,
            offered_rate=0.0, achieved_rate=0.0, latency=NOTHING, estimates=estimates,
            queue_wait=NOTHING, service_time=NOTHING, generator_lag=NOTHING,
        ),
        resources=Resources(None, None, None, None, None), generator=NO_GENERATOR,
    )  # fmt: skip


def left_out(entry: Mapping[str, Any], where: str) -> str:
    """Return which of a benchmark's data are missing from its figures; empty if none.

    Tools that compress such files truncate data, and put text in place of the rest.
    """
    stats = entry["stats"]
    data = _rounds(stats)
    odd = [one for one in data if not _is_time(one)]
    about = f"{where} ({clean(entry['name'])})"
    if odd:
        return (
            f"{about}: {len(odd)} of {len(data)} rounds are not times, such as "
            f"{clean(repr(odd[0]))[:40]}, and are left out"
        )
    if data and len(data) < stats["rounds"]:
        return f"{about}: its data has only {len(data)} of {stats['rounds']} rounds"
    return ""


def is_plain(case: CaseResult) -> bool:
    """Return whether a case is such a benchmark, without server, load and generator."""
    return case.server == _NO_SERVER


def _rounds(stats: Mapping[str, Any]) -> list[Any]:
    data = stats.get("data")
    return data if isinstance(data, list) else []


def _is_time(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= _LONGEST  # NaN is not


def _of_data(samples: npt.NDArray[np.float64]) -> dict[str, Estimate]:
    """Return the figures of rounds that ran one after another and may be correlated."""
    done = np.cumsum(np.round(samples * 1e9)).astype(np.int64)
    started = np.concatenate([[0], done[:-1]])
    n = len(samples)
    rows = Records(
        started, started, started, started, done, done,
        np.full(n, Outcome.OK, dtype=np.uint8), np.zeros(n, dtype=np.int16), int(done[-1]),
        planned=True,  # a round begins when one ends: no arrivals whose rate changes by chance
    )  # fmt: skip
    found = summarize(rows, 0.0).estimates
    return {name: found[name] for name in _LATENCIES}


def _of_moments(stats: Mapping[str, Any], rounds: int, where: str) -> dict[str, Estimate]:
    known = decode(_Moments, stats, f"{where}.stats")
    root = math.sqrt(rounds)
    # Of a normal distribution with this interquartile range: its median is sqrt(pi / 2) times as
    # uncertain as its mean (McGill, Tukey and Larsen 1978, The American Statistician 32:12).
    deviation = known.iqr / 1.349
    return {
        "p50": _around(known.median, Z * math.sqrt(math.pi / 2) * deviation / root, rounds),
        "mean": _around(known.mean, Z * known.stddev / root, rounds),
    }


def _around(value: float, half: float, rounds: int) -> Estimate:
    if rounds < 3:  # too few rounds for an interval
        return Estimate(value, 0.0, None)
    return Estimate(value, max(0.0, value - half), value + half)
