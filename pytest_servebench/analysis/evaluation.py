"""Which server did better, and where that is undecided.

Every cell (a test at one rate and one buffer size) gives one point for each metric to the server
that did better than every other by more than the noise:

* latencies, throughput, success rate and CPU: the 95 % intervals do not overlap. This is stricter
  than an interval of the difference that excludes zero, on purpose: a run makes dozens of such
  comparisons, and at one in twenty some would always differ by chance.
* CPU and memory must also differ by 5 %, a convention: smaller differences may come from whatever
  else runs on the machine. Memory has no sampling interval, as it is one figure for the whole run.
  CPU is that of a successful request: work that is not done takes none.

Each comparison is made twice, with the latencies as measured and with the generator's own lag
subtracted: there is a point only if both give it to the same server.

A failed request ranks as infinitely slow. Cases whose measurement is invalid do not take part.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median, stdev
from types import MappingProxyType
from typing import Final

from pytest_servebench.metrics import POINTS, Metric
from pytest_servebench.runs.node_ids import cell_id, repeat_of
from pytest_servebench.runs.plain_benchmarks import is_plain
from pytest_servebench.runs.results import CaseResult
from pytest_servebench.runs.titles import server_titles
from pytest_servebench.stats.ratios import Range
from pytest_servebench.stats.student import Z, student

MARGIN: Final = 0.05
"""By how much of the larger value CPU or memory must differ."""

_SMALL: Final = f"less than {MARGIN:.0%} apart"


@dataclass(frozen=True)
class Compared:
    """One metric in one cell: who did better.

    Attributes:
        cell: id of the test without server and repeat, such as
            ``test_it.py::test_load[rate10-buffer50]``.
        metric: one of :data:`~pytest_servebench.metrics.POINTS`.
        rate: offered arrivals a second.
        buffer_size: requests that could wait.
        winner: kind of the server that gets the point; ``None`` if nobody does.
        values: kind to value, in seconds, 1/s, as a fraction, in percent of a processor, in bytes;
            infinite where too many requests failed, ``None`` where it is not known.
        reason: why nobody gets the point.
        too_few: whether the reason is too few requests.
    """

    cell: str
    metric: str
    rate: float
    buffer_size: int
    winner: str | None
    values: Mapping[str, float | None]
    reason: str
    too_few: bool = False


@dataclass(frozen=True)
class Evaluation:
    """The comparison of a run's servers.

    Attributes:
        servers: kind to title, in the order of running.
        points: every cell's metrics.
        totals: points of each kind.
        undecided: comparisons without a winner.
        notes: what was left out, and why.
    """

    servers: Mapping[str, str]
    points: tuple[Compared, ...]
    totals: Mapping[str, int]
    undecided: int
    notes: tuple[str, ...]


_Cell = Mapping[str, Sequence[CaseResult]]  # kind to its cases: one, or one for each repeat
_Contest = Callable[[_Cell, Metric], Compared]


def evaluate(cases: Sequence[CaseResult], *, interleaved: bool = False) -> Evaluation:
    """Compare the servers of a run, cell by cell.

    Benchmarks without load do not take part. Repeats of a cell count as one: the median of their
    values, with a range that holds all of their intervals. Where servers took turns, three repeats
    or more are compared pair by pair: see :func:`_paired`.
    """
    cases = [case for case in cases if not is_plain(case)]
    notes = [
        f"{case.name} is left out: its measurement is invalid"
        for case in cases
        if not case.measured
    ]
    valid = [case for case in cases if case.measured]
    names = server_titles(cases)
    cells: dict[tuple[float, int, str], dict[str, list[CaseResult]]] = {}
    for case in valid:
        key = (case.rate, case.buffer_size, cell_id(case))
        cells.setdefault(key, {}).setdefault(case.server.kind, []).append(case)
    points: list[Compared] = []
    # Servers without a common cell are one server under several names, or different tests.
    everyone = {(cell_id(case), case.server.kind) for case in cases}
    compared = len(everyone) > len({cell for cell, _ in everyone})
    for (rate, buffer_size, _), cell in sorted(cells.items(), key=lambda item: item[0]):
        missing = [names[kind] for kind in names if kind not in cell]
        if len(cell) > 1:
            points += _either_way(cell, interleaved=interleaved)
        if missing and compared:
            notes.append(
                f"rate {rate:g}, buffer {buffer_size}: no valid case of {', '.join(missing)}"
            )
    totals = {kind: sum(point.winner == kind for point in points) for kind in names}
    return Evaluation(
        servers=MappingProxyType(names),
        points=tuple(points),
        totals=MappingProxyType(totals),
        undecided=sum(point.winner is None for point in points),
        notes=tuple(dict.fromkeys(notes)),
    )


# -- one cell -------------------------------------------------------------------------------------


def _either_way(cell: _Cell, *, interleaved: bool) -> list[Compared]:
    """Compare the servers as measured; a point that depends on the generator's lag is not given."""
    measured = _compare(cell, interleaved=interleaved)
    if not any(case.summary.without_lag for cases in cell.values() for case in cases):
        return measured
    unlagged = {kind: [case.without_lag() for case in cases] for kind, cases in cell.items()}
    return [
        point
        if point.winner == punctual.winner
        else _decided(point, None, "the generator's own lateness decides it")
        for point, punctual in zip(
            measured, _compare(unlagged, interleaved=interleaved), strict=True
        )
    ]


def _compare(cell: _Cell, *, interleaved: bool) -> list[Compared]:
    contest = _paired if interleaved and _in_pairs(cell) else _contest
    return [_resolved(cell, one, contest) for one in POINTS.values()]


def _contest(cell: _Cell, metric: Metric) -> Compared:
    read = _reader(cell, metric)
    ranges = {kind: _together([read(case) for case in cases]) for kind, cases in cell.items()}
    some = next(iter(cell.values()))[0]
    row = Compared(
        cell=cell_id(some),
        metric=metric.name,
        rate=some.rate,
        buffer_size=some.buffer_size,
        winner=None,
        values={kind: None if one is None else one.value for kind, one in ranges.items()},
        reason="",
    )
    known = {kind: one for kind, one in ranges.items() if one is not None}
    if len(known) < len(ranges):
        return _decided(row, None, "not known for every server")
    sign = -1 if metric.larger_is_better else 1
    best = min(known, key=lambda kind: sign * known[kind].value)
    for kind, one in known.items():
        if kind == best:
            continue
        apart = (
            known[best].low > one.high if metric.larger_is_better else known[best].high < one.low
        )
        if _too_small(metric, known[best].value, one.value):
            return _decided(row, None, _SMALL)
        if not apart:
            return _decided(row, None, "within noise")
    return _decided(row, best, "")


def _too_small(metric: Metric, best: float, other: float) -> bool:
    """Return whether a difference is too small to matter even if it is significant."""
    return metric.of_server and best >= other * (1 - MARGIN)


def _in_pairs(cell: _Cell) -> bool:
    """Return whether every server has the same repeats, three or more."""
    repeats = [[repeat_of(case) for case in cases] for cases in cell.values()]
    return all(sorted(one) == sorted(repeats[0]) for one in repeats) and len(repeats[0]) >= 3


def _paired(cell: _Cell, metric: Metric) -> Compared:
    """Compare servers that took turns by one metric.

    Servers of one repeat ran on the machine at the same time, so common effects cancel out in the
    difference: the mean over the repeats, with Student's interval. Ratios are compared
    (differences of logarithms), and differences of success rates.
    """
    row = _contest(cell, metric)
    read = _reader(cell, metric)
    if any(value is None for value in row.values.values()):
        return row
    series: dict[str, list[float]] = {}
    for kind, cases in cell.items():
        ordered = sorted(cases, key=repeat_of)
        series[kind] = [one.value for one in map(read, ordered) if one is not None]
    sign = -1 if metric.larger_is_better else 1
    best = min(series, key=lambda kind: sign * median(series[kind]))
    for kind, values in series.items():
        if kind != best and not _apart(metric, values, series[best], sign):
            return _decided(row, None, "within noise")
        if kind != best and _too_small(metric, median(series[best]), median(values)):
            return _decided(row, None, _SMALL)
    return _decided(row, best, "")


def _apart(metric: Metric, worse: Sequence[float], better: Sequence[float], sign: int) -> bool:
    """Return whether paired values differ beyond their noise."""
    shares = metric.is_share
    if not shares and (min(*worse, *better) <= 0 or math.isinf(max(*worse, *better))):
        return all(sign * one > sign * other for one, other in zip(worse, better, strict=True))
    scale = (lambda value: value) if shares else math.log
    gaps = [sign * (scale(one) - scale(other)) for one, other in zip(worse, better, strict=True)]
    n = len(gaps)
    return mean(gaps) > Z * student(n - 1) * stdev(gaps) / math.sqrt(n)


def _decided(row: Compared, winner: str | None, reason: str, *, too_few: bool = False) -> Compared:
    return dataclasses.replace(row, winner=winner, reason=reason, too_few=too_few)


def _resolved(cell: _Cell, metrics: Sequence[Metric], contest: _Contest) -> Compared:
    """Compare by the first of the metrics that is known of every server, from enough requests."""
    every = [case for cases in cell.values() for case in cases]
    fewest = min(case.summary.arrivals for case in every)
    last = metrics[-1]
    if len(metrics) == 1:
        return contest(cell, last)
    for metric in metrics:
        readings = [metric.read(case) for case in every]
        known = all(one.value is not None for one in readings)
        bounded = any(one.high != math.inf for one in readings)
        if fewest >= metric.enough and ((known and bounded) or metric is last):
            return contest(cell, metric)
    row = contest(cell, last)
    few = f"{fewest} requests are too few for {last.written}, which needs {last.enough}"
    return _decided(row, None, few, too_few=True)


def _together(repeats: Sequence[Range | None]) -> Range | None:
    known = [one for one in repeats if one is not None]
    if not known or len(known) < len(repeats):
        return None
    return Range(
        median(one.value for one in known),
        min(one.low for one in known),
        max(one.high for one in known),
    )


def _reader(cell: _Cell, metric: Metric) -> Callable[[CaseResult], Range | None]:
    """Return a reader of the metric; it excludes the schedule's luck if all share a schedule."""
    every = [case.summary for cases in cell.values() for case in cases]
    alike = len({summary.arrivals for summary in every}) == 1

    def read(case: CaseResult) -> Range | None:
        share = case.summary.estimates.get(metric.share_of_load) if alike else None
        if share is not None and None not in (share.value, share.low, share.high):
            scale = case.summary.achieved_rate
            return Range.of(share).through(lambda value: value * scale)
        reading = metric.read(case)
        if reading.value is None:
            return None
        low, high = (reading.value if end is None else end for end in (reading.low, reading.high))
        return Range(reading.value, low, high)

    return read
